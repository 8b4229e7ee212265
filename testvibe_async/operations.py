"""Operations: handles on the work that the service does.

A handle is cheap, and holds nothing but a way to the operation's one state in its client: await it,
look at it, or iterate over its changes; any number of handles, waits and iterations share one
stream of looks. Failing is an outcome here, never an exception.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from attrs import frozen

from testvibe_async._config import require_timeout
from testvibe_async._polling import Changes, Completions, until_finished
from testvibe_async._wire import (
    CANCEL_GENERATION,
    DIAGNOSE_RUN,
    GET_GENERATION_LOG,
    GET_RUN_ARTIFACTS,
)
from testvibe_async.errors import (
    ConfigError,
    ObservationError,
    OperationSupersededError,
    VibeError,
)
from testvibe_async.models import Generation, Run

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Generator, Iterable
    from datetime import datetime
    from pathlib import Path

    from testvibe_async._artifacts import Downloader
    from testvibe_async._http import Transport
    from testvibe_async._polling import Poller, State
    from testvibe_async.models import Artifact, Diagnosis, DownloadProgress, GenerationLog, Phase
    from testvibe_async.refs import GenerationRef, Ref, RunRef

__all__ = ["GenerationOperation", "Operation", "RunOperation"]

SnapshotT_co = TypeVar("SnapshotT_co", bound=Run | Generation, covariant=True)
OperationT = TypeVar("OperationT", bound="Operation[Any]")


@frozen
class Services:
    """What all handles of one client share."""

    transport: Transport
    poller: Poller
    downloader: Downloader


class Operation(ABC, Generic[SnapshotT_co]):
    """A run or a generation, in flight or over.

    `await operation` waits for its outcome; `async for` goes through its transitions. Make one with
    a dispatch, or with `client.attach(ref)`. It need not be closed.
    """

    __slots__ = ("_ref", "_services", "_state", "adopted")

    def __init__(
        self,
        ref: Ref,
        services: Services,
        *,
        adopted: bool = False,
        is_dispatched: bool = False,
    ) -> None:
        self._ref = ref
        self._state: State[SnapshotT_co] = services.poller.state(ref, is_dispatched=is_dispatched)
        self._services = services
        self.adopted: bool = adopted
        """Whether it was found in flight and joined, rather than started by this call."""

    def __repr__(self) -> str:
        """Name the operation and what was last seen of it."""
        return f"<{type(self).__name__} {self.ref}: {self.status or 'not seen yet'}>"

    @property
    @abstractmethod
    def ref(self) -> Ref:
        """Its name, to be stored and attached again."""

    @property
    def project(self) -> str:
        """The id of its project."""
        return self.ref.project

    @property
    @abstractmethod
    def feature_id(self) -> int | None:
        """The feature's id; None where it is not known yet."""

    @property
    def status(self) -> str | None:
        """The service's word for how it stands, as last seen; None before anything was."""
        return self._state.status

    @property
    def phase(self) -> Phase | None:
        """How far it is, as last seen; None before anything was."""
        return self._state.phase

    @property
    def observed_at(self) -> datetime | None:
        """When `status` was last seen, by the local clock, in UTC."""
        return self._state.observed_at

    @property
    def snapshot(self) -> SnapshotT_co | None:
        """All that was last seen; None before the first look."""
        return self._state.snapshot

    @property
    def done(self) -> bool:
        """Whether it is over, as last seen."""
        return self._state.is_finished

    @property
    def outcome(self) -> SnapshotT_co | None:
        """What it came to; None until it is over."""
        return self._state.snapshot if self._state.is_finished else None

    def __await__(self) -> Generator[Any, None, SnapshotT_co]:
        """Wait for the outcome; see `wait`."""
        return self.wait().__await__()

    async def wait(self, *, timeout: float | None = None) -> SnapshotT_co:
        """Wait until it is over and return the outcome, whether good or bad.

        Once it is over this costs nothing, however often it is asked.

        Args:
            timeout: Seconds to wait, above 0; None to wait as long as it takes.

        Raises:
            ConfigError: The time-out is no number of seconds above 0, or the poll plan fails.
            WaitTimeoutError: The time is over, the operation is not. Wait again to go on.
            ObservationError: It could not be observed for long, or ever. Wait again to go on.
            UnauthorizedError, ForbiddenError: The key may not see it.
            ClientClosedError: The client is closed.
        """
        timeout = require_timeout(timeout)
        if not self.done:
            await until_finished(self._state, self._services.poller, timeout=timeout)
        return self._seen()

    async def poll(self) -> SnapshotT_co:
        """Look once, now, and return what is seen. Once it is over this does no I/O.

        Raises:
            ObservationError: It could not be seen; what went wrong is the cause.
            UnauthorizedError, ForbiddenError: The key may not see it.
            ClientClosedError: The client is closed.
        """
        if not self.done:
            await self._services.poller.look(self._state)
        return self._seen()

    def _seen(self) -> SnapshotT_co:
        if self._state.snapshot is None:
            what = "the service still tells of the one before it"
            raise ObservationError(what, ref=self.ref)
        return self._state.snapshot

    def __aiter__(self) -> Changes[SnapshotT_co]:
        """Go through the transitions: the present one first, each later one, ending with the last.

        A transition is a change of phase or status. Leaving early is fine. Raises as `wait` does.
        """
        return Changes(self._state, self._services.poller, transitions_only=True)

    def updates(self) -> Changes[SnapshotT_co]:
        """Go through every change that is observed, those of single sections too."""
        return Changes(self._state, self._services.poller, transitions_only=False)


class RunOperation(Operation[Run]):
    """A run; its outcome is a `Run`, passed or failed."""

    __slots__ = ()
    _ref: RunRef

    @property
    def ref(self) -> RunRef:
        """Its name, to be stored and attached again."""
        return self._ref

    @property
    def run_id(self) -> int:
        """The service's `runId`."""
        return self.ref.run_id

    @property
    def feature_id(self) -> int | None:
        """The feature's id; None where a run was attached without it and not seen yet."""
        if self.ref.feature_id is None and self.snapshot is not None:
            return self.snapshot.feature_id
        return self.ref.feature_id

    async def diagnose(self) -> Diagnosis:
        """Ask why it failed. Source: diagnose_run."""
        return await self._services.transport.call(
            DIAGNOSE_RUN.request(project=self.project, run=self.run_id)
        )

    async def artifacts(self) -> list[Artifact]:
        """List the files that it left, with links that soon expire. Source: get_run_artifacts."""
        return await self._services.transport.call(
            GET_RUN_ARTIFACTS.request(project=self.project, run=self.run_id)
        )

    async def download_artifacts(
        self,
        directory: str | os.PathLike[str],
        *,
        kinds: Collection[str] | None = None,
        on_progress: Callable[[DownloadProgress], object] | None = None,
        max_at_once: int = 4,
    ) -> list[Path]:
        """Download the files that it left, and return where they are.

        Wait for its end first: there are none before. See `Project.download_artifacts`.
        """
        return await self._services.downloader.download(
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
        """Its name, to be stored and attached again."""
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
        """Cancel it, unless it is over.

        The service cancels whatever generation of the feature is in flight, so this looks first
        whether that is this one. Wait for the operation to see the end.

        Raises:
            OperationSupersededError: Another generation took its place, and was left alone.
            ConflictError: It ended just now.
        """
        await self.poll()
        if not self.done:
            await self._services.transport.call(
                CANCEL_GENERATION.request(project=self.project, feature=self.feature_id)
            )

    async def log(self) -> GenerationLog:
        """Read its log. Source: get_generation_log, which tells of the latest generation only.

        Raises:
            OperationSupersededError: The service has the log of another generation by now.
        """
        log = await self._services.transport.call(
            GET_GENERATION_LOG.request(project=self.project, feature=self.feature_id)
        )
        if log.request_id is not None and log.request_id != self.request_id:
            raise OperationSupersededError(ref=self.ref, newer_request_id=log.request_id)
        return log


class Finished(Generic[OperationT]):
    """Operations in the order in which they end, for one task; see `Client.finished`."""

    def __init__(self, operations: Iterable[OperationT], poller: Poller) -> None:
        waited: dict[State[Any], OperationT] = {}
        self._again: dict[OperationT, list[OperationT]] = {}
        """What was passed beside each, of the same operation; most have nothing beside them."""
        self._over: deque[tuple[OperationT, VibeError | None]] = deque()
        for operation in operations:
            _require_of(poller, operation)
            state = poller.state(operation.ref)
            if state in waited:
                self._again.setdefault(waited[state], []).append(operation)
            else:
                waited[state] = operation
        self._ends = Completions(waited, poller)

    def __aiter__(self) -> Self:
        """Iterate."""
        return self

    async def __anext__(self) -> OperationT:
        """Wait for the next end."""
        if self._over:
            operation, error = self._over.popleft()
        else:
            try:
                end = await self._ends.next()
            except BaseException:
                del self  # see `_waits`
                raise
            if end is None:
                raise StopAsyncIteration
            operation, error = end
            self._over.extend((each, error) for each in self._again.pop(operation, ()))
        if error is not None:
            raise error
        return operation

    async def aclose(self) -> None:
        """Ask for no more looks; for `contextlib.aclosing`."""
        self._ends.close()
        self._again.clear()
        self._over.clear()


def _require_of(poller: Poller, operation: object) -> None:
    """Refuse what is no operation of this client, whose service and key it would be looked up with.

    Raises:
        ConfigError: It is one of these.
    """
    if not isinstance(operation, Operation):
        raise ConfigError(f"{operation!r} is no operation: is there an await missing?")
    if operation._services.poller is not poller:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        raise ConfigError(f"{operation.ref} is of another Client: pass this one's attach(ref)")
