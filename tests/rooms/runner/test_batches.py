"""The batches of a folder: numbers, records, retention, and which are running or interrupted."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testvibe_async import ConfigError, Journal
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


def test_record_outlives_its_process(batches: Batches) -> None:
    """What is stored is what is read, also by a later release with more members."""
    made = batches.create("generation", HERE, name="nightly", project_name="Shop", parent=7)
    path = batches.folder / f"{made.number}.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "more": 1}), "utf-8")
    assert batches.records() == [made]
    assert str(made) == "Batch 1 (nightly)"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 2}', "\x00"])
def test_damaged_record_is_none(content: str, batches: Batches) -> None:
    """A record that can't be read is left out, and its number is not given again."""
    first = batches.create("run", HERE)
    second = batches.create("run", HERE)
    (batches.folder / f"{second.number}.json").write_text(content, encoding="utf-8")
    assert [each.number for each in batches.records()] == [first.number]
    assert batches.create("run", HERE).number == 3


def test_old_batches_go(batches: Batches) -> None:
    """Those that ended 30 days ago are removed with all their files; none that has not ended."""
    old, open_ = batches.create("run", HERE), batches.create("run", HERE)
    for suffix in ("", "-wal", "-shm"):
        (batches.folder / f"{old.number}.journal{suffix}").touch()
    batches.end(old, at=datetime.now(UTC) - timedelta(days=31))
    made = batches.create("run", HERE)
    kept = {f"{open_.number}.json", f"{made.number}.json"}
    assert {path.name for path in batches.folder.iterdir()} == kept


async def test_which_is_named(batches: Batches, tmp_path: Path) -> None:
    """A number is that of one batch, a name the last of it at a place, all else a file."""
    first = batches.create("run", HERE, name="nightly")
    second = batches.create("run", HERE, name="nightly")
    batches.create("run", Place("https://other.example", "P"), name="nightly")
    for record in (first, second):
        batches.end(record)
    for word, number in (("1", 1), ("nightly", 2)):
        found = batches.record_named(word, HERE)
        assert found is not None
        assert found.number == number
    assert batches.record_named(str(tmp_path / "x.journal"), HERE) is None
    for word in ("9", "weekly"):
        with pytest.raises(ConfigError, match=f"there is no batch (named )?{word}"):
            batches.record_named(word, HERE)
    with pytest.raises(ConfigError, match="named nihgtly: did you mean 'nightly'"):
        batches.record_named("nihgtly", HERE)


async def test_cut_off_is_told_once(batches: Batches) -> None:
    """A batch whose process is gone is returned once; one that runs is not, however often."""
    running = batches.create("run", HERE)
    async with Journal(batches.journal_of(running)):
        assert await batches.interrupted() == []
        with pytest.raises(ConfigError, match=f"{running} is running since"):
            await batches.meant(None, HERE)
        assert [each async for each in batches.each(HERE)] == []
    assert batches.records()[0].ended_at is None
    assert await batches.interrupted() == []  # It holds no batch.
    assert batches.records()[0].ended_at == running.started_at
