"""Tasks that are cancelled, abandoned or clean up, and what must not end with them."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import ref

import aiohttp
import pytest

from tests.conftest import client_of
from tests.support.ledgers import Notes
from testvibe_async import Client, Project, RunOperation, WaitTimeoutError, errors
from testvibe_async.ledger import RowState
from testvibe_async.testing import Emulator, Fault


async def names() -> AsyncGenerator[str]:
    yield "Checkout"
    raise ValueError("my database is gone")


async def test_what_ends_a_batch_early_is_raised(project: Project) -> None:
    """An iteration over the transitions raises it, and so does a block without an iteration."""

    async def followed() -> None:
        async with project.run_features(names()) as batch:
            async for _ in batch.changes():
                pass

    async def unread() -> None:
        async with project.run_features(names()):
            await asyncio.sleep(60)

    for run in (followed, unread):
        with pytest.raises(ValueError, match="my database is gone"):
            await run()
    async with project.run_features(names()) as batch:  # It is not raised twice.
        with pytest.raises(ValueError, match="my database is gone"):
            async for _ in batch:
                pass


async def test_transitions_hold_nothing_back(project: Project) -> None:
    """They also follow a batch whose iteration over items was left."""
    async with project.run_features(
        ["Checkout", "Returns"], max_in_flight=1, max_unread=0
    ) as batch:
        async for _ in batch:
            break
        async for _ in batch.changes():
            pass
        assert batch.summary.succeeded == 2


async def test_a_cancellation_of_what_requests_share(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that cancels a request of its own does not cancel the caller."""

    async def cancelled(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    operation = await project.run_feature("Checkout")
    monkeypatch.setattr(aiohttp.ClientSession, "request", cancelled)
    with pytest.raises(errors.OutcomeUnknownError, match="connection was lost"):
        await project.list_features()
    with pytest.raises(errors.ObservationError, match="connection was lost"):
        await operation.poll()


@asynccontextmanager
async def with_ledger(emulator: Emulator) -> AsyncGenerator[tuple[Notes, Project]]:
    ledger = Notes()
    async with client_of(emulator, ledger=ledger) as client:
        yield ledger, client.project()


async def test_the_time_out_of_a_ledger_is_its_own(emulator: Emulator) -> None:
    """It is neither the batch's nor that of the row: pools of connections raise it at once."""
    async with with_ledger(emulator) as (ledger, project):
        ledger.error = TimeoutError("no free connection")
        ledger.failing = {RowState.INTENDED}
        with pytest.raises(errors.LedgerError, match="no free connection"):
            await project.run_feature("Checkout", key="k")
        ledger.failing = {RowState.PLANNED}
        with pytest.raises(
            (TimeoutError, errors.LedgerError), match="no free connection"
        ) as caught:
            await project.run_features(["Checkout"], key="b")
        assert not isinstance(caught.value, WaitTimeoutError)


async def test_an_outcome_is_kept_though_its_waiter_is_cancelled(emulator: Emulator) -> None:
    """The ledger has it a little later."""
    async with with_ledger(emulator) as (ledger, project):
        operation = await project.run_feature("Checkout", key="k")
        await asyncio.sleep(60)
        ledger.seconds[RowState.FINISHED] = 2.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await operation
        await asyncio.sleep(2)
        (row,) = await ledger.rows("k")
        assert row.outcome is not None


async def test_a_poll_that_nobody_waits_for_ends(project: Project, emulator: Emulator) -> None:
    """It is not retried once its last caller has been cancelled."""
    operation = await project.run_feature("Checkout")
    emulator.fail("get_run", Fault.hang())
    polls = [asyncio.create_task(operation.poll()) for _ in range(2)]
    await asyncio.sleep(1)
    polls[0].cancel()
    await asyncio.sleep(1)
    number = len(emulator.requests)
    polls[1].cancel()
    await asyncio.sleep(600)
    assert len(emulator.requests) == number


async def timed_out(_: Client, operation: RunOperation) -> None:
    await operation.wait(timeout=0)


async def not_finished(client: Client, operation: RunOperation) -> None:
    async for _ in client.finished([operation], timeout=0):
        pass


@pytest.mark.parametrize("wait", [timed_out, not_finished])
async def test_a_failed_wait_leaves_no_cycle(
    client: Client, project: Project, wait: Callable[[Client, RunOperation], Any]
) -> None:
    """The operation is freed with its last reference."""
    operation = await project.run_feature("Checkout")
    gc.disable()
    try:
        with suppress(WaitTimeoutError):
            await wait(client, operation)
        weak = ref(operation)
        del operation
        await asyncio.sleep(0)
        assert weak() is None
    finally:
        gc.enable()


async def test_a_search_that_is_cancelled_harms_no_later_one(
    project: Project, emulator: Emulator
) -> None:
    """Code that cancels all tasks at once does not end the searches of the client's later calls."""
    emulator.fail("run_feature", Fault.lost(), times=2)
    call = asyncio.create_task(project.run_feature("Checkout").wait())
    await asyncio.sleep(0.04)
    lists = [each for each in asyncio.all_tasks() if "list" in each.get_name()]
    lists[0].cancel()
    with suppress(errors.DispatchUnknownError):
        await call
    assert (await project.run_feature("Returns")).adopted


async def test_a_slow_ledger_is_named(emulator: Emulator) -> None:
    """Its time counts to the request's, and is not taken for the network's."""
    ledger = Notes()
    ledger.seconds[RowState.INTENDED] = 3.0
    async with client_of(emulator, ledger=ledger, timeout=1.0) as client:
        with pytest.raises(errors.LedgerError, match="ledger did not store the row within 1 s"):
            await client.project().run_feature("Checkout")
