"""The runs of one test session: one batch on the ledger, by one client in a thread of its own.

pytest is synchronous, the client is not: the batch is a task in the thread's event loop, and each
run a future in pytest's thread. It decides when runs are dispatched, whether one is dispatched
again, and which artifacts are downloaded. It never decides what a run means for a test.

The processes of a session make the same call, with the same key: the ledger then gives each of them
the same runs. A run is another's only as long as that is in flight: what it means is read from the
service, or from the outcome that the other process stored.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from functools import cached_property, partial
from inspect import signature
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import evolve, field, frozen
from attrs.validators import instance_of

from testvibe_async import Batch, BatchItem, Client, Hooks, Project, Run, SqliteLedger, errors
from testvibe_async._core.artifacts import safe_paths
from testvibe_async.pytest_plugin.results import Result
from testvibe_async.reports.entries import Entry
from testvibe_async.runner.history import Place, running
from testvibe_async.runner.names import choose_project, chosen_configs, default_ledger
from testvibe_async.runner.quarantine import Quarantine
from testvibe_async.runner.selection import Selection, listed_configs, select
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from testvibe_async.events import OutageEnded, OutageStarted
    from testvibe_async.pytest_plugin.leftovers import SeenRuns
    from testvibe_async.pytest_plugin.options import Options

T = TypeVar("T")

HEAD_START = 3.0
"""Seconds by which a process whose test already waits begins later than the first process."""

MAX_OUTAGE: float = signature(Client).parameters["max_outage"].default
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
    """The feature's id, if the service may read its name as something else."""

    @property
    def word(self) -> int | str:
        """The feature in a request to the service: its id if known, or its name."""
        return self.feature_id or self.feature

    def __str__(self) -> str:
        """Return the name of its item."""
        return self.feature if self.config is None else f"{self.feature}[{self.config}]"


_Futures: TypeAlias = "dict[RunRequest, Future[Result]]"
"""By request, the future result; a test that runs again gets another one."""

_Jobs: TypeAlias = "defaultdict[tuple[str, str | None], _Futures]"
"""By feature and configuration, the requests of one batch that share a run."""


class Suite:
    """The runs of one session; its methods are for pytest's thread, and may block."""

    def __init__(
        self,
        options: Options,
        key: str,
        tell: Callable[[OutageStarted | OutageEnded], None],
    ) -> None:
        """Create it; nothing is sent yet.

        Args:
            options: The session's.
            key: The key of the session's batch in the ledger, common to all of its processes.
            tell: Called with outages of the service and their ends, in the client's thread.

        Raises:
            ConfigError: Settings, the site or the quarantine are wrong, or the ledger has no place.
        """
        self.options: Options = options
        self.planned: Sequence[RunRequest] = ()
        """The runs of the session's batch, the same in each of its processes."""
        self._batches: list[Batch[Run]] = []
        self._key = key
        self._spec = BatchSpec(
            kind="run",
            configs=options.config,
            site_url=options.site_url,
            attempts=options.attempts,
            max_in_flight=options.max_in_flight,
            quarantine=Quarantine.read(),
            is_named=options.key is not None,
        )
        interval = options.poll_interval
        given: dict[str, Any] = {} if interval is None else {"poll_interval": interval}
        try:
            ledger = default_ledger()
        except (ImportError, OSError) as error:
            what = "name a file for the ledger with TESTVIBE_LEDGER"
            raise errors.ConfigError(f"{what}: {error}") from error
        hooks = Hooks(on_outage_started=tell, on_outage_ended=tell)
        self._client = Client(project=options.project, ledger=ledger, hooks=hooks, **given)
        self._stack = ExitStack()
        self._lists: dict[str, asyncio.Future[Any]] = {}
        """The list calls, each made once."""
        self._results: _Futures = {}
        self._asked: Counter[str] = Counter()
        """By node id, the number of times that its result was asked for."""

    def __str__(self) -> str:
        """Name the service and the project.

        Raises:
            ConfigError: The session has no project.
        """
        return f"project {self._project(None).id} of {self._client.server}"

    @cached_property
    def _portal(self) -> BlockingPortal:
        """The thread with the client's event loop, started at first use.

        Raises:
            ConfigError: The ledger's file is none, or can't be written.
        """
        portal = self._stack.enter_context(start_blocking_portal(name="testvibe"))
        self._stack.enter_context(portal.wrap_async_context_manager(self._client))
        return portal

    def close(self) -> None:
        """Close the client; nothing is cancelled at the service, see `seen`."""
        self._stack.close()

    def select(self, words: Sequence[str]) -> Selection:
        """Return the features that words mean, and the configurations of the options.

        Raises as `runner.selection.select`.
        """
        return self._portal.call(self._select, words)

    async def _select(self, words: Sequence[str]) -> Selection:
        spec = evolve(self._spec, features=words)
        return await select(await self._found(None), spec, max_outage=MAX_OUTAGE)

    def start(self, *, delay: float = 0.0) -> None:
        """Dispatch the planned runs, except if they already were, and return at once.

        Args:
            delay: Seconds after which to begin. Another process then has the answers to its own
                dispatches, which this one takes from the ledger.

        Raises:
            ConfigError: A run names no project, and the session has none.
        """
        if requests := [each for each in self.planned if each not in self._results]:
            self._dispatch(requests, self._key, delay)

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
        self.start(delay=min(HEAD_START, self.options.poll_interval or HEAD_START))
        count = self._asked[node_id]
        self._asked[node_id] += 1
        future = self._results.get(request)
        if future is None or (count and self._may_repeat(future)):
            self._dispatch([request], f"{self._key} {node_id} {count}")
        return self._results[request].result()

    def _may_repeat(self, future: Future[Result]) -> bool:
        if not future.done() or future.exception():
            return future.done()
        result = future.result()
        if result.entry.item.outcome is not None:
            return self.options.attempts == 1
        return result.is_settled

    @property
    def seen(self) -> SeenRuns:
        """The runs of this process."""
        return {
            (ref.server, ref.project, ref.run_id): item.outcome is not None
            for batch in self._batches
            for item in batch.items
            if (ref := item.ref) is not None
        }

    def _dispatch(self, requests: Sequence[RunRequest], key: str, delay: float = 0.0) -> None:
        for request in requests:
            self._project(request.project)
        futures: _Futures = {request: Future() for request in requests}
        self._portal.start_task_soon(self._run_all, futures, key, delay)
        self._results |= futures

    async def _run_all(self, futures: _Futures, key: str, delay: float) -> None:
        """Run a batch for each project and site of some requests; tests have one, as a rule."""
        await anyio.sleep(delay)
        batches: dict[tuple[str, str | None], _Jobs] = {}
        for request, future in futures.items():
            try:
                project, config = await self._place_of(request)
            except Exception as error:  # noqa: BLE001 - its test raises it
                future.set_exception(error)
            else:
                jobs = batches.setdefault((project.id, request.site_url), defaultdict(dict))
                jobs[str(request.word).casefold(), config][request] = future
        async with anyio.create_task_group() as group:
            for (project_id, site_url), jobs in batches.items():
                own_key = key if site_url == self.options.site_url else f"{key} {site_url}"
                group.start_soon(self._run, self._client.project(project_id), jobs, own_key)

    async def _place_of(self, request: RunRequest) -> tuple[Project, str | None]:
        """Return the project of a request, and its configuration as the service spells it.

        Raises:
            VibeError: There is no such project or configuration, or the site is none.
        """
        project = await self._found(request.project)
        evolve(self._spec, site_url=request.site_url)  # It refuses what is no site.
        if request.config is None:
            return project, None
        listed = partial(listed_configs, project)
        known = await self._once(f"configurations of {project.id}", listed)
        return project, chosen_configs([request.config], known)[0]

    async def _run(self, project: Project, jobs: _Jobs, key: str) -> None:
        """Run a batch, and hand out its results as they come."""
        failure: Exception = errors.VibeError(
            "it is the feature of another test, which has its name, or its id: use the same word"
        )
        finishing: list[asyncio.Task[None]] = []
        try:
            ledger, place = self._client.ledger, Place(self._client.server, project.id)
            assert isinstance(ledger, SqliteLedger)
            self._batches.append(batch := self._batch(project, jobs, key))
            async with running(batch, ledger, place):
                async for item in batch:
                    own = jobs[str(item.feature).casefold(), item.config]
                    finishing.append(asyncio.create_task(self._finish(own, item, project)))
            await asyncio.gather(*finishing)
        except Exception as error:  # noqa: BLE001 - likewise
            failure = error
        finally:
            for future in chain.from_iterable(each.values() for each in jobs.values()):
                if not future.done():
                    future.set_exception(failure)

    def _batch(self, project: Project, jobs: _Jobs, key: str) -> Batch[Run]:
        requests = [(next(iter(futures)), config) for (_, config), futures in jobs.items()]
        spec = evolve(self._spec, site_url=requests[0][0].site_url)
        return spec.start(
            project,
            [BatchItem["Run"](feature=each.word, config=config) for each, config in requests],
            timeout=self.options.timeout * ceil(len(jobs) / spec.in_flight),
            key=key,
        )

    async def _finish(self, futures: _Futures, item: BatchItem[Run], project: Project) -> None:
        """Hand out a result, with what else is known of a feature that was refused."""
        request = next(iter(futures))
        with suppress(errors.ResponseError, errors.TransportError):
            match item.error:
                case errors.NotFoundError() if request.feature_id is None:
                    try:
                        await select(project, evolve(self._spec, features=[request.feature]))
                    except errors.ConfigError as error:  # It says which name was meant.
                        item.error.add_note(str(error))
                case errors.FeatureNotGeneratedError():
                    if (await project.get_feature(item.feature)).is_suggestion:
                        item.error.add_note("It is only a suggestion of the service")
                case _:
                    pass
        result = await self._with_artifacts(item, request, project)
        for future in futures.values():
            future.set_result(result)

    async def _with_artifacts(
        self, item: BatchItem[Run], request: RunRequest, project: Project
    ) -> Result:
        """Download the artifacts of each run that failed, if that was asked for."""
        found: dict[int, list[Path]] = {}
        problem = None
        of_project = f" of {request.project}" if request.project else ""
        try:
            for run in item.attempts:
                if self.options.artifacts is not None and not run.is_success:
                    name = re.sub(r"[/\\]", "_", f"{request}{of_project} run {run.run_id}")
                    own = self.options.artifacts / safe_paths([name])[0]
                    found[run.run_id] = await project.download_artifacts(run.run_id, own)
        except (errors.ConfigError, errors.TransportError, errors.ResponseError, OSError) as error:
            problem = str(error)
        return Result(Entry(item=item, artifacts=found), problem, has_log=self.options.log)

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
        return self._client.project(await self._once(f"project {wanted}", call))

    async def _once(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a call for a list, which is made once."""
        if what not in self._lists:
            self._lists[what] = asyncio.ensure_future(call())
        found: T = await self._lists[what]
        return found
