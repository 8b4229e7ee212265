"""The runs of one test session: dispatched together, by one client in a thread of its own.

pytest is synchronous, the client is not: each run is a task in the thread's event loop, and a
future in pytest's thread. It decides when a run is dispatched and its artifacts are downloaded. It
never decides what a run means for a test.
"""

from __future__ import annotations

import re
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.from_thread import start_blocking_portal
from attrs import astuple, evolve, frozen

from testvibe_async import (
    Client,
    ConfigError,
    DispatchUnknownError,
    FeatureNotGeneratedError,
    Hooks,
    OutcomeUnknownError,
    Phase,
    ResponseError,
    RunRef,
    TransportError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async._artifacts import safe_paths
from testvibe_async.pytest_plugin.journals import Journals
from testvibe_async.runner.names import choose_project, is_project_id
from testvibe_async.runner.selection import select
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from anyio.from_thread import BlockingPortal

    from testvibe_async import BatchItem, Project, Ref, Run
    from testvibe_async.events import Dispatched, OutageEnded, OutageStarted, StatusChanged
    from testvibe_async.pytest_plugin.options import Options
    from testvibe_async.runner.selection import Selection

__all__ = ["FinishedRun", "RunRequest", "Suite"]

T = TypeVar("T")

MAX_OUTAGE = 300.0
"""Seconds of an outage after which lists are given up, as a client gives up its polls."""


@frozen
class RunRequest:
    """A run that tests ask for; equal requests share one run."""

    feature: str
    config: str | None = None
    site_url: str | None = None
    project: str | None = None
    """The project's id or name; None for the session's."""

    feature_id: int | None = None
    """The feature's id, if the service would read its name as another id."""

    def __str__(self) -> str:
        """Return the name of its item."""
        return self.feature if self.config is None else f"{self.feature}[{self.config}]"


@frozen
class FinishedRun:
    """A finished run, with its downloaded artifacts."""

    run: Run
    earlier: tuple[Run, ...] = ()
    """The runs of the attempts before, oldest first; each of them failed."""

    artifacts: tuple[Path, ...] = ()
    """The downloaded files."""

    artifacts_error: str | None = None
    """The reason why the download failed; None if it did not."""

    @property
    def is_flaky(self) -> bool:
        """Whether it passed after an attempt that failed."""
        return bool(self.earlier) and self.run.is_success


class Suite:
    """The runs of one session; its methods are for pytest's thread, and may block."""

    def __init__(
        self, options: Options, tell: Callable[[OutageStarted | OutageEnded], None]
    ) -> None:
        """Make it; nothing is sent yet.

        Args:
            options: The session's.
            tell: Called with outages of the service and their ends, in the client's thread.
        """
        self._options = options
        self._client = Client(
            project=options.project,
            poll_interval=options.poll_interval,
            hooks=Hooks(
                on_dispatched=self._add,
                on_transition=self._follow,
                on_outage_started=tell,
                on_outage_ended=tell,
            ),
        )
        self._journals = Journals(options.journal)
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._slots = anyio.Semaphore(options.max_in_flight)
        self._runs: dict[RunRequest, Future[FinishedRun]] = {}
        self._in_flight: dict[tuple[object, ...], Ref] = {}
        self._project_ids: dict[str, str] = {}
        """The ids of the projects that are called by a name."""

    def __str__(self) -> str:
        """Name the service and the project."""
        return f"project {self.named_project().id} of {self._client.server}"

    @property
    def in_flight(self) -> list[Ref]:
        """The operations that were dispatched and are not known to be finished."""
        return list(self._in_flight.values())

    def project(self, project: str | None = None) -> Project:
        """Return a project, by default the session's. A name is looked up, once.

        Raises:
            ConfigError: The session has none, or there is none of that name.
            VibeError: The name could not be looked up.
        """
        found = self.named_project(project)
        if is_project_id(found.id):
            return found
        if found.id not in self._project_ids:
            self._project_ids[found.id] = self._ask(
                "the list of projects",
                lambda: choose_project(self._client, found.id, max_outage=MAX_OUTAGE),
            )
        return self._client.project(self._project_ids[found.id])

    def named_project(self, project: str | None = None) -> Project:
        """Return a project by what it is called, without I/O.

        Raises:
            ConfigError: The session has none.
        """
        try:
            return self._client.project(project)
        except ConfigError:
            raise ConfigError(
                "no project: set TESTVIBE_PROJECT, or pass --testvibe-project"
            ) from None

    def select(self, words: Sequence[str]) -> Selection:
        """Return the features that words mean, and the configurations of the options.

        What can't be run is among them: its test says why. Raises as `runner.selection.select`.
        """
        project = self.project()
        spec = BatchSpec(
            kind="run", features=words, configs=self._options.config, on_conflict="generate"
        )
        return self._ask(
            "the list of features", lambda: select(project, spec, max_outage=MAX_OUTAGE)
        )

    def _ask(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Ask the service for something, for as long as a feature is waited for.

        Raises:
            TransportError: It did not come in time.
        """
        return self._thread().call(self._in_time, what, call)

    async def _in_time(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            with anyio.fail_after(self._options.timeout):
                return await call()
        except TimeoutError as error:
            what = f"{what} did not come within {self._options.timeout:g} s"
            raise OutcomeUnknownError(what, method="GET", url=self._client.server) from error

    def start(self, requests: Iterable[RunRequest]) -> None:
        """Dispatch runs, except those that already were, and return at once.

        Raises:
            ConfigError: One names no project, and the session has none.
        """
        for request in requests:
            if request not in self._runs:
                self._start(request)

    def run(self, request: RunRequest, *, anew: bool = False) -> FinishedRun:
        """Wait for a run; dispatch it if it was not.

        Args:
            request: The run.
            anew: True to dispatch another one if it is finished. One that may go on at the service
                is waited for again, and one that nobody can say of whether it began stays so.

        Raises:
            VibeError: It could not be dispatched, or not be polled to its end.
        """
        future = self._runs.get(request)
        if anew and future is not None and future.done():
            error = future.exception()
            if _is_settled(error):
                self._journals.discard(*self._identity(request))
            if not self._is_final(error):
                self._start(request, going_on=getattr(error, "ref", None))
        self.start([request])
        return self._runs[request].result()

    def _is_final(self, error: BaseException | None) -> bool:
        """Return True if a run may not be followed by another, whatever asks for one."""
        if error is None:  # with `attempts`, it has had all of its runs
            return self._options.attempts > 1
        if isinstance(error, FeatureNotGeneratedError):  # another generation costs credits
            return self._options.generate
        return isinstance(error, DispatchUnknownError)

    def next_finished(
        self, candidates: Collection[RunRequest], *, timeout: float | None
    ) -> RunRequest | None:
        """Wait for the first of some runs that finishes, or fails to be dispatched or polled.

        Args:
            candidates: The runs.
            timeout: Seconds to wait; None for as long as it takes.
        """
        self.start(candidates)
        runs = {request: self._runs[request] for request in candidates}
        if not any(run.done() for run in runs.values()):
            wait(runs.values(), timeout, return_when=FIRST_COMPLETED)
        return next((request for request, run in runs.items() if run.done()), None)

    def close(self, *, is_whole: bool = True) -> None:
        """Close the client; nothing is cancelled at the service, see `in_flight`.

        Args:
            is_whole: False if the session was ended early, and is to go on when it is run again:
                then all journals are kept, and not only those of what goes on.
        """
        runs = self._runs.items() if is_whole else ()
        settled = [each for each, run in runs if run.done() and _is_settled(run.exception())]
        with self._stack:
            if self._portal is not None:
                self._portal.call(self._client.aclose)
        for request in settled:
            self._journals.discard(*self._identity(request))

    def _thread(self) -> BlockingPortal:
        if self._portal is None:
            self._portal = self._stack.enter_context(start_blocking_portal(name="testvibe"))
        return self._portal

    def _start(self, request: RunRequest, *, going_on: Ref | None = None) -> None:
        project = self.project(request.project)
        self._runs[request] = self._thread().start_task_soon(
            self._run_to_end, project, request, going_on
        )

    async def _run_to_end(
        self, project: Project, request: RunRequest, going_on: Ref | None
    ) -> FinishedRun:
        async with self._slots:
            if isinstance(going_on, RunRef):
                operation = self._client.attach(going_on)
                finished = FinishedRun(await operation.wait(timeout=self._options.timeout))
            else:
                finished = await self._dispatched_and_finished(project, request)
        _require_tests(finished.run)
        return await self._download(finished, request, project)

    async def _dispatched_and_finished(self, project: Project, request: RunRequest) -> FinishedRun:
        feature = request.feature if request.feature_id is None else request.feature_id
        identity, timeout = self._identity(request), self._options.timeout
        async with self._journals.open(*identity, timeout=timeout) as journal:
            (item,) = await project.run_features(
                [feature],
                config=request.config,
                site_url=request.site_url,
                on_conflict="generate" if self._options.generate else "raise",
                timeout=timeout,
                attempts=self._options.attempts,
                journal=journal,
            )
        return FinishedRun(_outcome_of(item, timeout), item.earlier)

    async def _download(
        self, finished: FinishedRun, request: RunRequest, project: Project
    ) -> FinishedRun:
        """Download the artifacts of each run that failed, if that was asked for."""
        paths: list[Path] = []
        problem = None
        try:
            for run in (*finished.earlier, finished.run):
                if self._options.artifacts is not None and not run.is_success:
                    own = self._options.artifacts / _directory(request, run)
                    paths += await project.download_artifacts(run.run_id, own)
        except (ConfigError, TransportError, ResponseError, OSError) as error:
            problem = str(error)
        return evolve(finished, artifacts=tuple(paths), artifacts_error=problem)

    def _add(self, event: Dispatched) -> None:
        self._in_flight[event.ref.key] = event.ref

    def _follow(self, event: StatusChanged) -> None:
        if event.transition.phase is Phase.FINISHED:
            self._in_flight.pop(event.ref.key, None)
        else:  # What a session before this one dispatched is seen here first.
            self._in_flight[event.ref.key] = event.ref

    def _identity(self, request: RunRequest) -> tuple[object, ...]:
        """Return what the journal of a run is named after."""
        project = self.project(request.project).id
        return (self._client.server, project, *astuple(evolve(request, project=None)))


def _is_settled(error: BaseException | None) -> bool:
    """Return True if nothing that a run began can go on at the service."""
    return getattr(error, "ref", None) is None and not isinstance(error, DispatchUnknownError)


def _outcome_of(item: BatchItem[Run], timeout: float) -> Run:
    """Return the outcome of a batch's only item; raise why there is none."""
    if item.outcome is not None:
        return item.outcome
    what = f"the run of {item.feature} was not dispatched"
    error = item.error or WaitTimeoutError(what, ref=None, status=None, elapsed=timeout)
    for run in item.earlier:
        error.add_note(f"run {run.run_id}, an attempt before, {run.status}")
    raise error


def _require_tests(run: Run) -> None:
    """Refuse a run that passed, and executed no test or reports none: it shows nothing."""
    reports_none = run.is_success and run.summary is None and not run.tests
    if run.executed_nothing or reports_none:
        raise VibeError(f"run {run.run_id} passed, but executed no test: it shows nothing")


def _directory(request: RunRequest, run: Run) -> str:
    """Return the name of a directory for a run's artifacts, valid on every system."""
    place = f" of {request.project}" if request.project else ""
    name = re.sub(r"[/\\]", "_", f"{request}{place} run {run.run_id}")
    return safe_paths([name])[0]
