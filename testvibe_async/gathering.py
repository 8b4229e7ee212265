"""Waiting for many operations at once: `gather`, `finished` and `changes` of a client.

Each needs no task except the caller's, however many operations there are. An operation that can't
be observed never ends an iteration for the others: its error comes last.
"""

from __future__ import annotations

from contextlib import closing
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from testvibe_async._core.config import require_timeout
from testvibe_async._core.polling import Change, Iteration, Subscription
from testvibe_async.errors import ConfigError, VibeError
from testvibe_async.models import Generation, Run, Snapshot
from testvibe_async.operations import GenerationOperation, Operation, RunOperation, or_mismatch
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testvibe_async._core.polling import PolledOperation, Poller
    from testvibe_async.models import Transition

__all__ = ["Gathering"]

OperationT = TypeVar("OperationT", bound=Operation[Any])
SnapshotT = TypeVar("SnapshotT", bound=Snapshot)


class Gathering:
    """The methods of a client for many operations at once."""

    _poller: Poller

    @overload
    async def gather(
        self, *operations: Operation[SnapshotT], return_exceptions: Literal[False] = False
    ) -> list[SnapshotT]: ...
    @overload
    async def gather(
        self, *operations: Operation[SnapshotT], return_exceptions: Literal[True]
    ) -> list[SnapshotT | VibeError]: ...
    @overload
    async def gather(
        self, *operations: Operation[SnapshotT], return_exceptions: bool
    ) -> Sequence[SnapshotT | VibeError]: ...
    async def gather(self, *operations: Operation[Any], return_exceptions: bool = False) -> Any:
        """Wait for many operations, and return their outcomes in the given order.

        Args:
            operations: Operations of this client. Finished ones cost no request.
            return_exceptions: True to return an error of `testvibe_async.Operation.wait` in place
                of the outcome; False to raise the first one. The other operations keep running in
                either case.

        Raises:
            ConfigError: One of them is not an operation of this client.
            VibeError: The error of `testvibe_async.Operation.wait` for the first operation that
                can't be observed.
        """
        handles = _by_operation(operations, self._poller)
        errors: dict[Operation[Any], VibeError] = {}
        with closing(Subscription(self._poller, handles)) as subscription:
            while (end := await subscription.next()) is not None:
                operation, event = end
                error = event if isinstance(event, VibeError) else operation.mismatch()
                if error is not None:
                    if not return_exceptions:
                        raise error
                    errors[operation] = error
        return [errors.get(operation) or await operation for operation in operations]

    def finished(
        self, operations: Iterable[OperationT], *, timeout: float | None = None
    ) -> Iteration[OperationT]:
        """Iterate over operations in the order in which they finish.

        The iterator releases each finished operation, so memory shrinks unless you keep them.

        Args:
            operations: Operations of this client.
            timeout: Seconds from the first step; 0 for one poll, None for no limit.

        Raises:
            ConfigError: One of them is not an operation of this client, or the time-out is not a
                number of seconds, 0 or more.
            WaitTimeoutError: An operation did not finish in time. Like all errors of operations,
                the iteration raises it after all outcomes. A note names the other operations
                without an outcome; the same iterator continues with their errors, and then ends.
            VibeError: The error of `testvibe_async.Operation.wait` for an operation that could not
                be observed.
        """
        subscription = Subscription(self._poller, _by_operation(operations, self._poller))
        return Iteration(subscription, or_mismatch(itemgetter(0)), timeout=require_timeout(timeout))

    @overload
    def changes(
        self, operations: Iterable[RunOperation]
    ) -> Iteration[tuple[RunOperation, Transition[Run]]]: ...
    @overload
    def changes(
        self, operations: Iterable[GenerationOperation]
    ) -> Iteration[tuple[GenerationOperation, Transition[Generation]]]: ...
    @overload
    def changes(
        self, operations: Iterable[Operation[SnapshotT]]
    ) -> Iteration[tuple[Operation[SnapshotT], Transition[SnapshotT]]]: ...
    def changes(self, operations: Iterable[Any]) -> Iteration[tuple[Any, Transition[Any]]]:
        """Iterate over the transitions of many operations, each with its operation.

        It is meant for progress bars and server-sent events: first the present state of each
        operation, then each observed transition, until all operations have finished.

        Args:
            operations: Operations of this client.

        Raises:
            ConfigError: One of them is not an operation of this client.
            VibeError: The error of `testvibe_async.Operation.wait` for an operation that could not
                be observed, after all other operations; see `finished`.
        """
        handles = _by_operation(operations, self._poller)
        subscription = Subscription(self._poller, handles, wants=Change.TRANSITION)
        return Iteration(subscription, or_mismatch(lambda change: change))


def _by_operation(
    operations: Iterable[Operation[Any]], poller: Poller
) -> dict[PolledOperation[Any], tuple[Operation[Any], ...]]:
    """Return handles by the poller's record of their operation. Few are passed twice.

    Raises:
        ConfigError: One is not an operation of this client, and would be polled with another key.
    """
    handles: dict[PolledOperation[Any], tuple[Operation[Any], ...]] = {}
    for operation in operations:
        if not isinstance(operation, Operation):
            if isinstance(operation, Ref):
                raise ConfigError(f"{operation} is a ref here: pass client.attach(ref)")
            if isinstance(operation, list | tuple | set):
                raise ConfigError("gather takes operations, not a collection: unpack it with *")
            raise ConfigError(f"{operation!r} is not an operation: is an await missing?")
        if operation._parts.poller is not poller:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            raise ConfigError(f"{operation.ref} is of another Client: pass this one's attach(ref)")
        polled = operation._polled  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        handles[polled] = (*handles.get(polled, ()), operation)
    return handles
