"""Operations: handles on the work that the service does.

A handle is cheap, and holds only a reference to what its client knows of the operation: await it,
poll it, or iterate over its transitions. Any number of handles, waits and iterations share one
stream of polls. A failed run or generation is an outcome here, never an exception.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from attrs import frozen

from testvibe_async._core.config import require_age, require_timeout
from testvibe_async._core.polling import Change, EndWait, Iteration, Subscription
from testvibe_async._core.wire import Endpoints
from testvibe_async.errors import (
    ContradictionError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
)
from testvibe_async.models import Generation, Phase, Run, Snapshot

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Collection, Generator, Mapping
    from datetime import datetime
    from pathlib import Path

    from testvibe_async._core.artifacts import Downloader
    from testvibe_async._core.http import Transport
    from testvibe_async._core.polling import PolledOperation, Poller, PollPlan
    from testvibe_async.errors import KindName, VibeError
    from testvibe_async.ledger import Row
    from testvibe_async.models import (
        Artifact,
        Diagnosis,
        DownloadProgress,
        GenerationLog,
        Listing,
        Transition,
    )
    from testvibe_async.refs import GenerationRef, Ref, RunRef

__all__ = ["GenerationOperation", "Operation", "PendingOperation", "RunOperation"]

SnapshotT_co = TypeVar("SnapshotT_co", bound=Snapshot, covariant=True)
MethodT = TypeVar("MethodT", bound="Callable[..., Any]")
OperationT = TypeVar("OperationT", bound="Operation[Any]")
T = TypeVar("T")
SnapshotT = TypeVar("SnapshotT", bound=Snapshot)
OperationT_co = TypeVar("OperationT_co", bound="Operation[Any]", covariant=True)


@frozen
class ClientParts:
    """The parts of a client that all its handles share."""

    transport: Transport
    poller: Poller
    downloader: Downloader
    plan: PollPlan | None = None
    """Returns the seconds to the next poll of an operation; None for the poller's own plan."""


class Operation(ABC, Generic[SnapshotT_co]):
    """A run or a generation, in flight or finished: `await`, `poll`, or iterate over it.

    For example::

        operation = await project.run_feature("Checkout")
        async for change in operation:
            print(change.phase, change.status)  # queued running, active running, finished passed
        run = await operation  # it has finished: this costs no request
        print(run.summary)

    `status` is the service's own word: `running`, `passed` or `failed` for a run, `generating`,
    `generated`, `failed` or `cancelled` for a generation, and others unchanged. `phase` is
    `queued`, `active` or `finished`. A failure is an outcome, not an exception; the outcome's
    `raise_for_status()` makes it one.

    It is polled only while something waits for it or iterates over it, and all that do share the
    polls. Get one from a dispatch, from `client.attach(ref)`, or from
    `project.run_operation(run_id)`. It need not be closed, and closing the client cancels nothing.
    Cancelling a wait cancels nothing at the service either. It is not made directly.
    """

    __slots__ = ("__weakref__", "_is_ours", "_keep", "_parts", "_polled", "_ref", "_row", "adopted")

    def __init__(  # noqa: PLR0913 - each by name
        self,
        ref: Ref,
        parts: ClientParts,
        *,
        adopted: bool = False,
        sent_at: float | None = None,
        previous_id: str | None = None,
        row: Row | None = None,
        keep: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        self._ref = ref
        self._row = row
        self._is_ours = False
        self._keep = keep
        self._polled: PolledOperation[SnapshotT_co] = parts.poller.known.operation(
            ref, sent_at=sent_at, previous_id=previous_id
        )
        if parts.plan is not None:
            self._polled.plan = parts.plan
        self._parts = parts
        self.adopted: bool = adopted
        """True if the operation was found: already in flight, or looked up after a lost answer."""

    def __repr__(self) -> str:
        """Return the operation and its last observed status."""
        return f"<{type(self).__name__} {self.ref}: {self.status or 'not seen yet'}>"

    def __eq__(self, other: object) -> bool:
        """Return whether the other is a handle on the same operation of the same client."""
        polled: object = getattr(other, "_polled", None)
        return isinstance(other, Operation) and polled is self._polled

    def __hash__(self) -> int:
        """Return a hash that all handles on one operation share."""
        return hash(self._polled)

    @property
    @abstractmethod
    def ref(self) -> Ref:
        """A serializable reference to the operation, for `Client.attach`."""

    @property
    def project(self) -> str:
        """The id of the operation's project."""
        return self.ref.project

    @property
    @abstractmethod
    def feature_id(self) -> int | None:
        """The feature's id; None if it is not known yet."""

    @property
    def feature_name(self) -> str | None:
        """The feature's name; None if it is known neither from a poll nor from the dispatch."""
        snapshot, row = self._polled.snapshot, self._row
        if snapshot is not None and snapshot.feature_name:
            return snapshot.feature_name
        if row is None or row.name:
            return None if row is None else row.name
        return row.feature if isinstance(row.feature, str) else None

    @property
    def status(self) -> str | None:
        """The last observed status, in the service's word; None before the first poll."""
        return self._polled.status

    @property
    def phase(self) -> Phase | None:
        """The last observed phase; None before the first poll."""
        return self._polled.phase

    @property
    def observed_at(self) -> datetime | None:
        """The time when `status` was last observed, by the local clock, in UTC."""
        return self._polled.observed_at

    @property
    def snapshot(self) -> SnapshotT_co | None:
        """The last snapshot; None before the first poll."""
        return self._polled.snapshot

    @property
    def done(self) -> bool:
        """True once the operation was observed to finish; a property, unlike `Future.done()`."""
        return self._polled.is_finished

    @property
    def outcome(self) -> SnapshotT_co | None:
        """The finished `Run` or `Generation`, successful or not; None until then.

        It is also None if it is not that of the request; then `wait` raises `ContradictionError`.
        """
        is_finished = self._polled.is_finished
        return self._polled.snapshot if is_finished and self.mismatch() is None else None

    def mismatch(self) -> ContradictionError | None:
        """Return the error of an outcome that contradicts the request; None if it does not."""
        snapshot = self._polled.snapshot
        if self._is_ours or snapshot is None or not self._polled.is_finished:
            return None
        problem = None if self._row is None else self._row.contradiction(snapshot)
        self._is_ours = problem is None  # It need not be compared again.
        return None if problem is None else ContradictionError(problem, ref=self.ref)

    def __await__(self) -> Generator[Any, None, SnapshotT_co]:
        """Wait for the outcome; see `wait`."""
        return self.wait().__await__()

    async def wait(self, *, timeout: float | None = None) -> SnapshotT_co:
        """Wait until the operation has finished; return its outcome, successful or not.

        All waits of the client share their polls. Once the operation has finished, this does no
        I/O.

        Args:
            timeout: Seconds to wait; None for no limit. At the time-out the operation is polled
                once more, for at most 1 s; 0 is that poll alone.

        Raises:
            ConfigError: The time-out is not a number of seconds, 0 or more, or the poll plan fails.
            WaitTimeoutError: The time-out passed first. Wait again to continue.
            ObservationError: The operation could not be observed for `max_outage`, or at all. Wait
                again to continue.
            OperationNotFoundError, OperationSupersededError: The same, but final: the service does
                not know the operation, or shows a later generation in its place.
            UnauthorizedError, ForbiddenError: The key may not read the operation.
            ClientClosedError: The client is closed.
        """
        timeout = require_timeout(timeout)
        if not self.done:
            began = asyncio.get_running_loop().time()
            error = await EndWait(self._parts.poller).end_of(
                self._polled, began=began, deadline=None if timeout is None else began + timeout
            )
            if error is not None:
                await self._keep_end(error)
                try:
                    raise error
                finally:
                    del error  # Its traceback holds this frame, and with it the handle.
        await self._keep_end()
        return self._seen()

    async def result(self, *, timeout: float | None = None) -> SnapshotT_co:
        """Wait as `wait` does, and return the outcome if it is a success.

        Args:
            timeout: See `wait`.

        Raises:
            OutcomeError: The operation finished without success; the error's `outcome` has it.
            VibeError: The errors of `wait`.
        """
        outcome = await self.wait(timeout=timeout)
        outcome.raise_for_status()
        return outcome

    async def poll(self, *, max_age: float = 0.0) -> SnapshotT_co:
        """Poll once, now, and return the snapshot; once the operation has finished, without I/O.

        Concurrent polls of one operation share one request.

        Args:
            max_age: Maximum age in seconds of the last snapshot, from a wait or another poll, that
                is returned instead; 0 to poll in any case.

        Raises:
            ConfigError: `max_age` is not a number of seconds, 0 or more.
            ObservationError: The operation could not be observed, for the reason in the cause.
            UnauthorizedError, ForbiddenError: The key may not read the operation.
            ClientClosedError: The client is closed.
        """
        require_age("max_age", max_age)
        if not self.done:
            await self._parts.poller.poll(self._polled, max_age=max_age)
        await self._keep_end()
        return self._seen()

    async def _keep_end(self, error: VibeError | None = None) -> None:
        """Have the ledger keep the end of a dispatch with a key, once."""
        is_unknown = isinstance(error, OperationNotFoundError)
        end = error if is_unknown else self.outcome or self.mismatch()
        if self._keep is not None and end is not None:
            keep, self._keep = self._keep, None
            await keep(end)

    def _seen(self) -> SnapshotT_co:
        if self._polled.snapshot is None:
            what = "the service still shows the one before it"
            raise ObservationError(what, ref=self.ref)
        if (mismatch := self.mismatch()) is not None:
            raise mismatch
        return self._polled.snapshot

    def __aiter__(self) -> Iteration[Transition[SnapshotT_co]]:
        """Iterate over the transitions: the current one, then each later one, until the last.

        A transition is a change of phase or status. The iteration may be abandoned at any time. It
        raises as `wait` does.
        """
        return self._changes(Change.TRANSITION)

    def updates(self) -> Iteration[Transition[SnapshotT_co]]:
        """Iterate over every observed change, including those of sections; raise as `wait` does."""
        return self._changes(Change.UPDATE)

    def _changes(self, wants: Change) -> Iteration[Transition[SnapshotT_co]]:
        handles = {self._polled: (self,)}
        subscription = Subscription(self._parts.poller, handles, wants=wants)
        return Iteration(subscription, or_mismatch(itemgetter(1)))


def or_mismatch(item: Callable[[Any], T]) -> Callable[[Any], T | ContradictionError]:
    """Return a function of an event that gives its item; at an end, a mismatch in its place."""

    def checked(found: tuple[Operation[Any], Transition[Any] | None]) -> T | ContradictionError:
        operation, transition = found
        if transition is None or transition.phase is Phase.FINISHED:
            return operation.mismatch() or item(found)
        return item(found)

    return checked


class PendingOperation(Coroutine[Any, Any, OperationT_co]):
    """An operation to be dispatched: await it for the operation, or its `wait` for the outcome.

    For example::

        operation = await project.run_feature("Checkout")  # once it is dispatched
        run = await project.run_feature("Checkout").wait()  # once it has finished

    It is a coroutine, for `asyncio.create_task`, task groups and `asyncio.gather`. Nothing is sent
    before it is awaited, which is possible once. If it never is, a warning is issued.
    """

    def __init__(self, dispatch: Coroutine[Any, Any, OperationT_co], call: str) -> None:
        """Create a pending operation; nothing is sent yet.

        Args:
            dispatch: The coroutine that dispatches the operation.
            call: The text of the call, for the warning.
        """
        self._dispatch = dispatch
        self._is_handed_over = False
        """True once `wait` or `result` has it: its coroutine warns if it is never awaited."""
        self.__qualname__ = call  # A task shows it.

    def wait(
        self: PendingOperation[Operation[SnapshotT_co]], *, timeout: float | None = None
    ) -> Coroutine[Any, Any, SnapshotT_co]:
        """Dispatch the operation, wait until it has finished, and return its outcome.

        Args:
            timeout: Seconds to wait after the dispatch; see `testvibe_async.Operation.wait`, whose
                errors are raised as well. A wrong value is refused before anything is sent, when
                the result is awaited.
        """
        return self._handed_over(self._wait(timeout), "wait")

    def result(
        self: PendingOperation[Operation[SnapshotT_co]], *, timeout: float | None = None
    ) -> Coroutine[Any, Any, SnapshotT_co]:
        """Dispatch the operation, wait for it, and return its outcome if it is a success.

        Args:
            timeout: See `wait`; also see `testvibe_async.Operation.result` for the errors.
        """
        return self._handed_over(self._result(timeout), "result")

    async def _wait(
        self: PendingOperation[Operation[SnapshotT_co]], timeout: float | None
    ) -> SnapshotT_co:
        require_timeout(timeout)
        operation = await self._dispatch
        return await operation.wait(timeout=timeout)

    async def _result(
        self: PendingOperation[Operation[SnapshotT_co]], timeout: float | None
    ) -> SnapshotT_co:
        require_timeout(timeout)
        operation = await self._dispatch
        return await operation.result(timeout=timeout)

    def _handed_over(
        self, waiting: Coroutine[Any, Any, SnapshotT], name: str
    ) -> Coroutine[Any, Any, SnapshotT]:
        """Return a coroutine that awaits the dispatch, named as its call for tasks and warnings."""
        self._is_handed_over = True
        cast("Any", waiting).__qualname__ = f"{self.__qualname__}.{name}"
        return waiting

    def __repr__(self) -> str:
        """Return the call, and that its operation is pending."""
        return f"<{type(self).__name__} of {self.__qualname__}>"

    def __await__(self) -> Generator[Any, None, OperationT_co]:
        """Dispatch the operation, and return it."""
        return (yield from self._dispatch.__await__())

    def send(self, value: Any, /) -> Any:  # noqa: ANN401 - the event loop's own
        """Resume the dispatch; for the event loop."""
        return self._dispatch.send(value)

    def throw(self, *exception: Any) -> Any:  # noqa: ANN401 - the event loop's own
        """Raise an exception in the dispatch; for the event loop."""
        return self._dispatch.throw(*exception)

    def close(self) -> None:
        """Abandon the dispatch; if it was not awaited, nothing is sent."""
        self._dispatch.close()

    def __del__(self) -> None:
        """Warn if it was never awaited."""
        if inspect.getcoroutinestate(self._dispatch) == inspect.CORO_CREATED:
            self._dispatch.close()
            if self._is_handed_over:
                return
            warnings.warn(
                f"{self.__qualname__} was never awaited, so nothing was dispatched: await it for "
                "the operation, or its wait() for the outcome",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )


def awaited(method: MethodT) -> MethodT:
    """Mark a plain function whose result must be awaited, for `iscoroutinefunction`.

    Schedulers and background tasks await what such a function returns, and drop the result of any
    other. Before Python 3.12, `inspect.iscoroutinefunction` knows no mark, and asyncio's does.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(method)
    vars(method)["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]
    return method


class RunOperation(Operation[Run]):
    """A run; its outcome is a `Run`, passed or failed."""

    __slots__ = ()
    _ref: RunRef

    @property
    def ref(self) -> RunRef:
        """A serializable reference to the operation, for `Client.attach`."""
        return self._ref

    @property
    def run_id(self) -> int:
        """The service's `runId`."""
        return self.ref.run_id

    @property
    def feature_id(self) -> int | None:
        """The feature's id; None if a run was attached without it and not seen yet."""
        if self.ref.feature_id is None and self.snapshot is not None:
            return self.snapshot.feature_id
        return self.ref.feature_id

    async def diagnose(self) -> Diagnosis:
        """Read the diagnosis of a failed run. Source: diagnose_run."""
        return await self._parts.transport.call(
            Endpoints.DIAGNOSE_RUN.request(project=self.project, run=self.run_id)
        )

    async def artifacts(self) -> Listing[Artifact]:
        """List the files of the run, with links that expire soon. Source: get_run_artifacts."""
        return await self._parts.transport.call(
            Endpoints.GET_RUN_ARTIFACTS.request(project=self.project, run=self.run_id)
        )

    async def download_artifacts(
        self,
        directory: str | os.PathLike[str],
        *,
        kinds: Collection[str] | None = None,
        on_progress: Callable[[DownloadProgress], None] | None = None,
        max_at_once: int = 4,
    ) -> list[Path]:
        """Download the files of the run, and return their paths.

        Wait for its end first: before, a `ConfigError` says so. See `Project.download_artifacts`.
        """
        return await self._parts.downloader.download(
            directory,
            project=self.project,
            run_id=self.run_id,
            kinds=kinds,
            on_progress=on_progress,
            max_at_once=max_at_once,
        )


class GenerationOperation(Operation[Generation]):
    """A generation; its outcome is a `Generation`: generated, failed or cancelled."""

    __slots__ = ()
    _ref: GenerationRef

    @property
    def ref(self) -> GenerationRef:
        """A serializable reference to the operation, for `Client.attach`."""
        return self._ref

    @property
    def request_id(self) -> str:
        """The service's `requestId`."""
        return self.ref.request_id

    @property
    def feature_id(self) -> int:
        """The feature's id."""
        return self.ref.feature_id

    async def cancel(self) -> None:
        """Cancel the generation, unless it has finished.

        The service cancels the feature's generation in flight, whichever it is, so this polls first
        to make sure that it is this one. Wait for the operation to see the end.

        Raises:
            OperationSupersededError: Another generation took its place, and was left alone.
            ConflictError: It ended just now.
        """
        snapshot = await self.poll()
        if self._polled.other_id is not None:
            snapshot = await self.poll()  # Two answers decide whether another took its place.
        if not snapshot.is_finished:
            await self._parts.transport.call(
                Endpoints.CANCEL_GENERATION.request(project=self.project, feature=self.feature_id)
            )

    async def log(self) -> GenerationLog:
        """Read the log. Source: get_generation_log, which has only the feature's latest.

        Raises:
            OperationSupersededError: The service already has the log of a later generation.
        """
        log = await self._parts.transport.call(
            Endpoints.GET_GENERATION_LOG.request(project=self.project, feature=self.feature_id)
        )
        if log.request_id is not None and log.request_id != self.request_id:
            raise OperationSupersededError(ref=self.ref, newer_request_id=log.request_id)
        return log


def operation_of(
    ref: Ref, parts: ClientParts, *, adopted: bool = False, previous_id: str | None = None
) -> RunOperation | GenerationOperation:
    """Return a handle on an operation.

    Args:
        ref: The operation's ref.
        parts: The parts of its client.
        adopted: True if the operation was found.
        previous_id: The `requestId` of the generation before it; None if unknown.
    """
    return HANDLES[ref.kind](ref, parts, adopted=adopted, previous_id=previous_id)


HANDLES: Mapping[KindName, type[RunOperation | GenerationOperation]] = {
    "run": RunOperation,
    "generation": GenerationOperation,
}
