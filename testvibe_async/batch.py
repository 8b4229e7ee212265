"""Batches: many dispatches at once, with each result as it arrives.

The interface for the caller of a batch. `_core/batch` decides what is dispatched, and when.
"""

from __future__ import annotations

import warnings
from asyncio import CancelledError, Lock
from contextlib import nullcontext
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from attrs import asdict

from testvibe_async._core.batch import (
    Features,
    StoredBatch,
    is_refusal,
    item_from_dict,
    items_of_rows,
    select_features,
)
from testvibe_async._core.dispatch import CLOSE_SECONDS
from testvibe_async._core.telemetry import telemetry
from testvibe_async._core.wire import KINDS
from testvibe_async.errors import ConfigError
from testvibe_async.models import Generation, Run, Snapshot, Transition
from testvibe_async.outcomes import BatchSummary

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from testvibe_async._core.batch import Workers
    from testvibe_async._core.polling import Iteration
    from testvibe_async._core.telemetry import Trace
    from testvibe_async.operations import GenerationOperation, Operation, RunOperation
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.refs import GenerationRef, RunRef

__all__ = [
    "Batch",
    "Features",
    "StoredBatch",
    "is_refusal",
    "item_from_dict",
    "items_of_rows",
    "select_features",
]

SnapshotT_co = TypeVar("SnapshotT_co", bound=Snapshot, covariant=True)

CANCEL_SECONDS = 1.5
"""Seconds that a cancelled batch waits for the answers to sent dispatches: it ends within 2 s."""


class _Refs:
    """Refs of a batch's operations, of the kind that it dispatches."""

    def __init__(self, is_meant: Callable[[BatchItem[Any]], bool], doc: str) -> None:
        self._is_meant = is_meant
        self.__doc__ = doc

    @overload
    def __get__(self, batch: None, owner: object, /) -> Self: ...
    @overload
    def __get__(self, batch: Batch[Run], owner: object, /) -> list[RunRef]: ...
    @overload
    def __get__(self, batch: Batch[Generation], owner: object, /) -> list[GenerationRef]: ...
    @overload
    def __get__(self, batch: Batch[Snapshot], owner: object, /) -> list[RunRef | GenerationRef]: ...
    def __get__(self, batch: Batch[Any] | None, owner: object, /) -> Any:
        """Return the refs, as a new list."""
        items: list[BatchItem[Any]] = [] if batch is None else batch.items
        refs = [item.ref for item in items if item.ref is not None and self._is_meant(item)]
        return self if batch is None else refs


class Batch(Generic[SnapshotT_co]):
    """Many operations, dispatched as others finish; made by `run_features` and `generate_features`.

    For example::

        async with project.run_features(["Checkout", "Returns"], timeout=600) as batch:
            async for item in batch:  # as they finish
                print(item.feature, item.verdict)
        print(batch.summary, batch.in_flight)

    Await it for all items, in the requested order. Or open it with `async with`, and iterate over
    it for each item as it completes. Several tasks that iterate share the items: each item goes to
    one of them. A feature that can't be dispatched is an item with its error. Leaving the block
    early stops dispatching. Dispatched operations keep running at the service, and `in_flight`
    names them.

    At the time-out it yields an item for each remaining feature: with a `WaitTimeoutError` for an
    operation in flight, and without ref, outcome and error for a feature that was not dispatched.
    If its dispatch was waiting for the end of an outage, the error is a `NotSentError`. Features
    not yet read from a generator have no item.
    """

    def __init__(self, workers: Workers[SnapshotT_co]) -> None:
        self._workers = workers
        self._trace: Trace | None = None
        self._is_open = False
        self._is_left = False
        """True once the caller has left the block."""
        self._taken = 0
        """Number of items handed out."""
        self._turn = Lock()
        """Held by the one task that waits for the next item, if several share the items."""

    @property
    def key(self) -> str:
        """The key of the batch in the ledger: the caller's own, or a random one."""
        return self._workers.plan.key

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the batch's first call, once the batch is opened."""
        return self._workers.plan.options

    def close(self) -> None:
        """Abandon a batch that was not opened, without the warning; nothing is dispatched."""
        if not self._is_open:
            self._is_open = self._is_left = True

    def mark_with(self, mark: Callable[[BatchItem[SnapshotT_co]], BatchItem[SnapshotT_co]]) -> None:
        """Set the function that marks each finished item, before it counts for `stop_on_failure`.

        Args:
            mark: Returns an item with another verdict, such as `mark` of a quarantine does.
                Call this before the batch is opened.
        """
        self._workers.mark = mark

    def stop(self) -> None:
        """Dispatch no more; the batch still waits for the operations in flight."""
        self._workers.stop()

    def __del__(self) -> None:
        """Warn if the batch was neither awaited nor opened."""
        if not self._is_open:
            call = f"{KINDS[self._workers.plan.kind].dispatched_by.name}s"
            message = (
                f"{call}() was never awaited or opened, so nothing was "
                "dispatched: await it for all items, or open it with 'async with'"
            )
            warnings.warn(message, RuntimeWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        """Return the counts of its items."""
        return f"<Batch: {self.summary}>"

    refs: ClassVar[_Refs] = _Refs(
        lambda _item: True, "The refs of all dispatched operations so far, in the requested order."
    )
    in_flight: ClassVar[_Refs] = _Refs(
        lambda item: item.is_unfinished,
        "The refs of all operations that were dispatched and not observed to finish.",
    )

    @property
    def items(self) -> list[BatchItem[SnapshotT_co]]:
        """The current item of each feature, in the requested order.

        It may be read at any time: while the batch runs, and after it was left, cancelled or timed
        out. A dispatch without an answer is `unknown`; once the answer arrives, its item has the
        ref.
        """
        return [entry.current() for entry in self._workers.entries]

    @overload
    def changes(self: Batch[Run]) -> Iteration[tuple[RunOperation, Transition[Run]]]: ...
    @overload
    def changes(
        self: Batch[Generation],
    ) -> Iteration[tuple[GenerationOperation, Transition[Generation]]]: ...
    @overload
    def changes(
        self,
    ) -> Iteration[tuple[Operation[SnapshotT_co], Transition[SnapshotT_co]]]: ...
    def changes(self) -> Iteration[tuple[Any, Transition[Any]]]:
        """Iterate over the transitions of the batch's operations, each with its operation.

        Open the batch with `async with` first. The iteration ends once the batch has nothing in
        flight and nothing to dispatch. Unlike a client's `changes`, it raises no error of an
        operation: `items` has those.

        Raises:
            ConfigError: The batch was not opened with `async with`.
            Exception: The error of the caller's generator of features, or of the ledger, which
                ended the batch early.
        """
        self._require_open()
        return self._workers.changes()

    def item_of(self, operation: Operation[Any]) -> BatchItem[SnapshotT_co] | None:
        """Return the current item of an operation that `changes` yielded.

        None if the feature has been dispatched again since.
        """
        found = (each for each in self._workers.entries if each.operation is operation)
        return next((each.current() for each in found), None)

    @property
    def summary(self) -> BatchSummary:
        """The current number of features with each verdict."""
        return BatchSummary.of(self.items)

    def __await__(self) -> Generator[Any, None, list[BatchItem[SnapshotT_co]]]:
        """Run the whole batch, and return the items in the requested order."""
        return self._all().__await__()

    async def _all(self) -> list[BatchItem[SnapshotT_co]]:
        items: dict[int, BatchItem[SnapshotT_co]] = {}
        async with self:
            while (found := await self._next()) is not None:
                items[found[0]] = found[1]
        return [items[index] for index in sorted(items)]

    async def __aenter__(self) -> Self:
        """Start dispatching. If no features were named, list the project's features first.

        Raises:
            ConfigError: The batch was opened before. A batch runs once.
            WaitTimeoutError: The time-out passed before the features were listed.
            ClientClosedError: The client is closed.
            IncompleteListError, EndpointNotFoundError, UnauthorizedError: The features can't be
                listed; see `Project.list_features`.
        """
        if self._is_open:
            raise ConfigError(
                "this batch was opened before: make another, or keep the items of this one"
            )
        self._is_open = True
        self._workers.bind()
        self._trace = telemetry().trace(
            "testvibe batch",
            {
                "testvibe.attempts": self._workers.plan.attempts,
                "cicd.pipeline.name": "testvibe batch",
            },
        )
        try:
            with nullcontext() if self._trace is None else self._trace.use():
                await self._workers.start(copy_context())
        except BaseException as error:
            # Operations of an earlier process may be waited for already.
            await self.__aexit__(type(error), error)
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Stop dispatching and polling. Cancels nothing at the service.

        Dispatches under way get up to 10 s to be answered, so that `refs` is complete, or 1.5 s if
        the batch is cancelled.

        Raises:
            Exception: The error that ended the batch early, unless an iteration has raised it.
        """
        self._is_left = True
        kind = exception[0] if exception else None
        is_failure = kind is None and self._workers.has_unseen_failure
        is_cancelled = isinstance(kind, type) and issubclass(kind, CancelledError)
        try:
            await self._workers.close(
                within_seconds=CANCEL_SECONDS if is_cancelled else CLOSE_SECONDS
            )
        finally:
            self._end_trace(failure=kind.__name__ if isinstance(kind, type) else None)
        if is_failure:
            self._workers.raise_failure()

    def _end_trace(self, *, failure: str | None) -> None:
        if self._trace is not None:
            counts = asdict(self.summary)
            self._trace.add({f"testvibe.batch.{name}": count for name, count in counts.items()})
            is_cancelled = failure == CancelledError.__name__
            result = "cancellation" if is_cancelled else _result_of(self.summary)
            self._trace.add({"cicd.pipeline.result": result})
            self._trace.end(failure=failure)

    def __aiter__(self) -> Self:
        """Iterate over the items as they complete.

        Raises:
            ConfigError: The batch was not opened with `async with`, or was left or awaited.
        """
        self._require_open()
        if self._is_left:
            raise ConfigError("the batch has ended: read `batch.items` in place of iterating")
        return self

    async def __anext__(self) -> BatchItem[SnapshotT_co]:
        """Wait for the next item.

        Raises:
            ConfigError: The batch was not opened with `async with`.
            StopAsyncIteration: There are no more items, or the batch was left.
            Exception: The error of the caller's generator of features. The error of a feature's
                dispatch or wait is in its item.
        """
        self._require_open()
        self._workers.slots.has_reader = True
        found = await self._next()
        if found is None:
            raise StopAsyncIteration
        return found[1]

    def _require_open(self) -> None:
        if not self._is_open:
            raise ConfigError("open the batch with 'async with' before you read its items")

    @property
    def _has_given_all(self) -> bool:
        return self._workers.is_over and self._taken == len(self._workers.entries)

    async def _next(self) -> tuple[int, BatchItem[SnapshotT_co]] | None:
        """Return the next item with its index; None at the end."""
        workers = self._workers
        async with self._turn:
            while not self._is_left and not self._has_given_all:
                if (found := workers.take()) is not None:
                    self._taken += 1
                    return found
                workers.raise_failure()
                await workers.completed.arrival()
            if not self._is_left:
                workers.raise_failure()  # A failed source has no more features, but did not end.
        return None


def _result_of(summary: BatchSummary) -> str:
    """Return the result of a batch in OpenTelemetry's words for pipelines."""
    if summary.is_success:
        return "success"
    if summary.failed:
        return "failure"
    return "error" if summary.errors or summary.unknown else "timeout"
