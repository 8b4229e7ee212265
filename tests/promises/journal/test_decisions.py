"""What is decided, joined, refused or damaged: what a journal takes for true."""

# ruff: noqa: ASYNC240 - the files are small

import asyncio
import random
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.promises.journal.conftest import opened, verdicts
from tests.support.timing import STEADY
from testvibe_async import (
    Client,
    ConfigError,
    DispatchUnknownError,
    GenerationRef,
    Journal,
    RunRef,
    Verdict,
    VibeError,
)
from testvibe_async.testing import Emulator, Fault, Outcome

FEATURES = ["Checkout", "Returns"]

OUTCOMES = {"Broken": Outcome(generation_status="failed"), "Draft": Outcome(run_status="failed")}


SCENARIO = evolve(STEADY, outcomes=OUTCOMES)


async def leave_unknown(path: Path, emulator: Emulator, *, lists_read: int = 0) -> None:
    """Lose the answer to each dispatch of a batch, and find nothing in the lists after some."""
    lost = emulator.fail("run_feature", Fault.lost())
    hidden = emulator.fail("list_runs", Fault.status(404), skip=lists_read)
    async with Journal(path) as journal, client_of(emulator) as client:
        items = await client.project().run_features(FEATURES, journal=journal)
        assert verdicts(items) == ["unknown"] * 2
    lost.remove()
    hidden.remove()


async def test_one_of_another_place_kind_or_entry_is_refused(
    path: Path, emulator: Emulator
) -> None:
    """What this dispatch started is of its server, project and kind, and of no other feature."""
    await leave_unknown(path, emulator)
    place: Any = {"server": emulator.url, "project": emulator.project_id}
    ref = RunRef(**place, run_id=max(emulator.runs))
    others = {
        "server": evolve(ref, server="https://other.example"),
        "project": evolve(ref, project="other"),
        "kind": GenerationRef(**place, request_id="g", feature_id=1),
    }
    async with Journal(path) as journal:
        for what, other in others.items():
            with pytest.raises(ConfigError, match=f"same {what}"):
                await journal.decide(other, feature="Checkout")
        assert len(journal.open_intents) == 2
        await journal.decide(ref, feature="Returns")
        with pytest.raises(ConfigError, match="that of 'Returns'"):
            await journal.decide(ref, feature="Checkout")


@pytest.mark.parametrize("run_id", ["another feature's", "missing"])
async def test_a_wrong_one_is_found_out_and_can_be_corrected(
    path: Path, emulator: Emulator, client: Client, run_id: str
) -> None:
    """A run of another feature, or none, leaves it unknown; the right one is taken."""
    await leave_unknown(path, emulator)
    runs = {run.feature_name: run.id for run in emulator.runs.values()}
    async with client_of(emulator) as other:
        theirs = await other.project().run_feature("Wishlist")
    wrong = theirs.run_id if run_id == "another feature's" else 9999
    ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=wrong)
    async with Journal(path) as journal:
        await journal.decide(ref, feature="Checkout")
        items = await client.project().run_features(journal=journal)
        assert items[0].verdict is Verdict.UNKNOWN
        assert isinstance(items[0].error, DispatchUnknownError)
        assert not journal.is_over
    async with Journal(path) as journal:
        await journal.decide(evolve(ref, run_id=runs["Checkout"]), feature="Checkout")
        items = await client.project().run_features(journal=journal)
    assert items[0].verdict is Verdict.SUCCEEDED
    assert emulator.count("run_feature", feature="Checkout") == 1


@pytest.mark.parametrize("is_listed", [False, True])
async def test_one_from_before_the_dispatch_is_none_of_it(
    path: Path, emulator: Emulator, client: Client, *, is_listed: bool
) -> None:
    """Neither an older id nor an earlier time can be what a dispatch started."""
    old = await client.project().run_feature("Checkout")
    await asyncio.sleep(86_400)
    await leave_unknown(path, emulator, lists_read=int(is_listed))
    async with Journal(path) as journal:
        assert journal.open_intents[0].highest_run_id == (old.run_id if is_listed else None)
        await journal.decide(old.ref, feature="Checkout")
        items = await client.project().run_features(journal=journal)
    assert items[0].verdict is Verdict.UNKNOWN


async def test_one_that_was_joined_is_resumed(path: Path, emulator: Emulator) -> None:
    """A generation that a batch attached to is waited for by the next, not paid for again."""
    emulator.add_feature("Broken", status="draft")
    async with client_of(emulator) as other:
        theirs = await other.project().generate_feature("Broken")
    for timeout in (20, None):
        async with Journal(path) as journal, client_of(emulator) as client:
            (item,) = await client.project().generate_features(
                ["Broken"], on_conflict="attach", journal=journal, timeout=timeout
            )
            assert journal.refs == [theirs.ref] or item.ref == theirs.ref
    assert item.verdict is Verdict.FAILED
    assert emulator.count("generate_feature") == 2  # theirs, and the one that met a conflict


async def test_one_that_a_run_joined_is_not_paid_for_again(path: Path, emulator: Emulator) -> None:
    """A run that waits for another's generation does not pay for one after that has failed."""
    emulator.add_feature("Broken", status="draft")
    async with client_of(emulator) as other:
        await other.project().generate_feature("Broken")
    for timeout in (20, None):
        async with Journal(path) as journal, client_of(emulator) as client:
            await client.project().run_features(
                ["Broken"], on_conflict="generate", journal=journal, timeout=timeout
            )
        await asyncio.sleep(300)
    assert len(emulator.generations) == 1


async def test_a_resume_without_them_uses_them(path: Path, emulator: Emulator) -> None:
    """Attempts and the conflict policy of a batch are those that it was made with."""
    emulator.add_feature("Draft", status="draft")
    async with Journal(path) as journal, client_of(emulator) as client:
        await client.project().run_features(
            ["Draft"], attempts=2, on_conflict="generate", journal=journal, timeout=1
        )
    async with Journal(path) as journal, client_of(emulator) as client:
        (item,) = await client.project().run_features(journal=journal)
    assert (item.verdict, len(item.attempts)) == (Verdict.FAILED, 2)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(302, body=b""),
        Fault.status(404, body=b"<html>nothing here</html>"),
        Fault.status(400, body=b"bad request"),
        Fault.status(403, body=b"<html>blocked</html>"),
    ],
)
async def test_what_is_not_the_services_own_is_not_final(
    path: Path, emulator: Emulator, fault: Fault
) -> None:
    """A feature that a proxy refused is dispatched by the next batch."""
    rule = emulator.fail("run_feature", fault)
    async with Journal(path) as journal, client_of(emulator) as client:
        await client.project().run_features(FEATURES, journal=journal)
        assert not journal.is_over
    rule.remove()
    async with Journal(path) as journal, client_of(emulator) as client:
        items = await client.project().run_features(journal=journal)
    assert verdicts(items) == ["succeeded"] * 2


async def test_what_the_service_says_is_final(path: Path, emulator: Emulator) -> None:
    """A feature that the service does not know is not dispatched again."""
    for _ in range(2):
        async with Journal(path) as journal, client_of(emulator) as client:
            (item,) = await client.project().run_features(["No such"], journal=journal)
            assert journal.is_over
            assert item.verdict is Verdict.ERROR
    assert emulator.count("run_feature") == 1


async def test_a_row_in_the_place_of_another_is_noticed(path: Path, emulator: Emulator) -> None:
    """Else one feature would be lost, and the other have two places."""
    await leave_unknown(path, emulator)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE rows SET (document, checksum) = "
            "(SELECT document, checksum FROM rows WHERE id = 1) WHERE id = 0"
        )
    connection.close()
    with pytest.raises(ConfigError, match="is damaged"):
        await opened(path)


async def test_a_lost_row_is_noticed(path: Path, emulator: Emulator) -> None:
    """A file that lacks a feature says so in a sentence."""
    await leave_unknown(path, emulator)
    for row in (0, 1, -1):
        copy = path.with_name(f"copy {row}")
        copy.write_bytes(path.read_bytes())
        with sqlite3.connect(copy) as connection:
            connection.execute("DELETE FROM rows WHERE id = ?", (row,))
        connection.close()
        with pytest.raises(ConfigError, match="is damaged"):
            await opened(copy)


async def test_any_damage_is_an_error_of_this_package(path: Path, emulator: Emulator) -> None:
    """Bytes changed at random are refused with a `VibeError`, and never taken for true."""
    await leave_unknown(path, emulator)
    whole = path.read_bytes()
    async with Journal(path) as journal:
        expected = [item.to_dict() for item in journal.items]
    seed = random.Random(7)  # noqa: S311 - it damages files
    refused = 0
    for number in range(60):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[seed.randrange(100, len(damaged))] = seed.randrange(256)
        copy = path.with_name(f"copy {number}")
        copy.write_bytes(damaged)
        try:
            async with Journal(copy) as journal:
                assert [item.to_dict() for item in journal.items] == expected
        except VibeError:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_goes_while_in_use_is_noticed(
    path: Path, emulator: Emulator, client: Client, how: str
) -> None:
    """Nothing more is dispatched once the file is not the one that was opened."""
    journal = await Journal(path).__aenter__()
    async with client.project().run_features(FEATURES, journal=journal, max_in_flight=1) as batch:
        await anext(batch)
        path.unlink()
        if how == "replaced":
            path.write_bytes(b"")
        item = await anext(batch)
    assert isinstance(item.error, VibeError)
    assert "deleted or replaced" in str(item.error)
    assert emulator.count("run_feature") == 1
    with pytest.raises(ConfigError, match="deleted or replaced"):
        await journal.aclose()
    with suppress(ConfigError):
        await journal.aclose()


async def test_many_open_dispatches_are_looked_for_together(
    path: Path, emulator: Emulator, client: Client
) -> None:
    """What a crash left open of a project is searched for in one list, not one for each feature."""
    names = [f"Feature {number}" for number in range(30)]
    for name in names:
        emulator.add_feature(name)
    lost = emulator.fail("run_feature", Fault.lost())
    hidden = emulator.fail("list_runs", Fault.status(404), skip=1)
    async with Journal(path) as journal, client_of(emulator) as first:
        items = await first.project().run_features(names, journal=journal)
        assert verdicts(items) == ["unknown"] * 30
    lost.remove()
    hidden.remove()
    before = emulator.count("list_runs")
    async with Journal(path) as journal, client.project().run_features(journal=journal) as batch:
        await asyncio.sleep(2)
        assert len(batch.refs) == 30
    assert emulator.count("list_runs") - before < 6
