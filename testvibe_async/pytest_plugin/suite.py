"""The runs of one test session: dispatched together, by one client in a thread of its own.

pytest is synchronous, the client is not: each run is a task in the thread's event loop, and a
future in pytest's thread. It decides when a run is dispatched, whether it is dispatched again, and
which artifacts are downloaded. It never decides what a run means for a test.

With `--testvibe-journal` each run has a journal of its own, because the next session may ask for
other features, in another order, in other workers.
"""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack, ExitStack
from functools import cached_property, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import astuple, evolve, field, frozen
from attrs.validators import instance_of

from testvibe_async import BatchItem, Client, Hooks, Journal, Project, Ref, Run, errors, events
from testvibe_async._artifacts import safe_paths
from testvibe_async.journal import files_of, is_in_use
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

RETRY_SECONDS = 0.5
"""Interval at which a journal is tried that another worker has."""


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
            OSError: The directory of journals can't be made.
        """
        self.options: Options = options
        self._spec = BatchSpec(
            kind="run",
            configs=options.config,
            site_url=options.site_url,
            on_conflict="generate" if options.generate else "raise",
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
        if options.journal is not None:
            options.journal.mkdir(parents=True, exist_ok=True)
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

        self._journals: dict[RunRequest, Path] = {}
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

        What can't be run is among them: its test says why. Raises as `runner.selection.select`.
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

        A test that asks again, to run again, gets another run, unless the first may not be followed
        by one: it had all of its attempts, it may still be running, or it would cost another
        generation.

        Args:
            request: The run.
            node_id: The test that asks.

        Raises:
            VibeError: It could not even be tried.
        """
        if node_id in self._asked and self._may_repeat(self._results.get(request)):
            self._discard(request)
            self._start(request)
        self._asked.add(node_id)
        self.start([request])
        return self._results[request].result()

    def _may_repeat(self, future: Future[Result] | None) -> bool:
        if future is None or not future.done():
            return False
        if future.exception():
            return True
        result, item = future.result(), future.result().entry.item
        if item.outcome is not None:
            return self.options.attempts == 1
        is_refused = isinstance(item.error, errors.FeatureNotGeneratedError)
        is_paid = self.options.generate and (is_refused or item.generation_ref is not None)
        return result.is_settled and not is_paid

    def close(self, *, is_whole: bool = True) -> None:
        """Close the client; nothing is cancelled at the service, see `in_flight`.

        Args:
            is_whole: False if the session was ended early, and is to resume when it is run again:
                then all journals are kept, and not only those of what is still running.
        """
        done = {each: result for each, result in self._results.items() if result.done()}
        self._stack.close()
        for request, result in done.items() if is_whole else ():
            # One that could not be opened may be another worker's.
            if not result.exception() and result.result().is_settled:
                self._discard(request)

    def _start(self, request: RunRequest) -> None:
        self._results[request] = self._portal.start_task_soon(self._finished, request)

    async def _finished(self, request: RunRequest) -> Result:
        async with self._slots:
            project = await self._found(request.project)
            item = await self._dispatched(request, project)
        return await self._with_artifacts(item, request, project)

    async def _dispatched(self, request: RunRequest, project: Project) -> BatchItem[Run]:
        timeout, config = self.options.timeout, request.config
        if self.options.journal is not None:
            place = (self._client.server, project.id, *astuple(evolve(request, project=None)))
            digest = sha256(json.dumps(place).encode()).hexdigest()
            self._journals[request] = self.options.journal / f"{digest[:32]}.sqlite"
        if config is not None:
            call = partial(listed_configs, project)
            known = await self._listed("configurations", project.id, call)
            (config,) = chosen_configs([config], known)
        job = BatchItem["Run"](feature=request.feature_id or request.feature, config=config)
        async with AsyncExitStack() as stack:
            journal = None
            if path := self._journals.get(request):
                journal = await open_journal(stack, path, timeout=timeout)
            (item,) = await evolve(self._spec, site_url=request.site_url).start(
                project, [job], timeout=timeout, journal=journal, quarantine=self._quarantine
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

    def _discard(self, request: RunRequest) -> None:
        """Remove a run's journal, so that the run is dispatched again."""
        path = self._journals.get(request)
        for file in files_of(path) if path else ():
            file.unlink(missing_ok=True)

    def _follow(self, event: events.Dispatched | events.StatusChanged) -> None:
        if isinstance(event, events.StatusChanged) and event.transition.phase is Phase.FINISHED:
            self.in_flight.pop(event.ref.key, None)
        else:  # What a session before this one dispatched is first seen in a transition.
            self.in_flight[event.ref.key] = event.ref


async def open_journal(stack: AsyncExitStack, path: Path, *, timeout: float) -> Journal:
    """Open a run's journal; wait while another worker, which asks for the same run, has it.

    Args:
        stack: Closes it.
        path: Its file.
        timeout: Seconds to wait.

    Raises:
        ConfigError: It can't be opened, or was in use all that time.
    """
    deadline = anyio.current_time() + timeout
    while True:
        try:
            return await stack.enter_async_context(Journal(path))
        except errors.ConfigError as error:
            if not is_in_use(error) or anyio.current_time() > deadline:
                raise
            await anyio.sleep(RETRY_SECONDS)


def _directory(request: RunRequest, run: Run) -> str:
    """Return the name of a directory for a run's artifacts, valid on every system."""
    place = f" of {request.project}" if request.project else ""
    name = re.sub(r"[/\\]", "_", f"{request}{place} run {run.run_id}")
    return safe_paths([name])[0]
