"""The emulator as the service of a simulated world, and what it does wrong there.

It draws a fault for each request, answers reads from replicas and caches that are behind, leaves
rows out of lists, throttles, and lets others dispatch. What it served and did is in the record.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import detangle
from attrs import evolve
from yarl import URL

from tests.promises.simulation.plan import Plan
from tests.promises.simulation.record import Id, Record
from testvibe_async.testing import Emulator, Fault, RecordedRequest, Scenario
from testvibe_async.testing.answers import Answer, Refusal, json_answer
from testvibe_async.testing.generation import Generation
from testvibe_async.testing.origin import Exchange
from testvibe_async.testing.project import Feature
from testvibe_async.testing.run import Run

HOST = "10.0.0.1"
READY = ("Alpha", "Beta")
FEATURES = dict.fromkeys(READY, "generated") | {"Draft": "draft"}
EPOCH = 1_800_000_000.0
ROWS = 200
"""Most rows of a list without a limit."""
LAGS = (0.0, 1.0, 3.0, 6.0)
"""Seconds by which an answer may be behind; 0 for one from a cache. With more than 6 s, and the
4 s that it may take, a 404 could come after its grace."""
CACHE_SECONDS = 20.0

FAULTS = {
    "reset": Fault.reset(),
    "lost": Fault.lost(),
    "hang": Fault.hang(),
    "truncated": Fault.truncated(),
    "garbage": Fault.garbage(),
    "a short delay": Fault.delay(1.5),
    "a delay beyond the time-out": Fault.delay(6.0),
    "a delay beyond the search": Fault.delay(40.0),
    "429": Fault.status(429),
    "429, Retry-After: 2": Fault.status(429, retry_after=2),
    "500": Fault.status(500),
    "503, Retry-After: 1": Fault.status(503, retry_after=1),
}
LOST_ANSWERS = ("lost", "lost", "truncated", "a delay beyond the time-out")
"""What is likelier for a dispatch than for a read: there it matters most."""
HIDDEN_IDS = ("shown", "hidden while queued", "never shown")
"""When a generation's status says which generation it is of."""
RUN_MEMBERS = (
    *("config", "siteUrl", "startedUtc", "finishedUtc"),
    *("summary", "tests", "artifacts", "log"),
)
GENERATION_MEMBERS = (
    *("requestId", "runnerStarted", "overallStatus", "overallConclusion"),
    "sections",
)
"""The members of their documents that may be null."""
UNREADABLE = (b"{}", b"<!doctype html><p>Accepted</p>", b'{"runId": null, "requestId": null}')
"""Bodies of a 202 that do not say what was started."""
GATEWAYS: tuple[tuple[int, bytes, dict[str, str]], ...] = (
    *((302, b"", {"Location": "https://login.example/"}), (404, b"<h1>Not here</h1>", {})),
    *((425, b'{"error": "too_early"}', {}), (499, b'{"error": "closed"}', {})),
    (400, b"<h1>Bad gateway</h1>", {}),
)
"""Answers of a gateway to a request that it passed on: they prove nothing."""
THROTTLED = Fault.status(429, retry_after=2)
BROKEN = Fault.status(502)


class SimulatedService:
    """The service, as one schedule plans it."""

    def __init__(self, plan: Plan, record: Record, seen: Counter[str]) -> None:
        self.emulator = Emulator(
            shop=False,
            host=HOST,
            epoch=EPOCH,
            strict=True,
            lists=plan.has_lists,
            scenario=Scenario(
                seed=plan.seed,
                run_queue=(0.2, 2.0),
                run_duration=(1.0, 6.0),
                failing_runs=0.35,
                generation_warm_up=(plan.warm_up, plan.warm_up + 1.0),
                generation_section=(2.0, 5.0),
                verification=(1.0, 2.0),
                failing_generations=0.2,
            ),
            middleware=plan.dialect,
            dispatch_lag=plan.dialect.dispatch_lag,
        )
        for name, status in FEATURES.items():
            self.emulator.add_feature(name, status=status)
        self.trouble: Fault | None = None
        """What each request meets, while the service throttles or is broken."""
        self.errors: list[Exception] = []
        """What went wrong in the world itself, and the client took for a fault of the service."""
        self.resets: list[float] = []
        """When all connections were reset, and answers that were sent may have been lost."""
        self._plan = plan
        self._record = record
        self._seen = seen
        self._cache: dict[tuple[str, str], tuple[float, str, Answer]] = {}
        self._earlier: dict[str, Generation | None] = {}

    async def start(self) -> None:
        await self.emulator.start()
        api, service = self.emulator._api, self.emulator._service
        api._receive = partial(self._observe, api._receive)
        api._find_faults = self.find_faults
        for feature in self.emulator.features.values():
            self._earlier[feature.name] = service.latest_generation(self.emulator._project, feature)

    # What happens to one request, in this order: `find_faults`, `act`, `write`.

    def find_faults(self, request: RecordedRequest) -> list[Fault]:
        """Draw the faults of a request, in place of the emulator's own rules."""
        self._record.note_arrival(request)
        if self.trouble is not None:
            return [self.trouble]
        plan, is_dispatch = self._plan, request.method == "POST"
        if not detangle.flip(plan.dispatch_risk if is_dispatch else plan.fault_rate):
            return []
        faults = plan.dispatch_faults if is_dispatch else ()
        name = detangle.choice(faults or [*FAULTS, *(LOST_ANSWERS if is_dispatch else ())])
        detangle.note(f"fault: {name} for {request.operation}")
        if is_dispatch and name == "truncated":
            self._record.post(request).is_unreadable = True
        return [FAULTS[name]]

    def act(self, exchange: Exchange) -> Answer:
        """Answer a request: the truth, or what was true some time ago."""
        request = exchange.record
        if request.method == "GET" and detangle.flip(self._plan.stale_rate):
            lag = detangle.choice(LAGS)
            detangle.note(f"{request.operation} is answered as of {lag} s ago")
            return self._answer_late(exchange, lag) or exchange.act()
        twin = None
        if request.operation == "run_feature" and detangle.flip(self._plan.twin_rate):
            twin = detangle.choice(("after", "before"))
        if twin == "before":
            self._let_a_rival_follow(request)
        answer = exchange.act()
        if request.method == "POST" and answer.status == 202:
            document = json.loads(answer.body)
            self._record.post(request).made = document.get("runId") or document["requestId"]
        if twin == "after":
            self._let_a_rival_follow(request)
        return answer

    def write(self, exchange: Exchange, answer: Answer) -> Answer:
        """Note an answer, and send it."""
        request = exchange.record
        if request.operation == "list_runs" and answer.status == 200:
            answer = self._without_a_row(answer)
        self._record.note_answer(request, answer, at=self.emulator.now())
        answer = self._made_hard_to_read(request, answer)
        if "Age" not in answer.headers:
            date = self.emulator._clock.http_date()
            self._cache[request.path, str(request.query)] = self.emulator.now(), date, answer
        return exchange.write(answer)

    def _made_hard_to_read(self, request: RecordedRequest, answer: Answer) -> Answer:
        """Hide from the client what a generation's status is of, or what a dispatch started."""
        if request.method == "POST" and answer.status == 202:
            return self._accepted(request, answer)
        plan = self._plan
        if request.operation == "get_generation_status" and answer.status == 200:
            document = json.loads(answer.body)
            is_queued = not document.get("runnerStarted")
            if plan.hides_ids == "never shown" or (is_queued and plan.hides_ids != "shown"):
                document["requestId"] = None
            return self._with_other_nulls(answer, document, GENERATION_MEMBERS)
        if request.operation == "get_run" and answer.status == 200:
            return self._with_other_nulls(answer, json.loads(answer.body), RUN_MEMBERS)
        return answer

    def _accepted(self, request: RecordedRequest, answer: Answer) -> Answer:
        """Answer an accepted dispatch as a gateway does, with another's run, or unreadably."""
        plan = self._plan
        if plan.gateway_rate and detangle.flip(plan.gateway_rate):
            status, body, headers = detangle.choice(GATEWAYS)
            self._seen["an answer of a gateway"] += 1
            detangle.note(f"{request.operation} is answered by a gateway with {status}")
            return Answer(status, body, "text/html", headers, verbatim=True)
        if plan.mixed_up_rate and request.operation == "run_feature":
            return self._mixed_up(request, answer)
        if plan.unreadable_rate and detangle.flip(plan.unreadable_rate):
            self._seen["a 202 that can't be read"] += 1
            self._record.post(request).is_unreadable = True
            body = detangle.choice(UNREADABLE)
            detangle.note(f"{request.operation} is accepted with {body!r}")
            return evolve(answer, body=body, verbatim=True)
        return answer

    def _mixed_up(self, request: RecordedRequest, answer: Answer) -> Answer:
        """Name a run of another feature in place of the one that was started, perhaps."""
        document, post = json.loads(answer.body), self._record.post(request)
        runs = self.emulator.runs
        mine = runs[document["runId"]]
        others = [each for each in runs.values() if each.feature_name != mine.feature_name]
        if not others or not detangle.flip(self._plan.mixed_up_rate):
            return answer
        other = detangle.choice(others)
        self._seen["an answer with another's run"] += 1
        detangle.note(f"run {mine.id} is called {other.id}")
        post.mixed_up_with, post.is_unreadable = other.id, True
        document["runId"] = other.id
        if detangle.flip(0.5):
            document["featureId"] = self.emulator.features[other.feature_name].id
        return evolve(json_answer(document, 202), headers=answer.headers)

    def _with_other_nulls(
        self, answer: Answer, document: dict[str, object], members: tuple[str, ...]
    ) -> Answer:
        """Say `null` of what there is nothing to say of, or do not mention it."""
        if self._plan.nulls == "null":
            document = dict.fromkeys(members) | document
        elif self._plan.nulls == "absent":
            document = {name: value for name, value in document.items() if value is not None}
        return evolve(json_answer(document), headers=answer.headers)

    def _without_a_row(self, answer: Answer) -> Answer:
        """Leave a row out of a list, as one that is composed of several replicas may."""
        rows = json.loads(answer.body)
        if not rows or not detangle.flip(self._plan.stale_rate):
            return answer
        detangle.note("list_runs misses a row")
        self._seen["a list that misses a row"] += 1
        del rows[detangle.randint(0, len(rows) - 1)]
        return evolve(json_answer(rows), headers=answer.headers)

    def _answer_late(self, exchange: Exchange, lag: float) -> Answer | None:
        """Answer a read as of some seconds ago; None where there is no older answer."""
        request, then = exchange.record, self.emulator.now() - lag
        if lag == 0:
            return self._cached(request)
        try:
            document = self._document_at(request, then)
        except Refusal as refusal:
            self._seen["a 404 within its grace"] += 1
            return refusal.answer()
        if document is None:
            return None
        is_list = request.operation in {"list_runs", "list_features"}
        self._seen["a list that shows what was" if is_list else "a stale replica"] += 1
        return json_answer(document)

    def _cached(self, request: RecordedRequest) -> Answer | None:
        """Answer from a cache in front of the service, which says its age."""
        at, date, answer = self._cache.get((request.path, str(request.query)), (0.0, "", None))
        age = self.emulator.now() - at
        if answer is None or answer.status != 200 or age > CACHE_SECONDS:
            return None
        self._seen["an answer from a cache"] += 1
        return evolve(answer, headers={"Date": date, "Age": f"{age:.0f}"})

    def _document_at(self, request: RecordedRequest, then: float) -> Any:
        features = self.emulator.features
        if request.operation == "get_run":
            run = self.emulator.runs.get(request.run_id or 0)
            if run is None or run.created_at > then:
                raise Refusal(404, "This replica knows no such run yet.")
            return json.loads(run.digest(then))
        if request.operation == "get_generation_status" and request.feature is not None:
            return self._status_at(features[request.feature], then)
        if request.operation == "list_runs":
            return self._runs_at(request.query, then)
        if request.operation == "list_features":
            return [self._feature_at(feature, then) for feature in features.values()]
        return None

    def _runs_at(self, query: Mapping[str, str], then: float) -> list[Any]:
        runs = [run for run in self.emulator.runs.values() if run.created_at <= then]
        if (name := query.get("feature")) is not None:
            runs = [run for run in runs if run.feature_name.casefold() == name.casefold()]
        newest = sorted(runs, key=lambda run: -run.id)
        if not self._plan.dialect.cuts_lists:
            newest = newest[: int(query.get("limit", ROWS))]
        return [json.loads(run.row(then)) for run in newest]

    def _generation_at(self, feature: Feature, then: float) -> Generation | None:
        latest = self._earlier[feature.name]
        for generation in self.emulator.generations.values():
            if generation.feature_id == feature.id and generation.created_at <= then:
                latest = generation
        return latest

    def _status_at(self, feature: Feature, then: float) -> dict[str, object]:
        head: dict[str, object] = {"featureId": feature.id, "featureName": feature.name}
        generation = self._generation_at(feature, then)
        if generation is None:
            return head | {"featureStatus": "draft"}
        return head | {"featureStatus": generation.status_at(then)} | generation.progress(then)

    def _feature_at(self, feature: Feature, then: float) -> dict[str, object]:
        generation = self._generation_at(feature, then)
        status = "draft" if generation is None else generation.status_at(then)
        return feature.row() | {"status": status}

    # What happens to all of it.

    async def refuse_connections(self, seconds: float) -> None:
        """Stop to listen for a while; connections that are open stay."""
        api, port = self.emulator._api, URL(self.emulator.url).port
        assert port is not None
        assert api._listener is not None
        if not api._listener.is_serving():
            return
        api._listener.close()
        await asyncio.sleep(seconds)
        assert api._server is not None
        api._listener = await asyncio.get_running_loop().create_server(api._server, HOST, port)

    async def aclose(self) -> None:
        await self.emulator.aclose()
        await asyncio.sleep(1)
        for error in self.errors:
            raise error
        for task in detangle.current_loop().tasks:
            # aiohttp.web 3.14.5: a request whose connection is lost before its task's first step
            # finds no handler any more. That is the server's own affair.
            is_over = task.done() and not task.cancelled()
            if is_over and "RequestHandler.start" in repr(task.get_coro()):
                task.exception()

    def calm(self) -> None:
        """Let nothing go wrong any more, but for what the service does not show."""
        self._plan = evolve(
            self._plan,
            fault_rate=0.0,
            dispatch_risk=0.0,
            stale_rate=0.0,
            twin_rate=0.0,
            gateway_rate=0.0,
            mixed_up_rate=0.0,
        )

    @staticmethod
    def tasks() -> set[asyncio.Task[Any]]:
        """Return the tasks that serve requests."""
        is_server = "RequestHandler.start"
        return {task for task in asyncio.all_tasks() if is_server in repr(task.get_coro())}

    def _let_a_rival_follow(self, request: RecordedRequest) -> None:
        name, config = request.feature or "", json.loads(request.body).get("config")
        if name in self.emulator.features:
            self.let_a_rival_act(name, config or "Default")

    def let_a_rival_act(self, name: str, config: str | None) -> None:
        """Let somebody else run a feature, or without a configuration generate its tests.

        The service may refuse it.
        """
        project, feature = self.emulator._project, self.emulator.features[name]
        service, site = self.emulator._service, project.base_url
        with suppress(Refusal):
            if config is None:
                service.dispatch_generation(feature, site)
            else:
                service.dispatch_run(project, feature, config=config, site_url=site)
            detangle.note(f"a rival acts on {name}, {config}")

    # What is true of it, whatever it has served.

    def time_of(self, instant: datetime) -> float:
        """Return an instant of the client's clock as a time of the world."""
        return instant.timestamp() - EPOCH - self._plan.skew

    def operation(self, name: Id) -> Run | Generation | None:
        emulator = self.emulator
        return emulator.runs.get(name) if isinstance(name, int) else emulator.generations.get(name)

    def verdict(self, name: Id) -> str | None:
        """Return with which status an operation ends; None for one of another world."""
        operation: Any = self.operation(name)
        return getattr(operation, "verdict" if isinstance(name, int) else "outcome", None)

    def later(self, name: Id) -> list[Generation]:
        """Return the generations of the same feature that followed one."""
        mine = self.operation(name)
        generations = [*self.emulator.generations.values()]
        if not isinstance(mine, Generation):
            return []
        later = generations[generations.index(mine) + 1 :]
        return [each for each in later if each.feature_id == mine.feature_id]

    def reset_connections(self) -> None:
        """Reset all connections, whatever is under way on them."""
        self.resets.append(self.emulator.now())
        server = self.emulator._api._server
        for connection in server.connections if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    def _observe(
        self, receive: Callable[[RecordedRequest], Exchange], request: RecordedRequest
    ) -> Exchange:
        """Put what the service does wrong between the emulator's site and the socket."""
        exchange = receive(request)
        return evolve(
            exchange,
            act=partial(self._noting_errors, self.act, exchange),
            write=partial(self._noting_errors, self.write, exchange),
        )

    def _noting_errors(self, step: Callable[..., Answer], *args: Any) -> Answer:
        try:
            return step(*args)
        except Exception as error:
            self.errors.append(error)
            raise
