"""Recorders: what they are told, when, and what happens if they fail."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.notes import Notes
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, Project, RetryPolicy, RunOperation, errors
from testvibe_async.events import reported_logger
from testvibe_async.intents import Intent
from testvibe_async.testing import Emulator, Fault


@pytest.fixture
def notes(emulator: Emulator) -> Notes:
    return Notes(emulator)


@pytest.fixture
async def client(emulator: Emulator, notes: Notes) -> Any:
    async with client_of(emulator, recorder=notes) as client:
        yield client


async def test_a_dispatch(client: Client, notes: Notes, emulator: Emulator) -> None:
    """The intent comes before the POST, and the ref before the handle."""
    site = "https://x"
    operation = await client.project().run_feature("Checkout", config="Mobile", site_url=site)
    assert notes.steps == ["intended", "dispatched"]
    assert notes.posts == [0]
    (_, intent, _), (_, same, ref) = notes.told
    assert same is intent
    assert ref == operation.ref
    assert (intent.kind, intent.feature, intent.config) == ("run", "Checkout", "Mobile")
    place = (intent.site_url, intent.server, intent.project)
    assert place == (site, emulator.url, emulator.project_id)
    assert intent.highest_run_id == 0
    assert intent.service_at is not None
    assert Intent.from_json(intent.to_json()) == intent
    assert emulator.api_key not in intent.to_json()


async def test_each_attempt_has_an_intent(client: Client, notes: Notes, emulator: Emulator) -> None:
    """A refusal that is retried ends the first intent, and the next attempt has its own."""
    emulator.fail("run_feature", Fault.status(429, retry_after=2), times=2)
    await client.project().run_feature("Checkout")
    assert notes.steps == ["intended", "not_dispatched"] * 2 + ["intended", "dispatched"]
    assert len({intent.id for _, intent, _ in notes.told}) == 3
    assert isinstance(notes.told[1][2], errors.RateLimitedError)


async def test_no_connection(emulator: Emulator, notes: Notes) -> None:
    """Without a connection nothing is intended."""
    await emulator.aclose()
    async with client_of(emulator, recorder=notes, retry=RetryPolicy(attempts=1)) as c:
        await raised(errors.NotSentError, c.project().run_feature("Checkout"))
    assert notes.steps == []


@pytest.mark.parametrize("error", [OSError("no space left on device"), asyncio.CancelledError()])
async def test_a_failure_before_it(
    client: Client, notes: Notes, emulator: Emulator, error: BaseException
) -> None:
    """What it raises stops the dispatch: nothing is sent, and nothing is tried again."""
    notes.failing, notes.error = {"intended"}, error
    said = "cancelled" if isinstance(error, asyncio.CancelledError) else str(error)
    dispatch = client.project().run_feature("Checkout")
    caught = await raised(errors.RecorderError, dispatch, match=said)
    assert isinstance(caught.__cause__, OSError) == isinstance(error, OSError)
    assert emulator.count("run_feature") == 0
    assert notes.steps == ["not_dispatched"]
    assert now() < 1


async def test_a_slow_recorder(client: Client, notes: Notes, emulator: Emulator) -> None:
    """What is recorded after more than 5 s is not sent: another may have taken it over."""
    notes.seconds = {"intended": 5.1}
    await raised(errors.RecorderError, client.project().run_feature("Checkout"), match="within 5 s")
    assert emulator.count("run_feature") == 0
    assert notes.steps == ["not_dispatched"]


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_a_recorder_that_fails_after(
    client: Client, notes: Notes, emulator: Emulator, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """The ref is kept and returned, and the log has it with the failure."""
    if fault == "raises":
        notes.failing = {"dispatched"}
    else:
        notes.seconds = {"dispatched": 1e6}
    operation = await client.project().run_feature("Checkout")
    assert operation.run_id in emulator.runs
    assert operation.ref.to_json() in caplog.text
    assert "could not be recorded" in caplog.text
    assert now() < 11


@pytest.mark.parametrize("kind", ["run", "generation"])
async def test_answered_intent(client: Client, notes: Notes, emulator: Emulator, kind: str) -> None:
    """A client that dispatched an operation never says of its intent that nothing started."""
    notes.failing.add("dispatched")
    project = client.project()
    dispatch = project.run_feature if kind == "run" else project.generate_feature
    operation = await dispatch("Checkout")
    (intent,) = notes.open
    await asyncio.sleep(60)
    async with client_of(emulator) as other:
        await other.project().run_feature("Returns")

    assert await client.reconcile(intent) == operation


async def test_a_recorder_that_fails_at_a_refusal(
    client: Client, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal is raised all the same."""
    notes.failing = {"not_dispatched"}
    await raised(errors.FeatureNotGeneratedError, client.project().run_feature("Draft"))
    assert "could not be recorded" in caplog.text


async def ended_after_a_second(client: Client, end: str) -> asyncio.Future[RunOperation]:
    """Return a dispatch whose caller was cancelled, or whose client closed."""
    caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
    await asyncio.sleep(1)
    if end == "cancelled":
        caller.cancel()
    else:
        await client.aclose()
    return caller


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_an_end_before_it(client: Client, notes: Notes, emulator: Emulator, end: str) -> None:
    """A dispatch that was not written is not sent, and recorded before its caller goes on."""
    notes.seconds = {"intended": 3, "not_dispatched": 0.5}
    caller = await ended_after_a_second(client, end)
    await raised((asyncio.CancelledError, errors.ClientClosedError), caller)
    assert notes.steps[-1:] == ["not_dispatched"]
    await asyncio.sleep(5)
    assert emulator.count("run_feature") == 0


class Stubborn(Notes):
    """A recorder that swallows its cancellation."""

    async def intended(self, intent: Intent) -> None:
        try:
            await asyncio.sleep(3)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        self.told.append(("intended", intent, None))


async def test_a_stubborn_recorder_sends_nothing(emulator: Emulator) -> None:
    """A request that was given up is not written, whatever the recorder does."""
    notes = Stubborn(emulator)
    async with client_of(emulator, recorder=notes) as client:
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)
        caller.cancel()
        await raised(asyncio.CancelledError, caller)
        await asyncio.sleep(5)
    assert emulator.count("run_feature") == 0
    assert notes.steps == ["intended", "not_dispatched"]


async def test_many_at_once(client: Client, notes: Notes) -> None:
    """32 recorded dispatches wait no longer than one of them: each for its own intent alone."""
    notes.seconds = {"intended": 0.5}
    project = client.project()
    await asyncio.gather(*(project.run_feature("Checkout") for _ in range(32)))
    assert notes.steps.count("dispatched") == 32
    assert now() == pytest.approx(0.5, abs=0.01)


async def test_a_refusal_is_always_noted(client: Client, emulator: Emulator, notes: Notes) -> None:
    """A recorder that is slow to note a refusal is told of it, however its caller ends."""
    notes.seconds["not_dispatched"] = 3.0
    emulator.fail("run_feature", Fault.status(429, retry_after=1), times=1)
    dispatching = asyncio.ensure_future(client.project().run_feature("Checkout"))
    await asyncio.sleep(1)
    assert notes.steps == ["intended"]
    dispatching.cancel()
    await asyncio.sleep(10)
    assert notes.steps == ["intended", "not_dispatched"]


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_an_early_end_while_the_ref_is_recorded(
    client: Client, notes: Notes, emulator: Emulator, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was dispatched is recorded to the end, and its ref is not lost to a caller that left."""
    notes.seconds = {"dispatched": 3}
    caller = await ended_after_a_second(client, end)
    with suppress(asyncio.CancelledError):
        assert (await caller).run_id in emulator.runs
    await asyncio.sleep(5)
    assert notes.steps == ["intended", "dispatched"]
    assert ("started an operation" in caplog.text) is (end == "cancelled")


async def test_a_log_that_fails_loses_no_ref(
    client: Client, notes: Notes, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder and the hook have it before anything is logged."""

    def fail(*_: object) -> None:
        raise ValueError

    emulator.fail("run_feature", Fault.edit(lambda answer: {**answer, "featureId": 99}))
    monkeypatch.setattr(reported_logger, "warning", fail)
    checkout = emulator.features["Checkout"].id
    await raised(ValueError, client.project().run_feature(checkout))
    assert notes.steps == ["intended", "dispatched"]


async def test_a_polled_run_is_known_where_no_list_shows_the_latest(
    emulator: Emulator, client: Client, notes: Notes, rival: Project
) -> None:
    """An intent names the highest run that this client has seen, dispatched by whomever."""
    emulator.fail("list_runs", Fault.status(404))
    ref = (await rival.run_feature("Checkout")).ref
    await client.attach(ref).poll()
    await client.project().run_feature("Returns")
    assert notes.told[0][1].known_run_id == ref.run_id


async def test_a_listed_run_is_known(client: Client, notes: Notes, rival: Project) -> None:
    """An intent names the highest run that a list has shown to the poller, of any feature."""
    operations = [await client.project().run_feature("Checkout") for _ in range(4)]
    theirs = await rival.run_feature("Returns")
    await client.gather(*operations)
    await client.project().run_feature("Checkout")
    assert notes.told[-1][1].highest_run_id == theirs.run_id
