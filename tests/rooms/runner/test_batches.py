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
    assert sorted(each.number for each in made) == list(range(1, 41))
    assert len(batches.records()) == 40


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 2}', "\x00"])
def test_damaged_record_is_none(content: str, batches: Batches) -> None:
    """A record that can't be read is left out, and its number is not given again."""
    first = batches.create("run", HERE)
    second = batches.create("run", HERE)
    (batches.folder / f"{second.number}.json").write_text(content, encoding="utf-8")
    assert [each.number for each in batches.records()] == [first.number]
    assert batches.create("run", HERE).number == 3
