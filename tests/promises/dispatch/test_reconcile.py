"""`Client.reconcile`: what became of a dispatch, in another process or on another day."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.promises.conftest import Events
from tests.support.faults import NO_ID, edited
from tests.support.notes import Notes, Step
from tests.support.peer import hooks_into
from tests.support.raising import raised
from tests.support.timing import STEADY, now, shift_local_clock
from testvibe_async import Client, Operation, Project, RunRef, errors
from testvibe_async.events import Dispatched
from testvibe_async.intents import Intent
from testvibe_async.testing import Emulator, Fault

DISPATCHES = {"run": "run_feature", "generation": "generate_feature"}


async def intend(
    emulator: Emulator, kind: str = "run", *, timeout: float = 30.0, **options: Any
) -> Intent:
    """Return the intent of a dispatch of another client, which saw no answer."""
    notes = Notes()
    async with client_of(emulator, recorder=notes, timeout=timeout) as client:
        project = client.project()
        dispatch = project.run_feature if kind == "run" else project.generate_feature
        feature = "Checkout" if kind == "run" else "Draft"
        dispatching = asyncio.ensure_future(dispatch(feature, **options))
        await notes.has_intent.wait()
        dispatching.cancel()
        await asyncio.gather(dispatching, return_exceptions=True)
    return Intent.from_json(notes.told[0][1].to_json())


async def found(client: Client, intent: Intent, **known: Any) -> Operation[Any]:
    """Return the operation that a dispatch started."""
    operation = await client.reconcile(intent, **known)
    assert operation is not None
    return operation


async def test_an_intent_names_the_generation_before_it(emulator: Emulator, rival: Project) -> None:
    """One that was read just now; what is older may not be the latest any more."""
    before = await rival.generate_feature("Draft")
    emulator.finish_generation(before.request_id)
    intent = await intend(emulator, "generation")
    assert (intent.is_previous_known, intent.previous_id) == (True, before.request_id)
    emulator.fail("get_generation_status", Fault.status(404))
    intent = await intend(emulator, "generation")
    assert (intent.is_previous_known, intent.previous_id) == (False, None)


@pytest.mark.parametrize("failing", [None, "dispatched"])
async def test_found_is_reported(emulator: Emulator, events: Events, failing: Step | None) -> None:
    """The client's recorder and its hook receive it; a failure of the recorder is only logged."""
    notes = Notes(failing=failing)
    async with client_of(emulator, recorder=notes, hooks=hooks_into(events)) as client:
        operation = await found(client, intent := await intend(emulator))
    (event,) = events.of(Dispatched)
    assert (event.ref, event.adopted, event.feature) == (operation.ref, True, "Checkout")
    assert notes.told == ([("dispatched", intent, operation.ref)] if failing is None else [])


async def test_what_a_cut_list_showed(emulator: Emulator, client: Client, rival: Project) -> None:
    """Where a later list omits it, another one of the same feature and time is not adopted."""
    intent = await intend(emulator)
    await rival.run_feature("Checkout")
    timeless = Fault.edit(lambda rows: [row | {"createdUtc": None} for row in rows])
    cut = emulator.fail("list_runs", timeless)
    await raised(errors.DispatchUnknownError, client.reconcile(evolve(intent, highest_run_id=None)))
    cut.remove()
    emulator.fail("list_runs", Fault.edit(lambda rows: rows[:1]))
    error = await raised(errors.DispatchUnknownError, client.reconcile(intent))
    assert (error.reason, len(error.candidates)) == ("ambiguous", 2)


async def test_a_generation_that_did_not_begin(emulator: Emulator, client: Client) -> None:
    """The status as it was before proves it, once nothing can begin any more."""
    emulator.fail("generate_feature", Fault.reset())
    intent = await intend(emulator, "generation")
    began = now()
    assert await client.reconcile(intent) is None
    assert now() - began == pytest.approx(7 + 5 + 2 * 30 + 4, abs=1)


@pytest.mark.parametrize("kind", ["run", "generation"])
@pytest.mark.parametrize("delay", [45, 64])
async def test_what_begins_late_is_found(
    emulator: Emulator,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    delay: float,
) -> None:
    """A service that acts on a request after its time-out is not asked a second time."""
    shift_local_clock(monkeypatch)
    emulator.fail(DISPATCHES[kind], Fault.delay(delay), times=1)
    dispatching = asyncio.ensure_future(intend(emulator, kind))
    await asyncio.sleep(41)
    await client.project().run_feature("Returns")  # A proof, if nothing may begin any more.
    operation = await found(client, await dispatching)
    started = emulator.runs if kind == "run" else emulator.generations
    assert str(operation.ref.key[-1]) == str([*started][-1])


@pytest.mark.parametrize(("timeout", "seconds"), [(5.0, 65), (30.0, 65), (40.0, 85)])
async def test_an_impatient_client_leaves_the_service_its_time(
    emulator: Emulator, timeout: float, seconds: float
) -> None:
    """What it may do late has nothing to do with how long the client waits for an answer."""
    assert (await intend(emulator, timeout=timeout)).expires_after == seconds


@pytest.mark.parametrize("feature", ["Returns", "Checkout"])
async def test_a_later_run_is_a_proof(
    emulator: Emulator, client: Client, rival: Project, feature: str
) -> None:
    """What was created after the dispatch had ended, of any feature, is somebody else's."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    intent = await intend(emulator)
    await asyncio.sleep(70)
    await rival.run_feature(feature)
    assert await client.reconcile(intent) is None


async def test_known_ones_are_not_it(emulator: Emulator, client: Client, rival: Project) -> None:
    """An operation that is known to be another's is not adopted."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    intent = await intend(emulator)
    theirs = await rival.run_feature("Checkout")
    error = await raised(errors.DispatchUnknownError, client.reconcile(intent, known=[theirs.ref]))
    assert error.reason == "absent"
    assert (await found(client, intent)).ref == theirs.ref


async def test_without_a_list_nobody_can_say(emulator: Emulator, client: Client) -> None:
    """A service without a list of runs leaves it unknown, at once."""
    intent = await intend(emulator)
    emulator.fail("list_runs", Fault.status(404))
    began = now()
    error = await raised(errors.DispatchUnknownError, client.reconcile(intent), match="404")
    assert error.reason == "unseen"
    assert now() - began < 1


@pytest.mark.service(lists=False, scenario=STEADY)
async def test_without_a_list_the_next_ids_show_it(emulator: Emulator, client: Client) -> None:
    """A later process reads them too, up to a run that is too late to be it."""
    async with client_of(emulator, recorder=(notes := Notes())) as dead:
        before = await dead.project().run_feature("Returns")
        emulator.fail("run_feature", Fault.lost(), times=1)
        page = emulator.fail("get_run", Fault.status(404, body=b"<html>"))
        await raised(errors.DispatchUnknownError, dead.project().run_feature("Checkout"))
    page.remove()
    await asyncio.sleep(3600)
    await client.project().run_feature("Checkout")
    read = emulator.count("get_run")
    assert (await found(client, notes.told[-1][1])).ref.key[-1] == before.run_id + 1
    assert emulator.count("get_run") - read < 10


async def test_a_stale_status_is_waited_out(emulator: Emulator, client: Client) -> None:
    """A copy that is behind shows the old status first; the new one is found all the same."""
    intent = await intend(emulator, "generation")
    (generation,) = emulator.generations.values()
    stale = Fault.edit(lambda _: {"status": "draft", "featureId": generation.feature_id})
    emulator.fail("get_generation_status", stale, times=2)
    assert (await found(client, intent)).ref.key[-1] == generation.request_id


async def test_a_day_later(emulator: Emulator, client: Client) -> None:
    """Reconciling goes by the recorded times, not by this process's."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    intent = await intend(emulator)
    assert intent.service_at is not None
    past = evolve(
        intent,
        intended_at=intent.intended_at - timedelta(days=1),
        service_at=intent.service_at - timedelta(days=1),
    )
    await client.project().run_feature("Checkout")
    began = now()
    assert await client.reconcile(past) is None
    assert now() - began <= 7


async def test_what_is_no_intent_of_this_server(emulator: Emulator, client: Client) -> None:
    """Another server's intent is refused, and what is none."""
    intent = await intend(emulator)
    with pytest.raises(errors.ConfigError, match=r"was for https://other\.example"):
        await client.reconcile(evolve(intent, server="https://other.example"))
    with pytest.raises(errors.ConfigError, match="intent"):
        await client.reconcile("intent")  # type: ignore[arg-type]
    await client.aclose()
    await raised(errors.ClientClosedError, client.reconcile(intent))


async def test_an_open_intent_may_own_it(emulator: Emulator, client: Client) -> None:
    """Of two open dispatches of one feature neither adopts the only run: it may be the other's."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    first = await intend(emulator)
    second = await intend(emulator)
    assert len(emulator.runs) == 1
    error = await raised(errors.DispatchUnknownError, client.reconcile(first, known=[second]))
    assert error.reason == "ambiguous"
    await found(client, second)


@pytest.mark.parametrize(
    "part",
    [
        Fault.edit(lambda rows: {"items": rows[:2], "nextCursor": "2"}),
        Fault.edit(lambda rows: [{"runId": "x"}, *rows]),
    ],
    ids=["a page", "an unreadable row"],
)
async def test_a_part_proves_nothing(emulator: Emulator, client: Client, part: Fault) -> None:
    """Of a page, and of a list with a row that can't be read, it is unknown what is not shown."""
    await client.project().run_feature("Returns")
    emulator.fail("run_feature", Fault.reset(), times=1)
    intent = await intend(emulator)
    await asyncio.sleep(70)
    for _ in range(3):
        await client.project().run_feature("Returns")
    emulator.fail("list_runs", part)
    await raised(errors.DispatchUnknownError, client.reconcile(intent))


async def test_a_status_that_names_no_generation(emulator: Emulator, client: Client) -> None:
    """A status without a `requestId` shows nothing of the dispatch."""
    intent = evolve(await intend(emulator, "generation"), previous_id="r1")
    emulator.fail("get_generation_status", NO_ID)
    error = await raised(errors.DispatchUnknownError, client.reconcile(intent))
    assert "which generation it is of" in str(error)
    assert error.reason == "unseen"


async def test_a_status_needs_no_time(emulator: Emulator, client: Client) -> None:
    """Where the service does not say when it changed, the new `requestId` decides."""
    intent = await intend(emulator, "generation")
    emulator.fail("get_generation_status", edited(updatedUtc=None))
    operation = await found(client, intent)
    assert operation.ref.key[-1] in emulator.generations


@pytest.mark.parametrize("other", [{"server": "https://other.example"}, {"project": "other"}])
async def test_same_id_elsewhere(emulator: Emulator, client: Client, other: dict[str, Any]) -> None:
    """A known run of another project or server with the same id is no reason to pass ours over."""
    intent = await intend(emulator)
    (run_id,) = emulator.runs
    ref = RunRef(server=intent.server, project=intent.project, run_id=int(run_id))
    assert (await found(client, intent, known=[evolve(ref, **other)])).ref == ref


@pytest.mark.parametrize("is_polling", [False, True])
async def test_a_client_that_closes_ends_it(emulator: Emulator, *, is_polling: bool) -> None:
    """It does not wait on for what may still begin, and says that the client was closed."""
    emulator.fail("run_feature", Fault.reset(), times=1)
    intent = await intend(emulator)
    if is_polling:  # The close cuts off the poll, which is no failure to see the operation.
        emulator.fail("list_runs", Fault.hang())
    async with client_of(emulator) as client:
        reconciling = asyncio.ensure_future(client.reconcile(intent))
        await asyncio.sleep(10)
    await raised(errors.ClientClosedError, reconciling)
    assert now() < 7 + 10 + 1  # the dispatch was lost after 7 s


async def test_nothing_is_said_of_what_was_not_polled(emulator: Emulator, client: Client) -> None:
    """An operation of another day is not taken for one that was seen in flight just now."""
    intent = await intend(emulator)
    await asyncio.sleep(3600)
    operation = await found(client, intent)
    assert (operation.status, operation.phase) == (None, None)
    assert [str(change) async for change in operation] in (["finished passed"], ["finished failed"])


async def test_an_id_with_zeros_before_it(emulator: Emulator, client: Client) -> None:
    """A feature that was named by digits is the one with that id, however they are written."""
    intent = evolve(await intend(emulator), feature="0014")
    await found(client, intent)


@pytest.mark.parametrize("kind", ["run", "generation"])
async def test_it_is_found_again(emulator: Emulator, client: Client, kind: str) -> None:
    """An intent may be reconciled at once and once more: its operation stays its own."""
    intent = await intend(emulator, kind)
    both = await asyncio.gather(*(client.reconcile(intent) for _ in range(2)))
    again = await found(client, intent)
    assert both == [again, again]
    assert again.adopted
    assert (await again).is_success


@pytest.mark.parametrize("kind", ["run", "generation"])
async def test_attached_ones(emulator: Emulator, client: Client, rival: Project, kind: str) -> None:
    """An operation that this client has a handle on may be that of the dispatch, or another's."""
    intent = await intend(emulator, kind)
    async with client_of(emulator) as other:
        handle = client.attach((await found(other, intent)).ref)
    await asyncio.sleep(90)
    await rival.run_feature("Checkout")
    error = await raised(errors.DispatchUnknownError, client.reconcile(intent))
    assert (error.reason, error.candidates) == ("ambiguous", (handle.ref,))
