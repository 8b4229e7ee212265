"""Waiting for many operations: `Client.gather` and `Client.finished`."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of
from tests.timing import now
from testvibe_async import (
    Client,
    ClientClosedError,
    ForbiddenError,
    Operation,
    Run,
    RunRef,
)
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from testvibe_async import RunOperation
    from testvibe_async.errors import OperationRef


class TestMany:
    async def test_they_come_as_they_finish(self, emulator: Emulator, client: Client) -> None:
        """finished() yields operations in the order of their ends."""
        operations = [await client.project().run_feature("Checkout") for _ in range(3)]
        await operations[1].poll()
        emulator.finish_run(operations[2].run_id)
        await operations[2]

        order: list[Operation[Run]] = []
        async for operation in client.finished(operations):
            order.append(operation)
            if len(order) == 1:
                emulator.finish_run(operations[1].run_id)

        assert order == [operations[2], operations[1], operations[0]]

    async def test_what_has_ended_is_let_go(self, emulator: Emulator, client: Client) -> None:
        """Who keeps the outcomes alone, and not the operations, keeps nothing else of them."""
        operations = [await client.project().run_feature("Checkout") for _ in range(3)]
        refs = [operation.ref for operation in operations]
        finished = client.finished(operations)
        del operations

        emulator.finish_run(refs[1].run_id)
        outcome = (await anext(finished)).outcome
        await asyncio.sleep(3)

        assert outcome is not None
        assert outcome.run_id == refs[1].run_id
        assert [client._poller.knows(ref) for ref in refs] == [True, False, True]

    async def test_closing_while_many_begin_to_be_watched(
        self, emulator: Emulator, client: Client
    ) -> None:
        """Whoever closes finished() before it has begun with all leaves nothing watched."""
        refs = [
            RunRef(server=emulator.url, project=emulator.project_id, run_id=number)
            for number in range(1, 1301)
        ]
        operations = [client.attach(ref) for ref in refs]
        finished = client.finished(operations)
        first = asyncio.ensure_future(anext(finished))
        await asyncio.sleep(0)
        await finished.aclose()

        with pytest.raises(StopAsyncIteration):
            await first
        assert not any(operation._state.is_watched for operation in operations)

    async def test_many_are_watched_in_turns(self, emulator: Emulator, client: Client) -> None:
        """Beginning to wait for many lets others run, and goes on after a cancellation."""
        refs = [
            RunRef(server=emulator.url, project=emulator.project_id, run_id=number)
            for number in range(1, 1301)
        ]
        operations = [client.attach(ref) for ref in refs]
        finished = client.finished(operations)

        def watched() -> int:
            return sum(operation._state.is_watched for operation in operations)

        first = asyncio.ensure_future(anext(finished))
        await asyncio.sleep(0)
        assert watched() == 500
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.ensure_future(anext(finished))
        for _ in range(3):
            await asyncio.sleep(0)
        assert watched() == 1300
        second.cancel()
        await asyncio.wait([second])
        await finished.aclose()
        assert watched() == 0

    async def test_the_outcomes_come_in_the_order_asked(self, client: Client) -> None:
        """gather() returns outcomes in the order of its arguments."""
        operations = [await client.project().run_feature("Checkout") for _ in range(3)]

        runs = await client.gather(*reversed(operations))

        assert [run.run_id for run in runs] == [op.run_id for op in reversed(operations)]

    async def test_none_are_no_trouble(self, client: Client) -> None:
        """Nothing to wait for is over at once."""
        none: list[RunOperation] = []

        assert await client.gather(*none) == []
        assert [operation async for operation in client.finished(none)] == []

    async def test_one_that_can_not_be_seen_is_raised_and_the_rest_goes_on(
        self, emulator: Emulator, client: Client
    ) -> None:
        """finished() raises for one, and the same iteration then yields the others."""
        bad, good = [await client.project().run_feature("Checkout") for _ in range(2)]
        emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)
        ends = client.finished([bad, good])

        with pytest.raises(ForbiddenError) as caught:
            await anext(ends)

        assert caught.value.ref == bad.ref
        assert [operation async for operation in ends] == [good]

    async def test_a_closed_client_is_told_once_for_each(self, emulator: Emulator) -> None:
        """finished() of a closed client's operations raises for each of them, and then ends."""
        async with client_of(emulator) as client:
            operations = [await client.project().run_feature("Checkout") for _ in range(3)]
        ends = client.finished(operations)
        refs: list[OperationRef | None] = []
        async with asyncio.timeout(60):
            for _ in operations:
                with pytest.raises(ClientClosedError) as caught:
                    await anext(ends)
                refs.append(caught.value.ref)

            assert [operation async for operation in ends] == []

        assert refs == [operation.ref for operation in operations]

    async def test_leaving_early_ends_the_polling_of_many(
        self, emulator: Emulator, client: Client
    ) -> None:
        """Dropping finished() asks for no more looks."""
        operations = [await client.project().run_feature("Checkout") for _ in range(3)]
        emulator.finish_run(operations[0].run_id)
        async for _ in client.finished(operations):
            break
        await asyncio.sleep(1)
        asked = emulator.count("get_run")
        await asyncio.sleep(60)

        assert emulator.count("get_run") == asked <= len(operations)

    async def test_two_tasks_on_one_iteration_of_many_are_told(self, client: Client) -> None:
        """One finished() serves one task; a second is told so, and the first goes on."""
        operations = [await client.project().run_feature("Checkout") for _ in range(2)]
        ends = client.finished(operations)
        first = asyncio.ensure_future(anext(ends))
        await asyncio.sleep(1)

        with pytest.raises(RuntimeError, match="give each its own"):
            await anext(ends)
        assert {id(await first), id(await anext(ends))} == set(map(id, operations))

    async def test_one_operation_twice_is_two_ends(
        self, client: Client, operation: RunOperation
    ) -> None:
        """An operation that was passed twice comes twice."""
        ends = client.finished([operation, operation])

        assert [end async for end in ends] == [operation, operation]

    async def test_a_closed_iteration_of_many_is_over(
        self, emulator: Emulator, client: Client
    ) -> None:
        """After aclose() of finished() there is no next one, and nobody waits for it."""
        operations = [await client.project().run_feature("Checkout") for _ in range(2)]
        emulator.finish_run(operations[0].run_id)
        ends = client.finished(operations)
        assert await anext(ends) is operations[0]

        await ends.aclose()

        assert [operation async for operation in ends] == []
        assert now() < 5

    async def test_a_kept_error_keeps_nobody_polled(
        self, emulator: Emulator, client: Client
    ) -> None:
        """What gather() raised can be kept, with its traceback, at no cost in looks."""
        bad, good = [await client.project().run_feature("Checkout") for _ in range(2)]
        emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)
        with pytest.raises(ForbiddenError) as kept:
            await client.gather(bad, good)
        await asyncio.sleep(1)
        asked = emulator.count("get_run")
        await asyncio.sleep(60)

        assert emulator.count("get_run") == asked
        assert kept.value.__traceback__ is not None

    async def test_a_cancelled_step_loses_no_end(self, client: Client) -> None:
        """A wait for the next end that is cancelled can be taken again."""
        operations = [await client.project().run_feature("Checkout") for _ in range(2)]
        ends = client.finished(operations)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await anext(ends)

        assert {id(operation) async for operation in ends} == set(map(id, operations))

    async def test_a_thousand_runs_at_once(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A thousand runs awaited at once all settle, and leave no task and no complaint."""
        problems: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: problems.append(context)
        )
        before = asyncio.all_tasks()
        async with client_of(emulator) as client:
            project = client.project()
            operations = await asyncio.gather(
                *(project.run_feature("Checkout") for _ in range(1000))
            )
            runs = await asyncio.gather(*operations)
        await asyncio.sleep(0)
        gc.collect()

        assert [run.run_id for run in runs] == [operation.run_id for operation in operations]
        assert all(run.is_success for run in runs)
        assert asyncio.all_tasks() - before == server_tasks(before)
        assert problems == []
        assert caplog.records == []


def server_tasks(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """The emulator's own tasks, one for each connection that is not closed yet."""
    return {
        task
        for task in asyncio.all_tasks() - before
        if "aiohttp/web" in task.get_coro().cr_code.co_filename  # type: ignore[union-attr]
    }


async def test_closing_the_ends_of_many_wakes_who_waits_for_the_next(client: Client) -> None:
    """A task that waits for the next end is over when somebody closes the iteration."""
    operations = [await client.project().run_feature("Checkout")]
    ends = client.finished(operations)
    waiting = asyncio.ensure_future(anext(ends, None))
    await asyncio.sleep(1)

    await ends.aclose()

    assert await waiting is None
