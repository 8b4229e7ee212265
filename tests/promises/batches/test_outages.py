"""Batches whose service goes away while they dispatch, or loses an answer to them."""

import asyncio
from collections import Counter
from typing import Any
from urllib.parse import unquote

import pytest

from tests.conftest import KEY, client_of
from tests.promises.conftest import Events
from tests.support.timing import STEADY, now
from testvibe_async import BatchItem, Client, NotSentError, Project, UnauthorizedError, Verdict
from testvibe_async.events import Hooks, OutageEnded, OutageStarted
from testvibe_async.testing import Emulator, Fault, RecordedRequest

NAMES = [f"Feature {number}" for number in range(60)]


PAGE = b"<html>We are back soon</html>"


SCENARIO = STEADY


@pytest.fixture(autouse=True)
def _features(emulator: Emulator) -> None:
    for name in NAMES:
        emulator.add_feature(name)


def assert_each_ran_once(emulator: Emulator, items: list[BatchItem[Any]]) -> None:
    """Expect each feature to have succeeded with its one run."""
    assert {item.verdict for item in items} == {Verdict.SUCCEEDED}
    runs = Counter(run.feature.name for run in emulator.runs.values())
    assert runs == dict.fromkeys((item.feature for item in items), 1)


def is_of_20(sent: RecordedRequest) -> bool:
    """Say whether a request is for one of the features, the third of six."""
    return "/Feature 20/" in unquote(sent.path)


@pytest.mark.parametrize(
    ("fault", "max_in_flight"),
    [
        (Fault.status(502), 20),
        (Fault.status(404, body=PAGE), 10),
        (Fault.status(302, body=b""), 20),
        *((Fault.reset(), most) for most in (10, 20)),
        *((Fault.lost(), most) for most in (10, 20)),
    ],
)
async def test_an_outage_midway(
    emulator: Emulator, project: Project, events: Events, fault: Fault, max_in_flight: int
) -> None:
    """Dispatches wait for its end. What was sent into it is found, or proved and sent again."""
    skip = 5 if max_in_flight == 10 else 15
    emulator.fail("*", fault, skip=skip, when=lambda _: now() < 20)
    items = await project.run_features(NAMES[:25], max_in_flight=max_in_flight)
    assert_each_ran_once(emulator, items)
    assert len(events.of(OutageStarted)) == len(events.of(OutageEnded)) == 1


async def test_few_dispatches_are_sent_into_an_outage(emulator: Emulator, project: Project) -> None:
    """At most those under way when it begins, and one probe at a time from then on."""
    emulator.fail("*", Fault.status(502), skip=20, when=lambda _: now() < 120)
    async with project.run_features(NAMES, max_in_flight=60) as batch:
        await asyncio.sleep(20)
        before = emulator.count("run_feature")
        await asyncio.sleep(90)
        assert emulator.count("run_feature") == before < 60
        items = [item async for item in batch]
    assert {item.verdict for item in items} == {Verdict.SUCCEEDED}


async def test_an_outage_without_end_ends_the_batch(emulator: Emulator) -> None:
    """After `max_outage` nothing more is dispatched, and each feature is still known."""
    emulator.fail("*", Fault.status(404, body=PAGE), skip=20)
    async with client_of(emulator, max_outage=30) as client:
        batch = client.project().run_features(NAMES, max_in_flight=60)
        items = await batch
    assert len(items) == 60
    assert batch.summary.unknown < 20  # Those under way: a proxy's page proves nothing.
    assert batch.summary.skipped > 20
    assert now() < 100
    unsent = [item for item in items if item.verdict is Verdict.ERROR and item.ref is None]
    assert {type(item.error) for item in unsent} == {NotSentError}


async def test_a_lost_answer_in_an_outage_without_end(emulator: Emulator, project: Project) -> None:
    """It stays unknown, and the batch searches for it no longer than it waits for the others."""
    emulator.fail("run_feature", Fault.reset(), skip=3, times=1)
    emulator.fail("*", Fault.status(503), when=lambda _: emulator.count("run_feature") > 3)
    batch = project.run_features(NAMES[:4], max_in_flight=4)
    await batch
    assert batch.summary.unknown == 1
    assert 300 < now() < 420


async def test_a_service_that_can_not_be_reached_ends_the_batch() -> None:
    """After half a minute nothing more is tried; the outage is announced once."""
    started: list[OutageStarted] = []
    hooks = Hooks(on_outage_started=started.append)
    where = "http://127.0.0.1:1"
    async with Client(where, api_key=KEY, project="p", hooks=hooks) as client:
        batch = client.project().run_features(range(1, 500))
        await batch
    assert batch.summary.errors < 110
    assert batch.summary.skipped == 499 - batch.summary.errors
    assert 30 <= now() < 90
    assert len(started) == 1


async def test_the_time_out_ends_the_wait_for_it(emulator: Emulator, project: Project) -> None:
    """A dispatch that waited for its end has it as its error; what did not start is skipped."""
    emulator.fail("*", Fault.status(404, body=PAGE), skip=20)
    batch = project.run_features(NAMES, max_in_flight=40, timeout=40)
    await batch
    assert 40 <= now() < 52
    assert batch.summary.skipped == 20
    unsent = [item for item in batch.items if item.verdict is Verdict.ERROR]
    assert {type(item.error) for item in unsent} == {NotSentError}
    assert all("no answer before the time-out" in str(item.error) for item in unsent)
    assert 0 < len(unsent) <= 40


async def test_a_key_that_is_refused_after_it(emulator: Emulator, project: Project) -> None:
    """The refusal is an answer: what waited for the service is not kept waiting by it."""
    emulator.fail("*", Fault.status(502), when=lambda _: 2 < now() < 20)
    emulator.fail("*", Fault.status(401), when=lambda _: now() >= 20)
    items = await project.run_features(NAMES, max_in_flight=5)
    assert now() < 60
    assert any(isinstance(item.error, UnauthorizedError) for item in items)
    assert not any(isinstance(item.error, NotSentError) for item in items)
    assert emulator.count("list_projects") <= 3


async def test_an_outage_meanwhile_delays_it(emulator: Emulator, project: Project) -> None:
    """The service is read again after it."""
    emulator.fail("run_feature", Fault.reset(), skip=1, times=1)
    emulator.fail("*", Fault.status(404, body=PAGE), when=lambda _: 4 < now() < 100)
    assert_each_ran_once(emulator, await project.run_features(NAMES[:6], max_in_flight=2))


async def test_it_is_sent_again_once(emulator: Emulator, project: Project) -> None:
    """A feature whose every answer is lost does not keep the batch for ever."""
    lost = emulator.fail("run_feature", Fault.reset(), when=is_of_20)
    items = await project.run_features(NAMES[18:24], max_in_flight=1)
    unknown = [item.feature for item in items if item.verdict is Verdict.UNKNOWN]
    assert unknown == ["Feature 20"]
    assert lost.hits == 2


async def test_an_outage_without_end_ends_a_later_search(emulator: Emulator) -> None:
    """A batch whose searches were answered at first stops them once the outage is too long."""
    emulator.fail("run_feature", Fault.reset(), times=1, when=is_of_20)
    emulator.fail("*", Fault.status(503), when=lambda _: now() > 15)
    async with client_of(emulator, max_outage=20) as client:
        batch = client.project().run_features(NAMES[19:21], max_in_flight=2)
        await batch
    assert batch.summary.unknown == 1
    assert 30 < now() < 60
