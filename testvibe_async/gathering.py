"""Waiting for many operations at once: `gather`, `finished` and `changes` of a client.

Each needs no task except the caller's, however many operations there are. An operation that can't
be observed never ends an iteration for the others: its error comes last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

from testvibe_async._config import require_timeout
from testvibe_async._polling import Completions, ManyTransitions, own_copy
from testvibe_async.errors import ConfigError, VibeError
from testvibe_async.models import Generation, Run
from testvibe_async.operations import GenerationOperation, Operation, OperationT, RunOperation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async._polling import PolledOperation, Poller

__all__ = ["Finished", "Gathering"]

T1 = TypeVar("T1", bound=Run | Generation)
T2 = TypeVar("T2", bound=Run | Generation)
T3 = TypeVar("T3", bound=Run | Generation)
T4 = TypeVar("T4", bound=Run | Generation)
T5 = TypeVar("T5", bound=Run | Generation)
SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)


class Gathering:
    """What a client can do with many of its operations at once."""

    _poller: Poller

    @overload
    async def gather(
        self, operation1: Operation[T1], /, *, return_exceptions: Literal[False] = False
    ) -> tuple[T1]: ...
    @overload
    async def gather(
        self, operation1: Operation[T1], /, *, return_exceptions: Literal[True]
    ) -> tuple[T1 | VibeError]: ...
    @overload
    async def gather(
        self,
        operation1: Operation[T1],
        operation2: Operation[T2],
        /,
        *,
        return_exceptions: Literal[False] = False,
    ) -> tuple[T1, T2]: ...
    @overload
    async def gather(
        self,
        operation1: Operation[T1],
        operation2: Operation[T2],
        /,
        *,
        return_exceptions: Literal[True],
    ) -> tuple[T1 | VibeError, T2 | VibeError]: ...
    @overload
    async def gather(
        self,
        operation1: Operation[T1],
        operation2: Operation[T2],
        operation3: Operation[T3],
        /,
        *,
        return_exceptions: Literal[False] = False,
    ) -> tuple[T1, T2, T3]: ...
    @overload
    async def gather(
        self,
        operation1: Operation[T1],
        operation2: Operation[T2],
        operation3: Operation[T3],
        /,
        *,
        return_exceptions: Literal[True],
    ) -> tuple[T1 | VibeError, T2 | VibeError, T3 | VibeError]: ...
    @overload
    async def gather(
        self,
        operation1: Operation[T1],
        operation2: Operation[T2],
        operation3: Operation[T3],
        operation4: Operation[T4],
        /,
        *,
        return_exceptions: Literal[False] = False,
    ) -> tuple[T1, T2, T3, T4]: ...
    @overload
    async def gather(
        self,
        operation1: Operation[T1],
        operation2: Operation[T2],
        operation3: Operation[T3],
        operation4: Operation[T4],
        /,
        *,
        return_exceptions: Literal[True],
    ) -> tuple[T1 | VibeError, T2 | VibeError, T3 | VibeError, T4 | VibeError]: ...
    @overload
    async def gather(
        self,
        operation1: Operation[T1],
        operation2: Operation[T2],
        operation3: Operation[T3],
        operation4: Operation[T4],
        operation5: Operation[T5],
        /,
        *,
        return_exceptions: Literal[False] = False,
    ) -> tuple[T1, T2, T3, T4, T5]: ...
    @overload
    async def gather(
        self,
        operation1: Operation[T1],
        operation2: Operation[T2],
        operation3: Operation[T3],
        operation4: Operation[T4],
        operation5: Operation[T5],
        /,
        *,
        return_exceptions: Literal[True],
    ) -> tuple[T1 | VibeError, T2 | VibeError, T3 | VibeError, T4 | VibeError, T5 | VibeError]: ...
    @overload
    async def gather(
        self, *operations: Operation[SnapshotT], return_exceptions: Literal[False] = False
    ) -> list[SnapshotT]: ...
    @overload
    async def gather(
        self, *operations: Operation[SnapshotT], return_exceptions: Literal[True]
    ) -> list[SnapshotT | VibeError]: ...
    async def gather(self, *operations: Operation[Any], return_exceptions: bool = False) -> Any:
        """Wait for many operations and return their outcomes, in the order given.

        Typed as `asyncio.gather` is: a tuple for up to five operations, else a list; it is a list
        at run time.

        Args:
            operations: Operations of this client. Those that are over cost no request.
            return_exceptions: Whether to return what `Operation.wait` raises in the place of an
                outcome, rather than raise the first; the others go on in either case.

        Raises:
            ConfigError: One of them is not an operation of this client.
            VibeError: As `Operation.wait` raises, for the first that can't be observed.
        """
        pairs = _pairs(operations, self._poller)
        errors: dict[PolledOperation[Any], VibeError] = {}
        with closing(Completions({polled: polled for polled, _ in pairs}, self._poller)) as waits:
            while (completion := await waits.next()) is not None:
                polled, error = completion
                if error is not None:
                    if not return_exceptions:
                        raise error
                    errors[polled] = error
        return [errors.get(polled) or await operation for polled, operation in pairs]

    def finished(
        self, operations: Iterable[OperationT], *, timeout: float | None = None
    ) -> Finished[OperationT]:
        """Iterate over operations in the order in which they end.

        It lets go of each operation that has ended, so memory shrinks unless you keep them.

        Args:
            operations: Operations of this client.
            timeout: Seconds from the first step on, above 0; None to wait as long as it takes.

        Raises:
            ConfigError: One of them is not an operation of this client, or the time-out is not a
                number of seconds above 0.

            After all others, the iteration raises what `Operation.wait` would for an operation that
            could not be observed, and `WaitTimeoutError` for one that the time-out left. The same
            iterator then goes on with the next error, and ends after the last.
        """
        return Finished(
            _pairs(operations, self._poller), self._poller, timeout=require_timeout(timeout)
        )

    @overload
    def changes(self, operations: Iterable[RunOperation]) -> ManyTransitions[RunOperation, Run]: ...
    @overload
    def changes(
        self, operations: Iterable[GenerationOperation]
    ) -> ManyTransitions[GenerationOperation, Generation]: ...
    @overload
    def changes(
        self, operations: Iterable[Operation[SnapshotT]]
    ) -> ManyTransitions[Operation[SnapshotT], SnapshotT]: ...
    def changes(self, operations: Iterable[Any]) -> ManyTransitions[Any, Any]:
        """Iterate over the transitions of many operations, each with its operation, as they come.

        For progress bars and server-sent events: first the present state of each, then every
        transition that is observed, until all are over.

        Args:
            operations: Operations of this client.

        Raises:
            ConfigError: One of them is not an operation of this client.

            After all others, the iteration raises what `Operation.wait` would for an operation that
            could not be observed; see `finished`.
        """
        pairs = _pairs(operations, self._poller)
        transitions: ManyTransitions[Any, Any] = ManyTransitions(self._poller, pairs)
        transitions.finish()
        return transitions


class Finished(Generic[OperationT]):
    """Operations in the order in which they end, for one task; see `Client.finished`."""

    def __init__(
        self,
        pairs: Iterable[tuple[PolledOperation[Any], OperationT]],
        poller: Poller,
        *,
        timeout: float | None,
    ) -> None:
        self._waited: dict[PolledOperation[Any], OperationT] = {}
        self._again: dict[PolledOperation[Any], list[OperationT]] = {}
        """Further handles on the same operation. Few are passed twice."""
        for polled, operation in pairs:
            if polled in self._waited:
                self._again.setdefault(polled, []).append(operation)
            else:
                self._waited[polled] = operation
        self._poller = poller
        self._completions = Completions({polled: polled for polled in self._waited}, poller)
        self._timeout = timeout
        self._began: float | None = None
        self._ready: deque[OperationT] = deque()
        self._errors: deque[VibeError] = deque()

    def __aiter__(self) -> Self:
        """Iterate."""
        return self

    async def __anext__(self) -> OperationT:
        """Wait for the next one that is over."""
        while not self._ready:
            try:
                async with asyncio.timeout_at(self._deadline()):
                    completion = await self._completions.next()
            except TimeoutError:
                await self._poller.poll_last(list(self._waited))
                self._stop_waiting()
                continue
            except BaseException:
                del self  # See `_polling.waits`: a traceback would keep it polling.
                raise
            if completion is not None:
                self._take(*completion)
            elif self._errors:
                raise self._errors.popleft()
            else:
                raise StopAsyncIteration
        return self._ready.popleft()

    def _deadline(self) -> float | None:
        """Return when to stop waiting, by the loop's clock; the time counts from the first step."""
        if self._timeout is None:
            return None
        if self._began is None:
            self._began = asyncio.get_running_loop().time()
        return self._began + self._timeout

    def _stop_waiting(self) -> None:
        """Take out all that is waited for: what is not over has a `WaitTimeoutError`."""
        self._completions.close()
        elapsed = asyncio.get_running_loop().time() - (self._began or 0.0)
        for polled in list(self._waited):
            error = polled.state.timed_out(elapsed=elapsed)
            self._take(polled, None if polled.state.is_finished else error)
        self._timeout = None

    def _take(self, polled: PolledOperation[Any], error: VibeError | None) -> None:
        """Take one out of those waited for, with all handles on it."""
        handles = [self._waited.pop(polled), *self._again.pop(polled, ())]
        if error is None:
            self._ready.extend(handles)
        else:
            self._errors.extend(own_copy(error) for _ in handles)

    async def aclose(self) -> None:
        """Ask for no more polls; for `contextlib.aclosing`."""
        self._completions.close()
        self._waited.clear()
        self._again.clear()
        self._ready.clear()
        self._errors.clear()


def _pairs(
    operations: Iterable[OperationT], poller: Poller
) -> list[tuple[PolledOperation[Any], OperationT]]:
    """Return operations with what the poller has of each.

    Raises:
        ConfigError: One is not an operation of this client: it would be polled with another's key.
    """
    pairs: list[tuple[PolledOperation[Any], OperationT]] = []
    for operation in operations:
        if not isinstance(operation, Operation):
            raise ConfigError(f"{operation!r} is no operation: is there an await missing?")
        if operation._parts.poller is not poller:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            raise ConfigError(f"{operation.ref} is of another Client: pass this one's attach(ref)")
        pairs.append((operation._polled, operation))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return pairs
