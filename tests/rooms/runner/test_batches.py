"""The batches of a folder: numbers, records, retention, and which are running or interrupted."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testvibe_async.runner.batches import Batches
from testvibe_async.runner.stored import Place

HERE = Place("https://testvibe.example", "P")


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    return Batches(tmp_path / "batches")


def test_two_at_once_have_two_numbers(batches: Batches) -> None:
    """However many processes add a batch at once, each has a number of its own."""
    with ThreadPoolExecutor(8) as threads:
        under_way = [threads.submit(batches.create, "run", HERE) for _ in range(40)]
    made = [each.result() for each in under_way]
    assert len({each.number for each in made}) == 40
    assert len(batches.records()) == 40


@pytest.mark.parametrize("removed", ["", "*.number", "*"])
def test_a_number_is_given_once(removed: str, batches: Batches) -> None:
    """The number of a discarded batch does not return, unless the folder itself was emptied."""
    *_, third = [batches.create("run", HERE) for _ in range(3)]
    batches.discard(third)
    for path in [*batches.folder.glob(removed)] if removed else []:
        path.unlink()
    expected = {"": 4, "*.number": 3, "*": 1}[removed]
    assert batches.create("run", HERE).number == expected
    assert [path.name for path in batches.folder.glob("*.number")] == [f"{expected}.number"]


class Overtaken(Batches):
    """Has read which numbers were given when another process gives one, and discards its batch."""

    to_give = 1

    def _kept_numbers(self) -> list[int]:
        kept = super()._kept_numbers()
        while self.to_give:
            self.to_give -= 1
            other = Batches(self.folder)
            other.discard(other.create("run", HERE))
        return kept


def test_a_number_discarded_meanwhile_is_not_given(batches: Batches) -> None:
    """A process that is overtaken takes the next number, though the first is free again."""
    assert Overtaken(batches.folder).create("run", HERE).number == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 2}', "\x00"])
def test_damaged_record_is_none(content: str, batches: Batches) -> None:
    """A record that can't be read is left out, and its number is not given again."""
    first = batches.create("run", HERE)
    second = batches.create("run", HERE)
    (batches.folder / f"{second.number}.json").write_text(content, encoding="utf-8")
    assert [each.number for each in batches.records()] == [first.number]
    assert batches.create("run", HERE).number == 3
