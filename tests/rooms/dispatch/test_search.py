"""What a lost dispatch is looked for in, and what is stored of one before it is sent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import patch

import pytest
from attrs import evolve
from testvibe_async._dispatch import dispatch, dispatcher, reconcile
from testvibe_async._dispatch.search import ProjectRuns, _has_all_since
from testvibe_async.intents import Intent

from tests.conftest import client_of
from tests.promises.dispatch.test_lost_runs import _unknown
from tests.support.notes import Notes
from tests.support.raising import raised
from testvibe_async import Client, Listing, Run, RunRef, errors
from testvibe_async.testing import Emulator, Fault

SINCE = datetime(2026, 6, 10, 16, 0, tzinfo=UTC)
LIMIT = 4


def runs(*ids: int, minutes: tuple[float | None, ...] = (), extra: int = 0) -> Listing[Run]:
    """Return a list of runs that were created so many minutes after the instant."""
    created = [
        None if each is None else SINCE + timedelta(minutes=each)
        for each in minutes or (1.0,) * len(ids)
    ]
    rows = [Run(number, "running", created_at=at) for number, at in zip(ids, created, strict=True)]
    return Listing(rows, extra={"total": len(ids) + extra})


@pytest.mark.parametrize(
    ("rows", "since", "floor", "has_all"),
    [
        # A list that is whole has all, if the id or the time before the dispatch is known.
        (runs(9, 8), SINCE, None, True),
        (runs(9, 8, minutes=(None, None)), SINCE, 7, True),
        (runs(9, 8, minutes=(1, None)), SINCE, None, False),
        (runs(9, 8), None, None, False),
        (runs(), SINCE, None, True),
        # One that may be cut has all down to an id, if it is the newest first.
        (runs(9, 8, 7, 6), None, 6, True),
        (runs(9, 8, 7, 6), None, 5, False),
        (runs(6, 7, 8, 9), None, 9, False),
        (runs(9, 8, extra=1), None, 8, True),
        # Or down to a time, if all have one.
        (runs(9, 8, 7, 6, minutes=(3, 2, 1, -1)), SINCE, None, True),
        (runs(9, 8, 7, 6, minutes=(3, 2, 1, 0)), SINCE, None, False),
        (runs(9, 8, 7, 6, minutes=(3, 1, 2, -1)), SINCE, None, False),
        (runs(9, 8, 7, 6, minutes=(-1, 1, 2, 3)), SINCE, None, False),
        (runs(9, 8, 7, 6, minutes=(3, 2, None, -1)), SINCE, 5, False),
        (runs(9, 8, 7, 6, minutes=(3, 2, 1, -1)), None, 5, False),
    ],
)
def test_what_a_list_has(
    rows: Listing[Run], since: datetime | None, floor: int | None, *, has_all: bool
) -> None:
    """Else one candidate may be seen and another not, and the wrong one be adopted."""
    assert _has_all_since(rows, LIMIT, since=since, floor=floor) is has_all


class SlowTransport:
    """Takes a second for each list, and another to be cancelled."""

    def __init__(self) -> None:
        self.reads = 0

    async def call_page(self, _request: object) -> Listing[Run]:
        """Return an empty list."""
        self.reads += 1
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(1)
        return Listing([])


@pytest.mark.parametrize("is_shared", [True, False])
async def test_a_cancelled_reader(*, is_shared: bool) -> None:
    """A read that others share outlasts one that is cancelled; after the last it is made anew."""
    transport = SlowTransport()
    runs = ProjectRuns(cast("Any", transport))
    first, second = (asyncio.create_task(runs.read("p", 10)) for _ in range(2))
    await asyncio.sleep(0.5)
    first.cancel()
    if is_shared:
        assert await second == []
        assert transport.reads == 1
        return
    second.cancel()
    await asyncio.sleep(0.1)
    assert await runs.read("p", 10) == []
    assert transport.reads == 2


async def test_a_client_that_closes_names_what_a_slow_recorder_was_told(emulator: Emulator) -> None:
    """After the 10 s of a close the caller gets the ref with the error."""
    notes = Notes(emulator)
    notes.seconds = {"dispatched": 9.9}
    client = client_of(emulator, recorder=notes)
    caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
    await asyncio.sleep(0.1)
    with patch.object(dispatcher, "CLOSE_SECONDS", 1.0):
        await client.aclose()
    error = await raised(errors.ClientClosedError, caller)
    assert isinstance(error.ref, RunRef)
    assert error.ref.run_id in emulator.runs


class Wall(datetime):
    """A local clock that is set by hand."""

    present = datetime(2026, 6, 10, tzinfo=UTC)

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
        return cls.present

    @classmethod
    def sleep(cls) -> None:
        """Let five minutes pass, in which the event loop's clock stands still."""
        cls.present += timedelta(minutes=5)


async def test_a_slept_over_request_may_have_arrived_late(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intent of a lost answer covers the time in which the machine slept."""
    monkeypatch.setattr(dispatch, "datetime", Wall)

    def sleep(_dispatch: object, _sent: float) -> None:
        Wall.sleep()

    monkeypatch.setattr(dispatch.Dispatch, "mark_answered", sleep)
    emulator.fail("run_feature", Fault.reset())
    async with client_of(emulator) as client:
        error = await _unknown(client.project())
    assert isinstance(error.intent, Intent)
    assert error.intent.expires_after == pytest.approx(5 * 60 + 30, abs=1)


async def test_a_slept_over_intent_is_not_sent(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An intent that grew old by the wall's clock, while the loop's stood still, is not sent."""

    class Sleeping(Notes):
        async def intended(self, intent: Intent) -> None:
            Wall.sleep()
            await super().intended(intent)

    monkeypatch.setattr(dispatch, "datetime", Wall)
    async with client_of(emulator, recorder=Sleeping(emulator)) as client:
        with pytest.raises(errors.RecorderError, match="after 300 s, and 5 s are allowed"):
            await client.project().run_feature("Checkout")
    assert emulator.count("run_feature") == 0


async def test_candidates_are_kept_of_the_last_dispatches(
    client: Client, monkeypatch: pytest.MonkeyPatch, emulator: Emulator
) -> None:
    """What lists have shown, and what was dispatched, is forgotten, oldest first."""
    monkeypatch.setattr(reconcile, "REMEMBERED", 1)
    emulator.fail("run_feature", Fault.reset(), times=1)
    error = await _unknown(client.project())
    for _ in range(2):
        await client.project().run_feature("Checkout")
    assert isinstance(error.intent, Intent)
    reconciler = client._dispatcher._reconciler
    assert len(reconciler._owners[error.intent.project]) == 1
    for number in ("1", "2"):
        await reconciler.find(evolve(error.intent, id=number, highest_run_id=None, service_at=None))
    assert list(reconciler._shown) == ["2"]


async def test_a_client_that_closes_before_the_first_byte_sends_nothing(emulator: Emulator) -> None:
    """The last check is right before writing, after the recorder has the intent."""

    class Closing(Notes):
        async def intended(self, intent: Intent) -> None:
            await super().intended(intent)
            client._transport.refuse_calls()

    client = client_of(emulator, recorder=Closing())
    await raised(errors.ClientClosedError, client.project().run_feature("Checkout"))
    assert emulator.count("run_feature") == 0
    await client.aclose()
