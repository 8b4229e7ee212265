"""A dispatch and its row: what a ledger is told, when, and what happens if it fails."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.ledgers import Notes
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, RunOperation, errors
from testvibe_async.ledger import Row, RowState
from testvibe_async.testing import Emulator


async def ended_after_a_second(client: Client, end: str) -> asyncio.Future[RunOperation]:
    """Return a dispatch whose caller was cancelled, or whose client closed."""
    caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
    await asyncio.sleep(1)
    if end == "cancelled":
        caller.cancel()
    else:
        await client.aclose()
    return caller


INTENDED, DISPATCHED, NOT_STARTED = RowState.INTENDED, RowState.DISPATCHED, RowState.NOT_STARTED


@pytest.fixture
def notes(emulator: Emulator) -> Notes:
    return Notes(emulator)


@pytest.fixture
async def client(emulator: Emulator, notes: Notes) -> AsyncGenerator[Client]:
    async with client_of(emulator, ledger=notes) as client:
        yield client


async def test_the_row_comes_before_the_post(
    client: Client, notes: Notes, emulator: Emulator
) -> None:
    """The row comes before the POST, and the ref before the handle."""
    site = "https://x"
    operation = await client.project().run_feature("Checkout", config="Mobile", site_url=site)
    assert notes.steps == [INTENDED, DISPATCHED]
    assert notes.posts == [0]
    row, last = notes.told
    assert (last.identity, last.ref) == (row.identity, operation.ref)
    assert (row.kind, row.feature, row.config) == ("run", "Checkout", "Mobile")
    place = (row.site_url, row.server, row.project)
    assert place == (site, emulator.url, emulator.project_id)
    assert (row.before, row.is_before_known) == (0, True)
    assert emulator.api_key not in last.to_json()


@pytest.mark.parametrize("error", [OSError("no space left on device"), asyncio.CancelledError()])
async def test_a_failure_before_it(
    client: Client, notes: Notes, emulator: Emulator, error: BaseException
) -> None:
    """What an insertion raises stops the dispatch: nothing is sent, and nothing is tried again."""
    notes.failing, notes.error = {INTENDED}, error
    said = "cancelled" if isinstance(error, asyncio.CancelledError) else str(error)
    dispatch = client.project().run_feature("Checkout")
    caught = await raised(errors.LedgerError, dispatch, match=said)
    assert isinstance(caught.__cause__, OSError) == isinstance(error, OSError)
    assert emulator.count("run_feature") == 0
    assert notes.steps == []
    assert now() < 1


async def test_a_slow_ledger(client: Client, notes: Notes, emulator: Emulator) -> None:
    """A request whose row takes more than 5 s is not sent: another may have taken it over."""
    notes.seconds = {INTENDED: 5.1}
    await raised(errors.LedgerError, client.project().run_feature("Checkout"), match="within 5 s")
    assert emulator.count("run_feature") == 0


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_a_ledger_that_fails_after(
    client: Client, notes: Notes, emulator: Emulator, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """The ref is kept and returned, and the log has it with the failure."""
    if fault == "raises":
        notes.failing = {DISPATCHED}
    else:
        notes.seconds = {DISPATCHED: 1e6}
    operation = await client.project().run_feature("Checkout")
    assert operation.run_id in emulator.runs
    assert operation.ref.to_json() in caplog.text
    assert now() < 11


@pytest.mark.parametrize("kind", ["run", "generation"])
async def test_an_answered_call(
    client: Client, notes: Notes, emulator: Emulator, kind: str
) -> None:
    """A key whose answer was not stored never says that nothing started."""
    project = client.project()
    dispatch: Any = project.run_feature if kind == "run" else project.generate_feature
    notes.failing.add(DISPATCHED)
    with suppress(OSError):
        await dispatch("Checkout", key="pr-1")
    notes.error.__traceback__ = None  # It would hold the handle.
    notes.failing.clear()
    await dispatch("Checkout", key="pr-1")
    assert emulator.count("run_feature") + emulator.count("generate_feature") == 1


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_an_end_before_it(client: Client, notes: Notes, emulator: Emulator, end: str) -> None:
    """A dispatch whose row was not stored is not sent."""
    notes.seconds = {INTENDED: 3}
    caller = await ended_after_a_second(client, end)
    await raised((asyncio.CancelledError, errors.ClientClosedError), caller)
    await asyncio.sleep(5)
    assert emulator.count("run_feature") == 0


class Stubborn(Notes):
    """A ledger that swallows its cancellation."""

    async def insert(self, row: Row) -> Row:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3)
        return await super().insert(row)


async def test_a_stubborn_ledger_sends_nothing(emulator: Emulator) -> None:
    """A request that was given up is not written, whatever the ledger does."""
    notes = Stubborn(emulator)
    async with client_of(emulator, ledger=notes) as client:
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)
        caller.cancel()
        await raised(asyncio.CancelledError, caller)
        await asyncio.sleep(5)
    assert emulator.count("run_feature") == 0
    assert notes.steps == [INTENDED, NOT_STARTED]


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_an_early_end_while_the_ref_is_noted(
    client: Client, notes: Notes, emulator: Emulator, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was dispatched is stored to the end, and its ref is not lost to a caller that left."""
    notes.seconds = {DISPATCHED: 3}
    caller = await ended_after_a_second(client, end)
    with suppress(asyncio.CancelledError):
        assert (await caller).run_id in emulator.runs
    await asyncio.sleep(5)
    assert notes.steps == [INTENDED, DISPATCHED]
    assert ("started an operation" in caplog.text) is (end == "cancelled")
