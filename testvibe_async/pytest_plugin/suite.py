"""The runs of one test session: dispatched together, by one client in a thread of its own.

pytest is synchronous, the client is not: each run is a task in the thread's event loop, and a
future in pytest's thread. It decides when a run is dispatched, whether it is dispatched again, and
which artifacts are downloaded. It never decides what a run means for a test.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import evolve, field, frozen
from attrs.validators import instance_of

from testvibe_async import BatchItem, Client, Hooks, Project, Ref, Run, errors, events
from testvibe_async._artifacts import safe_paths
from testvibe_async.models import Phase
from testvibe_async.pytest_plugin.results import Result
from testvibe_async.reports.entries import Entry
from testvibe_async.reports.reasons import why
from testvibe_async.runner.names import choose_project, chosen_configs
from testvibe_async.runner.quarantine import Quarantine
from testvibe_async.runner.selection import Selection, listed_configs, select
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from testvibe_async.pytest_plugin.options import Options

T = TypeVar("T")

MAX_OUTAGE = 300.0
"""Seconds of an outage after which lists are abandoned, as a client abandons its polls."""


def _text() -> Any:  # noqa: ANN401 - the type checkers' word for a field
    return field(default=None, kw_only=True, validator=instance_of(str | None))


@frozen
class RunRequest:
    """A run that tests ask for, with the arguments of a marker; equal requests share one run."""

    feature: str
    config: str | None = _text()
    site_url: str | None = _text()
    project: str | None = _text()
    """The project's id or name; None for the session's."""

    feature_id: int | None = field(default=None, kw_only=True)
    """The feature's id, if the service would read its name as another id."""

    def __str__(self) -> str:
        """Return the name of its item."""
        return self.feature if self.config is None else f"{self.feature}[{self.config}]"


class Suite:
    """The runs of one session; its methods are for pytest's thread, and may block."""

    def __init__(
        self, options: Options, tell: Callable[[events.OutageStarted | events.OutageEnded], None]
    ) -> None:
        """Create it; nothing is sent yet.

        Args:
            options: The session's.
            tell: Called with outages of the service and their ends, in the client's thread.

        Raises:
            ConfigError: Settings, the site or the quarantine are wrong.
        """
        self.options: Options = options
        self._spec = BatchSpec(
            kind="run",
            configs=options.config,
            site_url=options.site_url,
            attempts=options.attempts,
        )
        self._quarantine = Quarantine.read()
        self._client = Client(
            project=options.project,
            poll_interval=options.poll_interval,
            hooks=Hooks(
                on_dispatched=self._follow,
                on_transition=self._follow,
                on_retry=self._note_failure,
                on_outage_started=tell,
                on_outage_ended=tell,
            ),
        )
        self._stack = ExitStack()
        self._slots = anyio.Semaphore(options.max_in_flight)
        self._lists: dict[tuple[str, str], Any] = {}
        """The results of list calls, each made once."""

        self._listing = anyio.Lock()
        self._failure: errors.VibeError | None = None
        """The last failure of a request that was sent again."""

        self._results: dict[RunRequest, Future[Result]] = {}
        self._asked: set[str] = set()
        """The node ids that asked for their result."""

        self.in_flight: dict[tuple[object, ...], Ref] = {}
        """The operations that were dispatched and are not known to be finished, by their keys."""

    def __str__(self) -> str:
        """Name the service and the project.

        Raises:
            ConfigError: The session has no project.
        """
        return f"project {self._project(None).id} of {self._client.server}"

    @cached_property
    def _portal(self) -> BlockingPortal:
        """The thread with the client's event loop, started at first use."""
        portal = self._stack.enter_context(start_blocking_portal(name="testvibe"))
        self._stack.callback(portal.call, self._client.aclose)
        return portal

    def select(self, words: Sequence[str]) -> Selection:
        """Return the features that words mean, and the configurations of the options.

        What has no tests yet is among them: its own test says so. Raises as
        `runner.selection.select`.
        """
        return self._portal.call(self._selected, words)

    async def _selected(self, words: Sequence[str]) -> Selection:
        project = await self._found(None)
        spec = evolve(self._spec, features=words)
        call = partial(select, project, spec, max_outage=MAX_OUTAGE, keeps_untested=True)
        return await self._listed("features", project.id, call)

    def start(self, requests: Iterable[RunRequest]) -> None:
        """Dispatch runs, except those that already were, and return at once.

        Raises:
            ConfigError: One names no project, and the session has none.
        """
        for request in requests:
            if request not in self._results:
                self._project(request.project)
                self._start(request)

    def result(self, request: RunRequest, node_id: str) -> Result:
        """Wait for the result of a run; dispatch it if it was not.

        A test that asks again, to run again, gets another run, unless the first had all of its
        attempts, or may still be running.

        Args:
            request: The run.
            node_id: The test that asks.

        Raises:
            VibeError: It could not even be tried.
        """
        if node_id in self._asked and self._may_repeat(self._results.get(request)):
            self._start(request)
        self._asked.add(node_id)
        self.start([request])
        return self._results[request].result()

    def _may_repeat(self, future: Future[Result] | None) -> bool:
        if future is None or not future.done():
            return False
        if future.exception():
            return True
        result = future.result()
        if result.entry.item.outcome is not None:
            return self.options.attempts == 1
        return result.is_settled

    def close(self) -> None:
        """Close the client; nothing is cancelled at the service, see `in_flight`."""
        self._stack.close()

    def _start(self, request: RunRequest) -> None:
        self._results[request] = self._portal.start_task_soon(self._finished, request)

    async def _finished(self, request: RunRequest) -> Result:
        async with self._slots:
            project = await self._found(request.project)
            item = await self._dispatched(request, project)
        return await self._with_artifacts(item, request, project)

    async def _dispatched(self, request: RunRequest, project: Project) -> BatchItem[Run]:
        config = request.config
        if config is not None:
            call = partial(listed_configs, project)
            known = await self._listed("configurations", project.id, call)
            (config,) = chosen_configs([config], known)
        job = BatchItem["Run"](feature=request.feature_id or request.feature, config=config)
        (item,) = await evolve(self._spec, site_url=request.site_url).start(
            project, [job], timeout=self.options.timeout, quarantine=self._quarantine
        )
        if isinstance(item.error, errors.NotFoundError) and request.feature_id is None:
            wanted = evolve(self._spec, features=[request.feature])
            try:
                await select(project, wanted)
            except errors.ConfigError as error:  # It says which name was meant.
                item.error.add_note(str(error))
        return item

    async def _with_artifacts(
        self, item: BatchItem[Run], request: RunRequest, project: Project
    ) -> Result:
        """Download the artifacts of each run that failed, if that was asked for."""
        found: dict[int, list[Path]] = {}
        problem = None
        try:
            for run in item.attempts:
                if self.options.artifacts is not None and not run.is_success:
                    own = self.options.artifacts / _directory(request, run)
                    found[run.run_id] = await project.download_artifacts(run.run_id, own)
        except (errors.ConfigError, errors.TransportError, errors.ResponseError, OSError) as error:
            problem = str(error)
        return Result(Entry(item=item, artifacts=found), problem)

    def _project(self, name: str | None) -> Project:
        """Return the project of an id or a name, which may not be there; None for the session's.

        Raises:
            ConfigError: The session has none.
        """
        try:
            return self._client.project(name)
        except errors.ConfigError:
            raise errors.ConfigError(
                "no project: pass --testvibe-project, set TESTVIBE_PROJECT, or choose one with "
                "testvibe-async use"
            ) from None

    async def _found(self, name: str | None) -> Project:
        """Return a project with its id, which is looked up for a name."""
        wanted = self._project(name).id
        call = partial(choose_project, self._client, wanted, max_outage=MAX_OUTAGE)
        return self._client.project(await self._listed("projects", wanted, call))

    async def _listed(self, what: str, of: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a call lists, once, within the time that a feature is waited for."""
        async with self._listing:
            if (what, of) not in self._lists:
                self._failure = None
                try:
                    with anyio.fail_after(self.options.timeout):
                        self._lists[what, of] = await call()
                except TimeoutError as error:
                    within = f"from {self._client.server} within {self.options.timeout:g} s"
                    reason = f": {why(self._failure)}" if self._failure else ""
                    raise errors.VibeError(
                        f"the list of {what} did not come {within}{reason}"
                    ) from error
            found: T = self._lists[what, of]
            return found

    def _note_failure(self, event: events.RetryScheduled) -> None:
        self._failure = event.error

    def _follow(self, event: events.Dispatched | events.StatusChanged) -> None:
        if isinstance(event, events.StatusChanged) and event.transition.phase is Phase.FINISHED:
            self.in_flight.pop(event.ref.key, None)
        else:
            self.in_flight[event.ref.key] = event.ref


def _directory(request: RunRequest, run: Run) -> str:
    """Return the name of a directory for a run's artifacts, valid on every system."""
    place = f" of {request.project}" if request.project else ""
    name = re.sub(r"[/\\]", "_", f"{request}{place} run {run.run_id}")
    return safe_paths([name])[0]
