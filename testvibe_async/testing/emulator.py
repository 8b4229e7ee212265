"""The emulator: the service in this process, on real loopback sockets.

The page to read first. It puts the parts together, starts and closes them, and is the interface for
tests. A request passes `origin`, `api`, `operations` and `service`, in this order. It
never decides what the service answers.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from difflib import get_close_matches
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .answers import Refusal
from .api import Api, Middleware, receive_download
from .gherkin import NEVER_GENERATED, SHOP_EXCEPTIONS, cases_of, read_folder, read_shop
from .operations import OPERATIONS
from .origin import Origin
from .requests import DOWNLOAD, Fault, RecordedRequest, Rule, faults_of
from .scenario import EmulatorClock, GenerationStatus, RunStatus, Scenario
from .service import Links, Service

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from .generation import Generation
    from .project import Feature, Project
    from .run import Run

_logger = logging.getLogger(__name__)

_API_KEY = "tvb_" + "EmulatorOnly" + "0" * 31
_PROJECT_ID = "7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"
_SHOP = ("Acme Shop", "https://shop.acme.example")


class Emulator:
    """TestVibe in this process, for tests, demonstrations and development.

    For example::

        async with Emulator() as emulator:
            ...  # a server at emulator.url, with emulator.api_key and emulator.project_id

    It starts with one project, a small shop. Its state depends only on the clock, so that on a
    `VirtualTimeLoop` minutes pass at once.
    """

    def __init__(  # noqa: PLR0913 - independent options
        self,
        *,
        features: Path | str | None = None,
        shop: bool = True,
        scenario: Scenario | None = None,
        lists: bool = True,
        credits: int | None = None,  # noqa: A002 - the service's own word
        link_lifetime: float = 300.0,
        clock: Callable[[], float] | None = None,
        speed: float = 1.0,
        epoch: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = _API_KEY,
        project_id: str = _PROJECT_ID,
        record: bool = True,
        retention: int | None = None,
        strict: bool = False,
        rate_limit: float | None = None,
        dispatch_lag: float = 0.0,
        middleware: Middleware | None = None,
    ) -> None:
        """Make an emulator; `start`, or `async with`, makes it listen.

        Args:
            features: A folder of `*.feature` files to start with, in place of the shop's. They
                count as generated.
            shop: True to start with the shop's features, if no folder is given.
            scenario: The durations and outcomes of operations. None: believable defaults.
            lists: True if `list_runs` and `list_features`, whose answers are assumed, have routes;
                otherwise both are answered with 404, as unknown routes are.
            credits: The number of generations that may be dispatched; one more is answered with
                403, which is assumed. None: any number.
            link_lifetime: Seconds of the emulator until a link to an artifact expires.
            clock: The source of the time, in seconds. None: the event loop's clock.
            speed: Seconds of the emulator per second of the clock.
            epoch: The Unix time of the start, in seconds. None: now.
            host: The address to listen on.
            port: The API's port. 0: any free one. The second origin always takes a free one.
            api_key: The key that clients have to send.
            project_id: The id of the project at the start.
            record: True to keep requests; False only counts them by operation, for benchmarks.
            retention: The number of the newest runs and generations to keep; an older run that is
                over is answered with 404. None: all.
            strict: True to refuse, with 400, members of a body and query parameters that the
                contract does not have, and a POST without a JSON body.
            rate_limit: Requests a second that the API serves, up to that many at once; one more is
                answered with 429 and `Retry-After`. None: any number.
            dispatch_lag: Seconds after a dispatch for which the new run, or the status of the new
                generation, is answered with 404.
            middleware: A layer between the clients and the service; None for none.

        Raises:
            ValueError: The folder has no features, the speed or the rate is not a number above 0,
                or the scenario lets a test fail that does not exist.
        """
        self.api_key = api_key
        self.project_id = project_id
        self._read_clock = clock
        self._clock = EmulatorClock(speed=speed, epoch=epoch)
        self._links = Links(self._clock, link_lifetime)
        self._service = Service(
            clock=self._clock,
            scenario=Scenario() if scenario is None else scenario,
            links=self._links,
            credits_left=credits,
            dispatch_lag=dispatch_lag,
            retention=retention,
        )
        self._middleware = Middleware() if middleware is None else middleware
        self._rules: list[Rule] = []
        api = Api(
            service=self._service,
            api_key=api_key,
            has_lists=lists,
            is_strict=strict,
            rate_limit=rate_limit,
            middleware=self._middleware,
        )
        find_faults = partial(faults_of, rules=self._rules)
        self._api = Origin(self._clock, api.receive, find_faults, record, host, port)
        receive = partial(receive_download, self._service)
        self._artifacts = Origin(self._clock, receive, find_faults, record, host)
        self.requests: list[RecordedRequest] = self._api.requests
        """All requests to the API, in the order of arrival."""
        self.artifact_requests: list[RecordedRequest] = self._artifacts.requests
        """All requests to the second origin, in the order of arrival."""
        self.runs: Mapping[int, Run] = self._service.runs
        """All runs, by id, in the order of their dispatch."""
        self.generations: Mapping[str, Generation] = self._service.generations
        """All generations, by request id, in the order of their dispatch."""
        self._project = self._service.add_project(*_SHOP, project_id=project_id)
        if features is not None:
            for name, gherkin in read_folder(Path(features)).items():
                self.add_feature(name, gherkin)
        elif shop:
            for name, gherkin in read_shop().items():
                self.add_feature(name, gherkin, **SHOP_EXCEPTIONS.get(name, {}))

    async def start(self) -> None:
        """Listen on both origins, and let time run.

        Raises:
            OSError: The address can't be bound.
            RuntimeError: It was started before.
        """
        if self.url:
            raise RuntimeError("This emulator was started before: make another one.")
        self._clock.start(self._read_clock or asyncio.get_running_loop().time)
        await self._listen()
        self._links.origin = self._artifacts.url

    async def _listen(self) -> None:
        await self._api.start()
        try:
            await self._artifacts.start()
        except BaseException:
            await self._api.aclose()
            raise

    async def aclose(self) -> None:
        """Drop all connections and stop listening; may be called twice. The records stay."""
        if unused := sorted(self._service.scenario.outcomes.keys() - self._names()):
            _logger.warning("no feature had the name of these outcomes: %s", unused)
        await self._hang_up()

    async def _hang_up(self) -> None:
        try:
            await self._api.aclose()
        finally:
            await self._artifacts.aclose()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close."""
        await self.aclose()

    @property
    def url(self) -> str:
        """Scheme, host and port of the API, as `TESTVIBE_SERVER` has it; empty before the start.

        If the middleware has a path prefix, it is at the end.
        """
        return self._api.url and self._api.url + self._middleware.path_prefix

    @property
    def artifact_url(self) -> str:
        """Scheme, host and port of the second origin, which serves artifacts."""
        return self._artifacts.url

    def now(self) -> float:
        """Return the seconds of the emulator since its start."""
        return self._clock.now()

    def count(
        self,
        operation: str = "*",
        *,
        run_id: int | None = None,
        feature: str | None = None,
        when: Callable[[RecordedRequest], bool] | None = None,
    ) -> int:
        """Count requests.

        Args:
            operation: As for `fail`.
            run_id: Only those about this run. None: all.
            feature: Only those about the feature of this name, in any case. None: all.
            when: Only those for which it returns True. None: all.

        Raises:
            ValueError: The operation, run or feature does not exist; or there is a condition, but
                the emulator keeps no requests.
        """
        _require_operation(operation)
        origin = self._artifacts if operation == DOWNLOAD else self._api
        if run_id is None and feature is None and when is None:
            return origin.counts.total() if operation == "*" else origin.counts[operation]
        if not origin.keeps_requests:
            raise ValueError(
                "This emulator keeps no requests (record=False): count without a condition."
            )
        if run_id is not None and run_id not in self.runs:
            raise ValueError(f"No run has the id {run_id}.")
        name = feature and feature.casefold()
        if name is not None and name not in self._names():
            raise ValueError(f"No feature is named {feature!r}.")
        return sum(
            operation in {"*", request.operation}
            and run_id in {None, request.run_id}
            and name in {None, (request.feature or "").casefold()}
            and (when is None or when(request))
            for request in origin.requests
        )

    def _names(self) -> set[str]:
        """Return the names that features have, or had at a request."""
        projects = self._service.projects.values()
        now = (each.name for project in projects for each in project.features.values())
        return {name.casefold() for name in (*now, *(each.feature or "" for each in self.requests))}

    def fail(
        self,
        operation: str,
        fault: Fault,
        *,
        times: int | None = None,
        skip: int = 0,
        when: Callable[[RecordedRequest], bool] | None = None,
    ) -> Rule:
        """Make matching requests fail from now on.

        Args:
            operation: The service's name of an operation; `"*"` for every request to the API;
                `"download"` for those to the second origin.
            fault: The fault. Delays and edits add up; of all other faults, only that of the rule
                that was made first applies.
            times: The number of requests that get the fault. None: all.
            skip: The number of matching requests that pass before.
            when: The rule matches requests for which it returns True. None: all.

        Returns:
            The rule, which counts its `hits` and can be removed.

        Raises:
            ValueError: The operation does not exist, or a number is out of range.
        """
        _require_operation(operation)

        def matches(request: RecordedRequest) -> bool:
            is_any = operation == "*" and request.operation != DOWNLOAD
            is_named = is_any or operation == request.operation
            return is_named and (when is None or when(request))

        rule = Rule(fault, matches, times, skip)
        self._rules.append(rule)
        return rule

    @asynccontextmanager
    async def refusing(self) -> AsyncGenerator[None]:
        """Drop all connections, and refuse new ones on both origins, within the block."""
        await self._hang_up()
        try:
            yield
        finally:
            await self._listen()

    def add_project(
        self, name: str, base_url: str = "https://site.example", *, project_id: str | None = None
    ) -> Project:
        """Add a project without features.

        Args:
            name: Its name.
            base_url: The site that its features test.
            project_id: Its id. None: one that depends on the scenario's seed.
        """
        return self._service.add_project(name, base_url, project_id=project_id)

    def add_feature(  # noqa: PLR0913 - the fields of a feature
        self,
        name: str,
        gherkin: str | None = None,
        *,
        status: str = "generated",
        kind: str = "feature",
        rationale: str | None = None,
        project: Project | None = None,
    ) -> Feature:
        """Add a feature, and return it.

        Args:
            name: Its name, unique in its project in any case.
            gherkin: Its text. None: one scenario.
            status: `draft`, `generated`, `failed` or `cancelled`; or `generating`, which dispatches
                a generation now.
            kind: `"feature"` or `"suggestion"`.
            rationale: The reason for a suggestion.
            project: Its project. None: the one at the start.

        Raises:
            ValueError: The name is taken, or the scenario lets a test fail that the text lacks.
        """
        project = project or self._project
        text = (
            gherkin or f"Feature: {name}\n\n  Scenario: {name} works\n    Given the site is open\n"
        )
        self._service.scenario.require_tests(name, (each.title for each in cases_of(text, name)))
        initial = NEVER_GENERATED if status == "generating" else status
        try:
            feature = self._service.add_feature(
                project, name=name, gherkin=text, status=initial, kind=kind, rationale=rationale
            )
        except Refusal as refusal:
            raise ValueError(refusal.message) from None
        if status == "generating":
            self._service.dispatch_generation(feature, project.base_url)
        return feature

    @property
    def features(self) -> Mapping[str, Feature]:
        """The features that the project had at the start, by name, in their present state."""
        return {feature.name: feature for feature in self._project.all_features()}

    @property
    def credits_left(self) -> int | None:
        """The number of generations that may still be dispatched; None for any number."""
        return self._service.credits_left

    def active_runs(self) -> list[Run]:
        """Return the runs in flight, the oldest first."""
        return [run for run in self.runs.values() if self.now() < run.finished_at]

    def active_generations(self) -> list[Generation]:
        """Return the generations in flight, the oldest first."""
        now, generations = self.now(), self.generations.values()
        return [generation for generation in generations if now < generation.finished_at]

    @property
    def max_active_runs(self) -> int:
        """The largest number of runs that were in flight at once."""
        changes = sorted(
            change
            for run in self.runs.values()
            for change in ((run.created_at, 1), (run.finished_at, -1))
        )
        return max(accumulate(change for _, change in changes), default=0)

    def finish_run(self, run_id: int, status: RunStatus = "passed") -> None:
        """Finish a run now; no effect if it is finished."""
        self._service.finish(self.runs[run_id], status)

    def finish_generation(self, request_id: str, status: GenerationStatus = "generated") -> None:
        """Finish a generation now; no effect if it is finished."""
        self._service.finish(self.generations[request_id], status)


def _require_operation(name: str) -> None:
    names = [*OPERATIONS, "*", DOWNLOAD]
    if name not in names:
        similar = get_close_matches(name, names, n=1)
        hint = f"did you mean {similar[0]!r}?" if similar else f"there are {', '.join(names)}."
        raise ValueError(f"No operation is named {name!r}: {hint}")
