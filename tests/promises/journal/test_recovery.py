"""A batch that goes on with a journal: lost answers, decisions, and files that are damaged."""

# ruff: noqa: ASYNC240 - the files are small
import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.promises.journal.conftest import execute, leave_unknown, opened, ran, ref_of, resumed
from tests.support.batches import verdicts
from tests.support.journals import copy_of_the_disk
from tests.support.raising import raised
from tests.support.timing import STEADY, now
from testvibe_async import Batch, Client, GenerationRef, Journal, Project, Verdict, errors
from testvibe_async.testing import Emulator, Fault, Outcome


async def leave_unsent(path: Path, emulator: Emulator, features: Any) -> None:
    """Lose the one dispatch of a batch, which did nothing."""
    await leave_unknown(path, emulator, features, fault=Fault.reset(), lists_read=0, timeout=20)


async def when(is_so: Callable[[], bool], *, within: float) -> float:
    """Return when something is so, in seconds from now; fail where that takes too long."""
    began = now()
    while not is_so():
        assert now() - began < within
        await asyncio.sleep(0.5)
    return now() - began


async def test_one_that_raises_leaves_the_plan_open(path: Path, project: Project) -> None:
    """Also where another worker waits to read: the resumed batch has all its features."""

    async def features(*, fails: bool) -> AsyncIterator[str]:
        yield "Checkout"
        await asyncio.sleep(60)
        if fails:
            raise OSError("the database of features is away")
        yield "Returns"

    async with Journal(path) as journal:
        batch = project.run_features(features(fails=True), journal=journal)
        await raised(OSError, batch, match="away")
        assert not journal.is_complete
    items = await resumed(path, project, features(fails=False))
    assert [item.feature for item in items] == ["Checkout", "Returns"]


async def test_the_next_is_read_meanwhile(path: Path, emulator: Emulator) -> None:
    """The feature that is held back as a proof is the last one, and not the first."""

    async def features(count: int) -> AsyncIterator[str]:
        for name in ("Checkout", "Returns", "Wishlist")[:count]:
            yield name
        await asyncio.sleep(1000)

    await leave_unsent(path, emulator, features(1))
    async with (
        Journal(path) as journal,
        client_of(emulator) as client,
        client.project().run_features(features(3), journal=journal),
    ):
        await when(lambda: emulator.count("run_feature", feature="Returns") > 0, within=3)


async def test_generations_are_not_held_back(path: Path, emulator: Emulator) -> None:
    """No later one would prove anything."""
    for name in ("One", "Two"):
        emulator.add_feature(name, status="draft")
    lost = emulator.fail("generate_feature", Fault.reset(), times=1)
    hidden = emulator.fail("get_generation_status", Fault.status(503), skip=1)
    async with Journal(path) as journal, client_of(emulator) as client:
        batch = client.project().generate_features(["One", "Two"], journal=journal, max_in_flight=1)
        async with batch:
            await anext(batch)
    lost.remove()
    hidden.remove()
    async with (
        Journal(path) as journal,
        client_of(emulator) as client,
        client.project().generate_features(journal=journal),
    ):
        await when(lambda: emulator.count("generate_feature", feature="Two") > 0, within=3)


async def test_one_that_waits_is_a_proof(path: Path, emulator: Emulator, client: Client) -> None:
    """A feature that is dispatched once another has ended proves that an earlier one did not start.

    The first is unknown, the second in flight for minutes, and the third is dispatched after that.
    """
    emulator.fail("run_feature", Fault.reset(), times=1)
    emulator.fail("get_run", Fault.edit(lambda run: run | {"status": "running"}), times=60)
    hidden = emulator.fail("list_runs", Fault.status(404))
    async with Journal(path) as journal, client_of(emulator) as first:
        names = ["Checkout", "Returns", "Wishlist"]
        batch = first.project().run_features(names, journal=journal, max_in_flight=1)
        async with batch:
            assert (await anext(batch)).verdict is Verdict.UNKNOWN
            await when(lambda: len(emulator.runs) > 0, within=5)
    hidden.remove()
    async with Journal(path) as journal:
        items = await client.project().run_features(journal=journal, max_in_flight=1)
    assert [item.outcome is not None for item in items] == [True, True, True]
    assert emulator.count("run_feature") == 4


async def test_waiting_for_a_slot_in_vain(path: Path, emulator: Emulator, client: Client) -> None:
    """At the time-out, what was proved not to have started is skipped, and not dispatched."""
    emulator.add_feature("Lost", status="draft")
    slow = emulator.add_feature("Slow one", status="draft")
    emulator.fail("generate_feature", Fault.reset(), times=1)
    hidden = emulator.fail(
        "get_generation_status", Fault.status(503), skip=1, when=lambda sent: "Lost" in sent.path
    )
    names: list[int | str] = ["Lost", slow.id]
    async with Journal(path) as journal, client_of(emulator) as first:
        await first.project().generate_features(names, journal=journal, timeout=8, max_in_flight=1)
    hidden.remove()
    running = Fault.edit(lambda row: row | {"featureStatus": "generating"})
    emulator.fail("get_generation_status", running, when=lambda sent: f"/{slow.id}/" in sent.path)
    async with Journal(path) as journal:
        project = client.project()
        items = await project.generate_features(journal=journal, max_in_flight=1, timeout=100)
    assert verdicts(items) == ["skipped", "in flight"]
    assert emulator.count("generate_feature") == 2


async def test_an_outage_beyond_patience_leaves_it_unknown(path: Path, emulator: Emulator) -> None:
    """A service that stays away shows neither that it started nor that nothing did."""
    await leave_unsent(path, emulator, ["Checkout"])
    async with Journal(path) as journal, client_of(emulator, max_outage=5) as client:
        await client.list_projects()
        emulator.fail("*", Fault.status(503))
        (item,) = await client.project().run_features(journal=journal)
    assert item.verdict is Verdict.UNKNOWN
    assert now() < 200


async def test_a_lost_generation_is_dispatched_again(emulator: Emulator, project: Project) -> None:
    """The status proves that nothing started."""
    emulator.add_feature("Fresh", status="draft")
    emulator.fail("generate_feature", Fault.reset(), times=1)
    (item,) = await project.generate_features(["Fresh"])
    assert item.outcome is not None
    assert (emulator.count("generate_feature"), len(emulator.generations)) == (2, 1)


async def test_it_is_decided_while_open(path: Path, emulator: Emulator, client: Client) -> None:
    """Once the batch has ended nobody waits for it any more."""
    emulator.fail("run_feature", Fault.lost())
    emulator.fail("list_runs", Fault.status(404))
    async with Journal(path) as journal:
        (item,) = await client.project().run_features(["Checkout"], journal=journal)
        (stored,) = journal.items
        assert str(stored.error) == str(item.error)
        assert await journal.decide("drop") == ["Checkout"]


async def test_an_answer_after_the_batch(path: Path, emulator: Emulator, client: Client) -> None:
    """A dispatch of a cancelled batch that the service executes late is not sent again."""
    emulator.fail("run_feature", Fault.delay(20), times=1)
    async with Journal(path) as journal:
        batch = asyncio.ensure_future(
            client.project().run_features(["Checkout", "Returns"], journal=journal, max_in_flight=1)
        )
        await asyncio.sleep(1)
        batch.cancel()
        await asyncio.wait([batch])
    async with Journal(path) as journal:
        items = await _run(client, journal)
    assert verdicts(items) == ["succeeded"] * 2
    assert sorted(run.feature.name for run in emulator.runs.values()) == ["Checkout", "Returns"]


async def test_a_client_that_closes_leaves_it_to_be_decided(path: Path, emulator: Emulator) -> None:
    """No batch is working on it any more."""
    await leave_unsent(path, emulator, ["Checkout"])
    emulator.fail("list_runs", Fault.hang())
    async with Journal(path) as journal:
        client = client_of(emulator)
        batch = asyncio.ensure_future(_run(client, journal))
        await asyncio.sleep(1)
        await client.aclose()
        await raised(errors.ClientClosedError, batch)
        assert await journal.decide("resend") == ["Checkout"]


async def _run(client: Client, journal: Journal, **options: Any) -> list[Any]:
    return [*await client.project().run_features(journal=journal, **options)]


@pytest.mark.parametrize("feature", ["Checkout", "New"])
async def test_an_accepted_dispatch_is_known_to_be_so_after_a_kill(
    path: Path, emulator: Emulator, client: Client, feature: str
) -> None:
    """That its answer can't be read is stored at once: nothing sends it again, or pays again."""
    emulator.add_feature("New", status="draft")
    dispatch = "run_feature" if feature == "Checkout" else "generate_feature"
    emulator.fail(dispatch, Fault.edit(lambda _: {"unexpected": True}))
    emulator.fail("list_runs", Fault.status(503), skip=1)
    emulator.fail("get_generation_status", Fault.status(503), when=lambda _: now() > 0.5)
    emulator.fail("generate_feature", Fault.delay(1))
    killed = path.with_name("killed")
    async with Journal(path) as journal:
        project = client.project()
        method = project.run_features if feature == "Checkout" else project.generate_features
        batch: Batch[Any] = method([feature], journal=journal)
        waiting = asyncio.ensure_future(batch)
        await asyncio.sleep(5)
        copy_of_the_disk(path, killed)
        await waiting
    async with Journal(killed) as journal:
        assert [intent.is_accepted for intent in journal.open_intents] == [True]


async def test_fewer_attempts_on_resume_are_kept_to(path: Path, emulator: Emulator) -> None:
    """A run that failed is its outcome where no other attempt is left."""
    emulator.add_feature("Failing")
    refused = emulator.fail("run_feature", Fault.status(401), skip=1)
    await ran(path, emulator, ["Failing"], attempts=2)
    refused.remove()
    (item,) = await ran(path, emulator, attempts=1)
    async with Journal(path) as journal:
        assert journal.is_over
    assert (item.verdict, len(item.attempts), len(emulator.runs)) == (Verdict.FAILED, 1, 1)


FEATURES = ["Checkout", "Returns"]


OUTCOMES = {
    "Broken": Outcome(generation_status="failed"),
    "Draft": Outcome(run_status="failed"),
    "Failing": Outcome(run_status="failed"),
    "Slow": Outcome(generation_duration=400),
}


SCENARIO = evolve(STEADY, outcomes=OUTCOMES)


async def test_one_of_another_place_is_refused(path: Path, emulator: Emulator) -> None:
    """What this dispatch started is of its server, project and kind, and of no other feature."""
    await leave_unknown(path, emulator, FEATURES, lists_read=0)
    ref = ref_of(emulator, "Checkout")
    others = {
        "server": evolve(ref, server="https://other.example"),
        "project": evolve(ref, project="other"),
        "kind": GenerationRef(server=ref.server, project=ref.project, request_id="g", feature_id=1),
    }
    async with Journal(path) as journal:
        for what, other in others.items():
            with pytest.raises(errors.ConfigError, match=f"same {what}"):
                await journal.decide(other, feature="Checkout")
        assert len(journal.open_intents) == 2
        await journal.decide(ref, feature="Returns")
        with pytest.raises(errors.ConfigError, match="that of 'Returns'"):
            await journal.decide(ref, feature="Checkout")


@pytest.mark.service(scenario=evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")}))
async def test_the_run_of_an_earlier_attempt_is_refused(path: Path, emulator: Emulator) -> None:
    """It is of the item that it failed for, although another attempt followed it."""
    emulator.fail("run_feature", Fault.lost(), skip=1, times=1)
    emulator.fail("list_runs", Fault.status(404), skip=1)
    await ran(path, emulator, ["Returns", "Checkout"], attempts=2, timeout=60)
    first, _, second = emulator.runs
    async with Journal(path) as journal:
        for run_id in (first, second):
            ref = evolve(ref_of(emulator, "Checkout"), run_id=run_id)
            with pytest.raises(errors.ConfigError, match="that of 'Returns'"):
                await journal.decide(ref, feature="Checkout")


@pytest.mark.parametrize("run_id", ["another feature's", "missing"])
async def test_a_wrong_one_is_seen(
    path: Path, emulator: Emulator, project: Project, rival: Project, run_id: str
) -> None:
    """A run of another feature, or none, leaves it unknown; the right one is taken."""
    await leave_unknown(path, emulator, FEATURES, lists_read=0)
    ref = ref_of(emulator, "Checkout")
    theirs = await rival.run_feature("Wishlist")
    wrong = theirs.run_id if run_id == "another feature's" else 9999
    async with Journal(path) as journal:
        await journal.decide(evolve(ref, run_id=wrong), feature="Checkout")
        items = await project.run_features(journal=journal)
        assert items[0].verdict is Verdict.UNKNOWN
        assert isinstance(items[0].error, errors.DispatchUnknownError)
        assert not journal.is_over
        assert len(journal.open_intents) == 2
    async with Journal(path) as journal:
        await journal.decide(ref, feature="Checkout")
        items = await project.run_features(journal=journal)
    assert items[0].verdict is Verdict.SUCCEEDED
    assert emulator.count("run_feature", feature="Checkout") == 1


@pytest.mark.parametrize("is_listed", [False, True])
async def test_one_from_before_the_dispatch_is_none_of_it(
    path: Path, emulator: Emulator, client: Client, *, is_listed: bool
) -> None:
    """Neither an older id nor an earlier time can be what a dispatch started."""
    old = await client.project().run_feature("Checkout")
    await asyncio.sleep(86_400)
    await leave_unknown(path, emulator, FEATURES, lists_read=int(is_listed))
    async with Journal(path) as journal:
        assert journal.open_intents[0].highest_run_id == (old.run_id if is_listed else None)
        await journal.decide(old.ref, feature="Checkout")
        items = await client.project().run_features(journal=journal)
    assert items[0].verdict is Verdict.UNKNOWN


async def test_one_that_was_joined_is_resumed(
    path: Path, emulator: Emulator, project: Project, rival: Project
) -> None:
    """A generation that a batch attached to is waited for by the next, not paid for again."""
    emulator.add_feature("Broken", status="draft")
    theirs = await rival.generate_feature("Broken")
    for timeout in (20, None):
        async with Journal(path) as journal:
            (item,) = await project.generate_features(
                ["Broken"], on_conflict="attach", journal=journal, timeout=timeout
            )
            assert journal.refs == [theirs.ref] or item.ref == theirs.ref
    assert item.verdict is Verdict.FAILED
    assert emulator.count("generate_feature") == 2  # theirs, and the one that met a conflict


async def test_a_resume_without_them_uses_them(
    path: Path, emulator: Emulator, rival: Project
) -> None:
    """Attempts and the conflict policy of a batch are those that it was made with."""
    emulator.add_feature("Draft", status="draft")
    await rival.generate_feature("Draft")
    await ran(path, emulator, ["Draft"], attempts=2, on_conflict="wait", timeout=1)
    (item,) = await ran(path, emulator)
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
async def test_a_proxys_word_is_not_final(path: Path, emulator: Emulator, fault: Fault) -> None:
    """A feature that a proxy refused is dispatched by the next batch."""
    rule = emulator.fail("run_feature", fault)
    await ran(path, emulator, FEATURES)
    rule.remove()
    assert verdicts(await ran(path, emulator)) == ["succeeded"] * 2


SECOND = "(SELECT document, checksum FROM rows WHERE id = 1)"


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM rows WHERE id = 0",
        "DELETE FROM rows WHERE id = -1",
        "DELETE FROM rows WHERE id = (SELECT max(id) FROM rows)",
        f"UPDATE rows SET (document, checksum) = {SECOND} WHERE id = 0",  # noqa: S608 - ours
    ],
)
async def test_a_lost_row_is_noticed(path: Path, emulator: Emulator, damage: str) -> None:
    """A file that lacks a feature, or has one twice, says so in a sentence."""
    await leave_unknown(path, emulator, FEATURES, lists_read=0)
    execute(path, damage)
    await raised(errors.ConfigError, opened(path), match="is damaged")


async def test_any_damage_is_an_error_of_this_package(path: Path, emulator: Emulator) -> None:
    """Bytes changed at random are refused with a `VibeError`, and never taken for true."""
    await leave_unknown(path, emulator, FEATURES, lists_read=0)
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
        except errors.VibeError:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_is_gone(path: Path, emulator: Emulator, client: Client, how: str) -> None:
    """Nothing more is dispatched once the file is not the one that was opened."""
    journal = await Journal(path).__aenter__()
    async with client.project().run_features(FEATURES, journal=journal, max_in_flight=1) as batch:
        await anext(batch)
        path.unlink()
        if how == "replaced":
            path.write_bytes(b"")
        item = await anext(batch)
    assert isinstance(item.error, errors.VibeError)
    assert "deleted or replaced" in str(item.error)
    assert emulator.count("run_feature") == 1
    await raised(errors.ConfigError, journal.aclose(), match="deleted or replaced")
    with suppress(errors.ConfigError):
        await journal.aclose()


async def test_many_are_sought_together(path: Path, emulator: Emulator, project: Project) -> None:
    """What a crash left open of a project is searched for in one list, not one for each feature."""
    names = [emulator.add_feature(f"Feature {number}").name for number in range(30)]
    await leave_unknown(path, emulator, names)
    before = emulator.count("list_runs")
    async with Journal(path) as journal, project.run_features(journal=journal) as batch:
        await asyncio.sleep(2)
        assert len(batch.refs) == 30
    assert emulator.count("list_runs") - before < 6
    assert emulator.count("run_feature") == 30


async def test_a_proof_that_does_not_come_is_not_waited_for(path: Path) -> None:
    """With fewer attempts, the last feature that could provide it ends without a dispatch."""
    async with Emulator(scenario=evolve(STEADY, run_duration=(600, 600))) as emulator:
        emulator.fail("run_feature", Fault.reset(), times=1)
        names = ["Returns", "Wishlist", "Checkout"]
        async with (
            client_of(emulator) as client,
            Journal(path) as journal,
            client.project().run_features(names, journal=journal, attempts=2),
        ):
            await asyncio.sleep(3)
            emulator.fail("run_feature", Fault.status(429, retry_after=60))
            emulator.finish_run(max(emulator.runs), "failed")
            await asyncio.sleep(4)
        async with asyncio.timeout(900):
            items = await ran(path, emulator, attempts=1, max_in_flight=1)
        assert verdicts(items) == ["unknown", "succeeded", "failed"]
