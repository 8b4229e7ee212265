"""What the callers of a client do: dispatch, wait in each of the ways, leave, and keep notes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import detangle
from attrs import define, field

from tests.promises.simulation.record import CALLER, Intent, id_of
from tests.promises.simulation.service import READY
from testvibe_async import (
    Batch,
    BatchItem,
    GenerationOperation,
    Run,
    RunOperation,
    Transition,
    errors,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.promises.simulation.process import Process
    from testvibe_async import Ref


AnyOperation: TypeAlias = RunOperation | GenerationOperation

WAIT_SECONDS = 2.5

KEYED = {
    101: ("run", "Alpha", None),
    102: ("run", "Beta", "Mobile"),
    103: ("generation", "Draft", None),
    104: ("generation", "Alpha", None),
}
"""What is dispatched with a key that callers share, by the number that stands for all of them."""

CALLS = 3
"""How often a caller makes a call with a key that ends in an unknown dispatch."""

WATCHES = 40
"""How often a caller goes on with an operation that could not be observed for long."""


@define(eq=False)
class Dispatching:
    """One dispatch, and what the caller was told of it."""

    intent: Intent
    acts_at_most: int = 1
    """How often the caller allows that it takes effect."""
    result: AnyOperation | BatchItem[Any] | BaseException | None = None
    """None while it goes on."""


@define(eq=False)
class Watch:
    """One wait, iteration or poll, and what came of it."""

    operation: AnyOperation
    began: float
    ended: float = 0.0
    timeout: float | None = None
    is_left: bool = False
    """Whether an iteration was closed before its end."""
    has_updates: bool = False
    """Whether it iterates over all that is observed, not over transitions alone."""
    after_close: list[object] = field(factory=list[object])
    """What an iteration brought that was closed."""
    is_poll: bool = False
    """Whether it ends after one poll, whatever that shows."""
    transitions: list[Transition[Any]] = field(factory=list["Transition[Any]"])
    result: object = None
    """The snapshot, or the error that was raised."""


@define(eq=False)
class Caller:
    """A task that wants something of the client."""

    number: int
    process: Process
    work: Callable[[Caller], Awaitable[None]]
    task: asyncio.Task[None] = field(init=False)
    is_cancelled: bool = False
    """Whether it was asked to end before its work was done."""
    dispatchings: list[Dispatching] = field(factory=list[Dispatching])
    watches: list[Watch] = field(factory=list[Watch])
    operations: list[AnyOperation] = field(factory=list[AnyOperation])

    def start(self) -> None:
        self.task = asyncio.create_task(self._run(), name=f"caller {self.number}")

    async def _run(self) -> None:
        CALLER.set(self.number)
        await asyncio.sleep(detangle.uniform(0.0, self.process.plan.spread))
        if detangle.flip(0.25):
            # Early, so that it meets a dispatch more often than not.
            seconds = detangle.uniform(0.0, detangle.choice((0.5, 8.0)))
            asyncio.get_running_loop().call_later(seconds, self._cancel)
        await self.work(self)

    def _cancel(self) -> None:
        self.is_cancelled = self.task.cancel()

    async def dispatch(self, intent: Intent, start: Awaitable[AnyOperation]) -> AnyOperation | None:
        """Dispatch once; None where there is nothing to wait for."""
        dispatching = Dispatching(intent)
        self.dispatchings.append(dispatching)
        try:
            operation = dispatching.result = await start
        except BaseException as error:
            dispatching.result = error
            if not isinstance(error, errors.VibeError):
                raise
            return None
        self.operations.append(operation)
        return operation

    async def watch(self, operation: AnyOperation) -> None:
        """Wait for the end of an operation, in one of the ways that there are."""
        for _ in range(WATCHES):
            way = detangle.choice((_wait_for_a_while, _wait, _iterate, _poll, _leave))
            watch = Watch(operation, asyncio.get_running_loop().time())
            self.watches.append(watch)
            try:
                watch.result = await way(watch)
            except BaseException as error:
                watch.result = error
                if not isinstance(error, errors.VibeError):
                    raise
            watch.ended = asyncio.get_running_loop().time()
            if operation.done or isinstance(
                watch.result, errors.ClientClosedError | errors.OperationSupersededError
            ):
                return
            if self.process.record.is_mixed_up(id_of(operation.ref)):
                return  # It may be another's, of which no answer is accepted.
            if isinstance(watch.result, errors.ObservationError):
                await asyncio.sleep(WAIT_SECONDS)


async def _wait(watch: Watch) -> object:
    return await watch.operation


async def _wait_for_a_while(watch: Watch) -> object:
    watch.timeout = WAIT_SECONDS
    return await watch.operation.wait(timeout=WAIT_SECONDS)


async def _iterate(watch: Watch) -> object:
    async for transition in watch.operation:
        watch.transitions.append(transition)
    return watch.operation.outcome


async def _leave(watch: Watch) -> object:
    """Close an iteration while somebody may wait for its next, and ask it for more."""
    operation: Any = watch.operation
    watch.has_updates = detangle.flip(0.5)
    iteration = operation.updates() if watch.has_updates else aiter(operation)
    closer = asyncio.create_task(_close(iteration, watch), name="a closer")
    try:
        async for transition in iteration:
            if watch.is_left:
                watch.after_close.append(transition)
                break
            watch.transitions.append(transition)
            if detangle.flip(0.5):
                await asyncio.sleep(WAIT_SECONDS)  # What comes meanwhile is not taken.
    finally:
        closer.cancel()
        await asyncio.wait([closer])
    return watch.operation.outcome


async def _close(iteration: Any, watch: Watch) -> None:
    await asyncio.sleep(detangle.uniform(0.0, 2 * WAIT_SECONDS))
    await iteration.aclose()
    watch.is_left = True


async def _poll(watch: Watch) -> object:
    """Poll twice at once; those who ask share a request, and the first may lose interest."""
    watch.is_poll = True
    await asyncio.sleep(WAIT_SECONDS)
    first = asyncio.create_task(watch.operation.poll(), name="a first poll")
    second = asyncio.create_task(watch.operation.poll(), name="a second poll")
    if detangle.flip(0.3):
        asyncio.get_running_loop().call_later(0.01, first.cancel)
    _, result = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(result, BaseException):
        raise result
    return result


def draw_caller(number: int, process: Process) -> Caller:
    """Draw what a caller does."""
    works = (_run_many, _run, _generate, _generate, _run_many, _attach, _read, _call, _call)
    work = detangle.choice(works)
    return Caller(number, process, work)


async def _run(caller: Caller) -> None:
    feature = detangle.choice((*READY, "Draft"))
    config = detangle.choice((None, "Mobile"))
    start = caller.process.client.project().run_feature(
        feature, config=config, on_conflict=detangle.choice(("raise", "wait"))
    )
    intent = Intent(caller.number, "run", feature, config)
    operation = await caller.dispatch(intent, start)
    if operation is not None:
        await caller.watch(operation)


async def _generate(caller: Caller) -> None:
    feature = detangle.choice(("Alpha", *READY, "Draft"))
    start = caller.process.client.project().generate_feature(
        feature, on_conflict=detangle.choice(("attach", "raise", "attach", "wait"))
    )
    operation = await caller.dispatch(Intent(caller.number, "generation", feature, None), start)
    if operation is not None:
        await caller.watch(operation)


async def _call(caller: Caller) -> None:
    """Make a call with a key, which others may make too, and again while it is unknown."""
    number = detangle.choice((*KEYED,))
    kind, feature, config = KEYED[number]
    project, key = caller.process.client.project(), f"key {number}"
    for _ in range(CALLS):
        start: Awaitable[AnyOperation]
        if kind == "run":
            start = project.run_feature(feature, config=config, key=key)
        else:
            start = project.generate_feature(feature, on_conflict="raise", key=key)
        # All that it sends, and is told, is that of the key.
        token = CALLER.set(number)
        try:
            operation = await caller.dispatch(Intent(number, kind, feature, config), start)
        finally:
            CALLER.reset(token)
        if operation is not None:
            await caller.watch(operation)
            return
        if not isinstance(caller.dispatchings[-1].result, errors.DispatchUnknownError):
            return
        await asyncio.sleep(detangle.uniform(0.0, 10.0))


async def _run_many(caller: Caller) -> None:
    """Run all at once: their polls share a list."""
    attempts = detangle.choice((1, 2))
    timeout = detangle.choice((None, 5.0))
    configs = (None, "Mobile")
    key = detangle.choice((None, f"batch {caller.number}"))
    project = caller.process.client.project()
    options: dict[str, Any] = {"max_in_flight": detangle.choice((100, 2)), "key": key}
    batch = project.run_features(
        READY, config=configs, attempts=attempts, timeout=timeout, **options
    )
    dispatchings = [
        Dispatching(Intent(caller.number, "run", feature, config), attempts)
        for feature in READY
        for config in configs
    ]
    caller.dispatchings += dispatchings
    await _to_the_end(caller, batch, dispatchings)
    if key is not None and not caller.process.is_closing and detangle.flip(0.5):
        batch = project.run_features(**options)
        await _to_the_end(caller, batch, dispatchings)
    await _resume(caller, [*batch.in_flight])


async def _to_the_end(
    caller: Caller, batch: Batch[Run], dispatchings: Sequence[Dispatching]
) -> None:
    """Read all items of a batch, and keep them as the results of its dispatches."""
    try:
        async with batch:
            async for _ in batch:
                pass
    except errors.ClientClosedError as error:
        if not caller.process.is_closing:
            raise
        for dispatching in dispatchings:
            dispatching.result = error
    finally:
        for dispatching, item in zip(dispatchings, batch.items, strict=False):
            dispatching.result = item


async def _resume(caller: Caller, refs: list[Ref]) -> None:
    """Wait for what goes on: after a batch has timed out, or by its ref alone."""
    for ref in refs:
        try:
            operation = caller.process.client.attach(ref)
        except errors.ClientClosedError:
            return
        caller.operations.append(operation)
        await caller.watch(operation)


async def _attach(caller: Caller) -> None:
    """Wait for what somebody dispatched: by its bare id, and with another caller."""
    await asyncio.sleep(WAIT_SECONDS)
    runs = [event.ref for events in caller.process.dispatched.values() for event in events]
    if runs:
        await _resume(caller, [detangle.choice(runs)])


async def _read(caller: Caller) -> None:
    """Read several things at once, for which some wait their turn."""
    project = caller.process.client.project()
    for _ in range(5):
        reads = [project.get_feature(name) for name in (*READY, "Draft")]
        for error in await asyncio.gather(*reads, return_exceptions=True):
            if isinstance(error, BaseException) and not isinstance(error, errors.VibeError):
                raise error
