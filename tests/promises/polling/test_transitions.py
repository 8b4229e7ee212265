"""Iterating over the transitions of one operation."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.observing import statuses
from tests.support.timing import now
from testvibe_async import (
    ClientClosedError,
    Phase,
    Project,
    RunOperation,
    Transition,
    UnauthorizedError,
)
from testvibe_async.testing import Emulator, Fault


async def test_transitions_come_in_order(operation: RunOperation) -> None:
    """The present one first, each change of phase or status once, ending with the last."""
    assert await statuses(operation) == [
        (Phase.QUEUED, "running"),
        (Phase.ACTIVE, "running"),
        (Phase.FINISHED, "passed"),
    ]


async def test_the_dispatch_itself_has_no_snapshot(operation: RunOperation) -> None:
    """The first transition of a new operation shows no more than the dispatch did."""
    transitions = [transition async for transition in operation]

    assert transitions[0].snapshot is None
    assert transitions[-1].snapshot is operation.outcome
    assert transitions[0].observed_at <= transitions[-1].observed_at


async def test_what_is_over_gives_its_last_transition_alone(
    emulator: Emulator, operation: RunOperation
) -> None:
    """Iterating over a finished operation yields the end without a request."""
    await operation
    asked = len(emulator.requests)

    assert await statuses(operation) == [(Phase.FINISHED, "passed")]
    assert len(emulator.requests) == asked


async def test_an_attached_operation_is_seen_first(
    emulator: Emulator, operation: RunOperation
) -> None:
    """The first transition of an attached operation comes from the first poll."""
    async with client_of(emulator) as other:
        attached = other.attach(operation.ref)
        assert (attached.status, attached.phase, attached.snapshot) == (None, None, None)

        transitions = [transition async for transition in attached]

    assert transitions[0].snapshot is not None
    assert [transition.phase for transition in transitions] == ["queued", "active", "finished"]


async def test_leaving_early_ends_the_polling(emulator: Emulator, operation: RunOperation) -> None:
    """Dropping an iterator ends the polling."""
    async for transition in operation:
        if transition.phase is Phase.ACTIVE:
            break
    asked = emulator.count("get_run")
    await asyncio.sleep(60)

    assert emulator.count("get_run") == asked


async def test_the_last_of_several_ends_the_polling(
    emulator: Emulator, operation: RunOperation
) -> None:
    """Of three waits that are cancelled one by one, the last ends the polling."""
    waits = [asyncio.ensure_future(operation.wait()) for _ in range(3)]
    asked: list[int] = []
    for wait in waits:
        await asyncio.sleep(4)
        asked.append(emulator.count("get_run"))
        wait.cancel()
    await asyncio.sleep(60)

    assert 0 < asked[0] < asked[1] < asked[2] == emulator.count("get_run")


async def test_closing_ends_the_polling(emulator: Emulator, operation: RunOperation) -> None:
    """aclosing() works on an iteration, and a closed one ends."""
    transitions: Any = operation.updates()
    async with aclosing(transitions):
        await anext(transitions)
    await asyncio.sleep(60)

    assert emulator.count("get_run") == 0
    with pytest.raises(StopAsyncIteration):
        await anext(transitions)


async def test_closing_wakes_the_task_that_waits(operation: RunOperation) -> None:
    """aclose() ends an iteration for the task that waits for its next change, at once."""
    transitions = aiter(operation)
    await anext(transitions)
    waiting = asyncio.ensure_future(anext(transitions))
    await asyncio.sleep(1)

    await transitions.aclose()

    with pytest.raises(StopAsyncIteration):
        await waiting
    assert now() == 1


async def test_closing_drops_what_was_not_taken(operation: RunOperation) -> None:
    """After aclose() an iteration yields nothing more, not even what had come before."""
    transitions = aiter(operation)
    await anext(transitions)
    await operation

    await transitions.aclose()

    assert [transition async for transition in transitions] == []


async def test_a_slow_consumer_misses_nothing(operation: RunOperation) -> None:
    """Transitions are kept for a body that takes its time."""
    seen: list[Phase] = []
    async for transition in operation:
        seen.append(transition.phase)
        await asyncio.sleep(40)

    assert seen == ["queued", "active", "finished"]


async def test_a_cancelled_step_can_be_taken_again(operation: RunOperation) -> None:
    """Cancelling the wait for the next transition loses none."""
    transitions = aiter(operation)
    await anext(transitions)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await anext(transitions)

    assert (await anext(transitions)).phase is Phase.ACTIVE


async def test_two_tasks_on_one_iteration_are_refused(operation: RunOperation) -> None:
    """A second task on one iteration gets a RuntimeError, and the first goes on."""
    transitions = aiter(operation)
    await anext(transitions)
    first = asyncio.ensure_future(anext(transitions))
    await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="give each its own"):
        await anext(transitions)
    assert (await first).phase is Phase.ACTIVE


async def test_updates_show_sections(project: Project) -> None:
    """updates() yields every change that is seen, also where phase and status stay."""
    generation = await project.generate_feature("Draft")

    updates: list[Transition[Any]] = [transition async for transition in generation.updates()]
    sections = [
        [section.status for section in change.snapshot.sections]
        for change in updates
        if change.snapshot is not None
    ]

    assert [change.status for change in updates[-2:]] == ["generating", "generated"]
    assert sections[0] == ["queued"]
    assert ["in_progress"] in sections
    assert len(updates) > len([transition async for transition in generation]) + 2


async def test_an_iteration_of_a_closed_client(emulator: Emulator) -> None:
    """It raises the close with the ref instead of the state that is known, and ends."""
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
    transitions = aiter(operation)

    with pytest.raises(ClientClosedError) as caught:
        await anext(transitions)
    assert caught.value.ref == operation.ref
    with pytest.raises(StopAsyncIteration):
        await anext(transitions)


async def test_an_iteration_raises_what_a_wait_raises(
    emulator: Emulator, operation: RunOperation
) -> None:
    """An iteration ends with the error where the operation can't be observed."""
    transitions = aiter(operation)
    await anext(transitions)
    emulator.fail("get_run", Fault.status(401))

    with pytest.raises(UnauthorizedError):
        await anext(transitions)
    with pytest.raises(StopAsyncIteration):
        await anext(transitions)
