"""The batches of a folder: numbers, records, retention, and which are running or interrupted."""

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testvibe_async.runner import records as module
from testvibe_async.runner.batches import Batches
from testvibe_async.runner.records import BatchRecord


def add(batches: Batches) -> BatchRecord:
    """Add a batch, and return its record."""
    return batches.add(kind="run", server="https://testvibe.example", project="P")


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    return Batches(tmp_path / "batches")


def test_two_at_once_have_two_numbers(batches: Batches) -> None:
    """However many processes add a batch at once, each has a number of its own."""
    with ThreadPoolExecutor(8) as threads:
        under_way = [threads.submit(add, batches) for _ in range(40)]
    made = [each.result() for each in under_way]
    assert len({each.number for each in made}) == 40
    assert len(batches.records()) == 40


def test_a_number_is_given_once(batches: Batches) -> None:
    """The number of a discarded batch does not return, and nothing else is left of it."""
    first, *_, last = [add(batches) for _ in range(3)]
    for each in (last, first):
        batches.discard(each)
    assert {path.name for path in batches.folder.iterdir()} == {"2.json", "3.json"}
    assert add(batches).number == 4
    assert [each.number for each in batches.records()] == [4, 2]


class Overtaken(Batches):
    """Has read which numbers were given when others give two, and discard the first batch."""

    is_overtaken = False

    def _numbers(self) -> list[int]:
        given = super()._numbers()
        if not self.is_overtaken:
            self.is_overtaken = True
            first, _ = [add(Batches(self.folder)) for _ in range(2)]
            self.discard(first)
        return given


def test_a_number_discarded_meanwhile_is_not_given(batches: Batches) -> None:
    """A process that is overtaken takes the next number, though the first is free again."""
    assert add(Overtaken(batches.folder)).number == 3


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 2}', "\x00"])
def test_damaged_record_is_none(content: str, batches: Batches) -> None:
    """A record that can't be read is left out, and its number is not given again."""
    first = add(batches)
    second = add(batches)
    (batches.folder / f"{second.number}.json").write_text(content, encoding="utf-8")
    assert [each.number for each in batches.records()] == [first.number]
    assert add(batches).number == 3


def test_full_disk_is_named(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that can't be written is named by its file, and the number is not given again."""
    record = add(batches)

    def fail(_path: Path, _text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "replace_file", fail)
    with pytest.raises(OSError, match="No space left on device") as caught:
        add(batches)
    assert caught.value.filename == str(batches.folder / "2.json")
    assert batches.records() == [record]
