"""Whatever happens, in whatever order: a state machine over the real client, on virtual time.

Hypothesis plays dispatches, waits, iterations, looks, faults, rivals and closes against each other,
and after each step, and at the end, checks what an operation promises. 500 games are played with
the other tests, the same each time. To play others, and more:

    TESTVIBE_EXAMPLES=20000 pytest tests/test_state_machine.py --hypothesis-seed=7

It takes about 2 s of CPU for 20 games. A game that is lost is shown as a program, and can be played
again with the `@reproduce_failure` line that stands beneath it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import warnings
from collections import Counter
from contextvars import ContextVar
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from attrs import Factory, define, field, fields
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from testvibe_async import (
    Client,
    ClientClosedError,
    Dispatched,
    DispatchUnknownError,
    GenerationOperation,
    Hooks,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    Phase,
    RunOperation,
    Transition,
    VibeError,
    WaitTimeoutError,
    _sweep,
)
from testvibe_async.testing import Emulator, Fault, Scenario, VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from testvibe_async._protocol import Request, Response
    from testvibe_async.testing import RecordedRequest
    from testvibe_async.testing.emulator import Generation, Rule, Run

AnyOperation: TypeAlias = RunOperation | GenerationOperation

EXAMPLES = int(os.environ.get("TESTVIBE_EXAMPLES", "0"))
EPOCH = 1_800_000_000.0
INTERVAL = 3.0
TICK = INTERVAL / 10
TIMEOUT = 5.0
OUTAGE = 25.0
CONNECTIONS = 3
MOST_CALLS = 7
MOST_WAITS = 12
RANKS = {None: -1, Phase.QUEUED: 0, Phase.ACTIVE: 1, Phase.FINISHED: 2}
SENT_AGAIN = {409, 429}
"""What a dispatch may be sent again after: the service says that it did nothing."""

SCENARIO = Scenario(
    run_queue=(2, 2),
    run_duration=(8, 8),
    failing_runs=0.4,
    generation_warm_up=(4, 4),
    generation_section=(6, 6),
    verification=(2, 2),
    failing_generations=0.3,
)

CALL: ContextVar[int] = ContextVar("CALL", default=0)
"""The number of the dispatch that a task works on."""

FEATURES = st.sampled_from(["Alpha", "Alpha", "Beta", "Draft"])
PICKS = st.integers(0, 11)
TIMES = st.sampled_from([0.0, 0.05, 1.0, 3.0, 7.0])


def _without_rows(rows: Any) -> Any:
    return []


def _stale_rows(rows: Any) -> Any:
    return [row | {"status": "running", "finishedUtc": None} for row in rows]


def _unknown_status(document: Any) -> Any:
    if document.get("finishedUtc") or document.get("overallConclusion"):
        return document
    return document | {name: "paused" for name in ("status", "featureStatus") if name in document}


def _of_another(document: Any) -> Any:
    return document | {"requestId": "another"} if "requestId" in document else document


DISPATCH_FAULTS = {
    "none": None,
    "lost": Fault.lost(),
    "truncated": Fault.truncated(),
    "unreadable": Fault.edit(lambda _: {"unexpected": True}),
    "reset": Fault.reset(),
    "hang": Fault.hang(),
    "500": Fault.status(500),
    "409": Fault.status(409),
    "429": Fault.status(429),
    "429 with Retry-After": Fault.status(429, retry_after=2),
}
LOOK_FAULTS = {
    "500": Fault.status(500),
    "HTML": Fault.status(502, body=b"<html>bad gateway</html>"),
    "404": Fault.status(404),
    "429": Fault.status(429, retry_after=2),
    "503": Fault.status(503, retry_after=2),
    "garbage": Fault.garbage(),
    "no JSON": Fault.body(b'{"runId": 2'),
    "reset": Fault.reset(),
    "hang": Fault.hang(),
    "late": Fault.delay(2.0),
    "unknown status": Fault.edit(_unknown_status),
    "other requestId": Fault.edit(_of_another),
}
LIST_FAULTS = {
    "404": Fault.status(404),
    "500": Fault.status(500),
    "no rows": Fault.edit(_without_rows),
    "stale rows": Fault.edit(_stale_rows),
    "no list": Fault.body(b'{"rows": 7}'),
}


@define(eq=False)
class Sent:
    """One request, as the client's transport sent it."""

    request: Request[Any]
    at: float
    is_look: bool
    ended: float | None = None


@define(eq=False)
class Line:
    """A client, and all that goes over its wire."""

    client: Client
    problems: list[str]
    sent: list[Sent] = Factory(list)
    late: list[float] = Factory(list)
    """Seconds by which the next answers are held back, after the service gave them."""

    is_closed: bool = False
    rests_until: float = 0.0
    list_at: float = -1.0
    looks: dict[int, Sent] = Factory(dict)
    under_way: int = 0
    _send: Callable[[Request[Any]], Coroutine[Any, Any, Response]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send = self.client._transport.send
        self.client._transport.send = self.send  # type: ignore[method-assign]

    async def send(self, request: Request[Any]) -> Response:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        is_look = task is not None and task.get_name() == "testvibe_async poller"
        sent = Sent(request, loop.time(), is_look)
        self._judge(sent)
        self.sent.append(sent)
        self.under_way += 1
        self.client._transport._headers["X-Call"] = str(CALL.get())
        try:
            response = await self._send(request)
            if self.late:
                await self.client._transport.sleep(self.late.pop())
            if response.status in {429, 503} and "Retry-After" in response.headers:
                self.rests_until = loop.time() + float(response.headers["Retry-After"])
            return response
        finally:
            self.under_way -= 1
            sent.ended = loop.time()

    def _judge(self, sent: Sent) -> None:
        """Check that this request may be sent now."""
        name = f"{sent.request.endpoint.name} at {sent.at:.2f}"
        if self.is_closed:
            self.problems.append(f"{name}: sent after the close")
        if sent.at < self.rests_until - 1e-6:
            self.problems.append(f"{name}: sent during a rest")
        if self.under_way >= CONNECTIONS:
            self.problems.append(f"{name}: more at once than allowed")
        if not sent.is_look:
            return
        if sent.request.endpoint.name in {"list_runs", "list_features"}:
            self.list_at = sent.at
            return
        before = self.looks.get(id(sent.request))
        self.looks[id(sent.request)] = sent
        if before is None:
            return
        if before.ended is None:
            self.problems.append(f"{name}: two looks at one operation at once")
        elif self.list_at < before.at and sent.at < before.at + INTERVAL - TICK - 1e-6:
            self.problems.append(f"{name}: looked at {sent.at - before.at:.2f} s after the last")


@define(eq=False)
class Call:
    """One dispatch. The spy puts its number into a header of each of its requests."""

    number: int
    kind: str
    feature: str
    site_url: str | None
    line: Line
    task: asyncio.Task[AnyOperation]
    retry_unknown: bool
    is_cancelled: bool = False

    @property
    def is_in_doubt(self) -> bool:
        """Whether nobody can say whether it took effect."""
        return self.task.cancelled() or isinstance(self.task.exception(), DispatchUnknownError)


@define(eq=False)
class Handle:
    """A handle on an operation, and what was last seen through it."""

    operation: AnyOperation
    line: Line
    rank: int = -1
    observed_at: Any = None
    outcome: object = None


@define(eq=False)
class Wait:
    """A wait, or an iteration."""

    handle: Handle
    task: asyncio.Task[Any]
    began: float
    timeout: float | None = None
    changes: list[Transition[Any]] | None = None
    leaves_after: int | None = None
    is_cancelled: bool = False
    ended: float | None = None


class Games(RuleBasedStateMachine):
    """A service, a client of it, another client, and whoever waits."""

    def __init__(self) -> None:
        super().__init__()
        self._caught = warnings.catch_warnings(record=True)
        self._warnings = self._caught.__enter__()
        warnings.simplefilter("always")
        self.problems: list[str] = []
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.loop = self.runner.get_loop()
        self.loop.set_exception_handler(
            lambda _loop, context: self.problems.append(f"asyncio says: {context}")
        )
        self.calls: list[Call] = []
        self.handles: list[Handle] = []
        self.waits: list[Wait] = []
        self.to_judge: list[Wait] = []
        self.lines: list[Line] = []
        self.told: set[tuple[object, ...]] = set()
        self.faults: list[Rule] = []
        self.seen_faults: set[str] = set()
        self.absent_lists: list[Rule] = []
        self.hook_raises = False
        self.emulator = Emulator(shop=False, scenario=SCENARIO, epoch=EPOCH)
        for name in ("Alpha", "Beta"):
            self.emulator.add_feature(name)
        self.emulator.add_feature("Draft", status="draft")
        self.made: dict[int, list[int | str]] = {}
        self.spy_on_the_service()
        self.run(self.emulator.start())
        self.line, self.other = self.open(), self.open()

    def spy_on_the_service(self) -> None:
        """Take down which dispatch each run and generation was made by."""
        emulator, api = self.emulator, self.emulator._api._site
        act = api._act  # type: ignore[attr-defined]

        def acts(record: RecordedRequest, route: Any) -> Any:
            before = {*emulator.runs, *emulator.generations}
            answer = act(record, route)
            new = {*emulator.runs, *emulator.generations} - before
            self.made.setdefault(int(record.headers["X-Call"]), []).extend(new)
            return answer

        api._act = acts  # type: ignore[attr-defined]

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    @property
    def now(self) -> float:
        return self.loop.time()

    def open(self) -> Line:
        """Make a client whose hooks may raise, and which is spied on."""
        client = Client(
            self.emulator.url,
            api_key=self.emulator.api_key,
            project=self.emulator.project_id,
            poll_interval=INTERVAL,
            timeout=TIMEOUT,
            max_outage=OUTAGE,
            max_connections=CONNECTIONS,
            hooks=Hooks(**dict.fromkeys((hook.name for hook in fields(Hooks)), self.hear)),
        )
        line = Line(client, self.problems)
        self.lines.append(line)
        return line

    def hear(self, event: object) -> None:
        if isinstance(event, Dispatched):
            self.told.add(event.ref.key)
        if self.hook_raises:
            message = "a hook that fails"
            raise RuntimeError(message)

    @initialize(has_lists=st.booleans(), raises=st.booleans())
    def begin(self, *, has_lists: bool, raises: bool) -> None:
        self.hook_raises = raises
        if not has_lists:
            self.turn_lists()

    # What the caller does

    @precondition(lambda self: len(self.calls) < MOST_CALLS)
    @rule(
        kind=st.sampled_from(["run", "run", "generation"]),
        feature=FEATURES,
        fault=st.sampled_from(sorted(DISPATCH_FAULTS)),
        late=st.sampled_from([0.0, 0.0, 0.0, 4.0]),
        site_url=st.sampled_from([None, None, "https://a.example", "https://b.example"]),
        on_conflict=st.integers(0, 2),
        retry_unknown=st.booleans(),
        patience=TIMES,
    )
    def dispatch(  # noqa: PLR0913 - each drawn
        self,
        *,
        kind: str,
        feature: str,
        fault: str,
        late: float,
        site_url: str | None,
        on_conflict: int,
        retry_unknown: bool,
        patience: float,
    ) -> None:
        number = len(self.calls) + 1
        project = self.line.client.project()
        choice: Any = (("raise", "generate", "raise"), ("raise", "attach", "wait"))[kind != "run"]
        choice = choice[on_conflict]
        if (what := DISPATCH_FAULTS[fault]) is not None:
            self.emulator.fail(
                "run_feature" if kind == "run" else "generate_feature",
                what,
                times=1,
                when=lambda request: request.headers["X-Call"] == str(number),
            )
            self.seen_faults.add(fault)

        async def work() -> AnyOperation:
            CALL.set(number)
            if kind == "run":
                return await project.run_feature(
                    feature, site_url=site_url, on_conflict=choice, retry_unknown=retry_unknown
                )
            return await project.generate_feature(feature, site_url=site_url, on_conflict=choice)

        async def begin() -> Call:
            if late:
                self.line.late.append(late)
            task = asyncio.create_task(work())
            await asyncio.wait([task], timeout=patience)
            return Call(number, kind, feature, site_url, self.line, task, retry_unknown)

        self.calls.append(self.run(begin()))

    @precondition(lambda self: any(not call.task.done() for call in self.calls))
    @rule(pick=PICKS)
    def cancel_a_dispatch(self, pick: int) -> None:
        under_way = [call for call in self.calls if not call.task.done()]
        call = under_way[pick % len(under_way)]
        call.is_cancelled = True
        call.task.cancel()
        self.run(self.settle())
        assert call.task.done(), "a caller that was cancelled hangs"

    @precondition(lambda self: self.handles and len(self.to_judge) < MOST_WAITS)
    @rule(pick=PICKS, timeout=st.sampled_from([None, None, 0.5, 4.0, 11.0]))
    def wait(self, pick: int, timeout: float | None) -> None:
        handle = self.handles[pick % len(self.handles)]
        self.add_wait(handle, handle.operation.wait(timeout=timeout), timeout=timeout)

    @precondition(lambda self: self.handles and len(self.to_judge) < MOST_WAITS)
    @rule(
        pick=PICKS,
        every_change=st.booleans(),
        leaves_after=st.sampled_from([None, None, 1, 2]),
        is_closed=st.booleans(),
    )
    def iterate(
        self, pick: int, *, every_change: bool, leaves_after: int | None, is_closed: bool
    ) -> None:
        handle = self.handles[pick % len(self.handles)]
        changes: list[Transition[Any]] = []

        async def work() -> None:
            operation = handle.operation
            iteration: Any = operation.updates() if every_change else aiter(operation)
            async for change in iteration:
                changes.append(change)
                if len(changes) == leaves_after:
                    break
            if is_closed:
                await iteration.aclose()

        self.add_wait(handle, work(), changes=changes, leaves_after=leaves_after)

    def add_wait(self, handle: Handle, work: Coroutine[Any, Any, Any], **details: Any) -> None:
        async def begin() -> Wait:
            task = asyncio.ensure_future(work)
            wait = Wait(handle, task, self.now, **details)
            task.add_done_callback(lambda _: setattr(wait, "ended", self.now))
            await asyncio.sleep(0)
            return wait

        wait: Wait = self.run(begin())
        self.waits.append(wait)
        self.to_judge.append(wait)

    @precondition(lambda self: self.to_judge)
    @rule(pick=PICKS)
    def cancel_a_wait(self, pick: int) -> None:
        wait = self.to_judge[pick % len(self.to_judge)]
        wait.is_cancelled = True
        wait.task.cancel()
        self.run(self.settle())
        assert wait.task.done(), "a wait that was cancelled hangs"

    @precondition(lambda self: self.handles)
    @rule(pick=PICKS)
    def poll(self, pick: int) -> None:
        handle = self.handles[pick % len(self.handles)]
        self.add_wait(handle, handle.operation.poll())

    @precondition(lambda self: self.handles and len(self.handles) < 2 * MOST_CALLS)
    @rule(pick=PICKS, by_other=st.booleans())
    def attach(self, pick: int, *, by_other: bool) -> None:
        ref = self.handles[pick % len(self.handles)].operation.ref
        line = self.other if by_other else self.line

        async def work() -> AnyOperation:
            return line.client.attach(ref)

        self.handles.append(Handle(self.run(work()), line))

    @rule(twice=st.booleans())
    def close(self, *, twice: bool) -> None:
        """Close the client, and go on with a new one some seconds later."""
        line = self.line

        async def work() -> None:
            closes = [line.client.aclose() for _ in range(1 + twice)]
            await asyncio.gather(*closes)
            line.is_closed = True
            await self.settle()

        self.run(work())
        assert not [w for w in self.to_judge if w.handle.line is line and not w.task.done()]
        self.run(asyncio.sleep(1.1))
        assert not [c for c in self.calls if c.line is line and not c.task.done()]
        self.line = self.open()
        self.run(asyncio.sleep(5))

    # What the service does, and the network

    @precondition(lambda self: self.handles)
    @rule(pick=PICKS, is_good=st.booleans())
    def finish(self, pick: int, *, is_good: bool) -> None:
        operation = self.handles[pick % len(self.handles)].operation
        if isinstance(operation, RunOperation):
            self.emulator.finish_run(operation.run_id, "passed" if is_good else "failed")
        else:
            word = "generated" if is_good else "failed"
            self.emulator.finish_generation(operation.request_id, word)

    @rule(feature=FEATURES, is_cancelled=st.booleans())
    def rival(self, feature: str, *, is_cancelled: bool) -> None:
        """Somebody else's generation takes the place of the feature's latest."""
        latest = self.emulator.features[feature]
        if latest.status == "generating":
            assert latest.generation is not None
            word = "cancelled" if is_cancelled else "generated"
            self.emulator.finish_generation(latest.generation.request_id, word)
            latest = self.emulator.features[feature]
        self.emulator._service.dispatch_generation(latest, "https://rival.example")

    @rule(
        fault=st.sampled_from(sorted(LOOK_FAULTS)),
        times=st.sampled_from([1, 1, 2, 4, None]),
    )
    def break_looks(self, fault: str, times: int | None) -> None:
        self.seen_faults.add(fault)
        for operation in ("get_run", "get_generation_status"):
            self.faults.append(self.emulator.fail(operation, LOOK_FAULTS[fault], times=times))

    @rule(fault=st.sampled_from(sorted(LIST_FAULTS)), times=st.sampled_from([1, 2, None]))
    def break_lists(self, fault: str, times: int | None) -> None:
        for operation in ("list_runs", "list_features"):
            self.faults.append(self.emulator.fail(operation, LIST_FAULTS[fault], times=times))

    @rule(seconds=st.sampled_from([2.0, 4.0]), count=st.integers(1, 3))
    def hold_answers_back(self, seconds: float, count: int) -> None:
        """Let the next answers be old by the time that they arrive."""
        self.line.late.extend([seconds] * count)

    @rule()
    def mend(self) -> None:
        for fault in self.faults:
            fault.remove()
        self.faults.clear()
        for line in self.lines:
            line.late.clear()

    @rule()
    def turn_lists(self) -> None:
        """Take the list routes away, or give them back."""
        if self.absent_lists:
            for absence in self.absent_lists:
                absence.remove()
            self.absent_lists = []
            return
        self.absent_lists = [
            self.emulator.fail(operation, Fault.status(404))
            for operation in ("list_runs", "list_features")
        ]

    @rule()
    def turn_hooks(self) -> None:
        self.hook_raises = not self.hook_raises

    @rule(seconds=TIMES)
    def let_time_pass(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    # What must hold

    async def settle(self) -> None:
        """Let everything run that is ready."""
        for _ in range(10):
            await asyncio.sleep(0)

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.take_operations()
        for handle in self.handles:
            self.judge_handle(handle)
        for wait in self.to_judge:
            if wait.task.done():
                self.judge_wait(wait)
            elif wait.timeout is not None:
                assert self.now <= wait.began + wait.timeout + 0.01, "a time-out was missed"
        self.to_judge = [wait for wait in self.to_judge if not wait.task.done()]
        assert not self.problems, self.problems

    def take_operations(self) -> None:
        """Take the handles that dispatches have brought since."""
        known = {id(handle.operation) for handle in self.handles}
        for call in self.calls:
            task = call.task
            if not task.done() or task.cancelled() or task.exception() is not None:
                continue
            if id(task.result()) not in known:
                self.handles.append(Handle(task.result(), call.line))

    def judge_handle(self, handle: Handle) -> None:
        """Check that what is known only grows, and that an end is the service's, and for good."""
        operation = handle.operation
        rank, observed_at = RANKS[operation.phase], operation.observed_at
        assert rank >= handle.rank, f"{operation} went back"
        assert handle.observed_at is None or observed_at >= handle.observed_at
        if handle.outcome is not None:
            assert operation.outcome is handle.outcome, f"{operation} changed after its end"
        handle.rank, handle.observed_at = rank, observed_at
        if operation.done and handle.outcome is None:
            handle.outcome = operation.outcome
            assert operation.status == self.served(operation).status

    def served(self, operation: AnyOperation) -> Run | Generation:
        """Return the operation as the service has it."""
        if isinstance(operation, RunOperation):
            return self.emulator.runs[operation.run_id]
        return self.emulator.generations[operation.request_id]

    def judge_wait(self, wait: Wait) -> None:
        """Check that a wait ended as it may."""
        operation = wait.handle.operation
        self.judge_changes(wait)
        if wait.task.cancelled():
            assert wait.is_cancelled, "a wait was cancelled that nobody cancelled"
            return
        error = wait.task.exception()
        if error is None:
            return
        assert isinstance(error, VibeError), repr(error)
        assert error.ref is not None and error.ref.key == operation.ref.key
        assert self.is_due(wait, error), repr(error)

    def judge_changes(self, wait: Wait) -> None:
        changes = wait.changes
        if changes is None:
            return
        ranks = [RANKS[change.phase] for change in changes]
        assert ranks == sorted(ranks)
        left = wait.leaves_after is not None and len(changes) >= wait.leaves_after
        if not wait.task.cancelled() and wait.task.exception() is None and not left:
            assert ranks[-1] == RANKS[Phase.FINISHED], "an iteration ended before the end"

    def is_due(self, wait: Wait, error: VibeError) -> bool:
        """Say whether there was reason for an error."""
        assert wait.ended is not None
        if isinstance(error, WaitTimeoutError):
            return wait.timeout is not None and wait.ended >= wait.began + wait.timeout - 1e-6
        if isinstance(error, ClientClosedError):
            return wait.handle.line.is_closed
        if isinstance(error, OperationSupersededError):
            return "other requestId" in self.seen_faults or self.is_superseded(wait)
        if isinstance(error, OperationNotFoundError):
            return "404" in self.seen_faults
        if isinstance(error, ObservationError):
            return bool(self.seen_faults) or self.is_superseded(wait)
        return False

    def is_superseded(self, wait: Wait) -> bool:
        operation = wait.handle.operation
        latest = [
            generation.request_id
            for generation in self.emulator.generations.values()
            if generation.feature_id == operation.feature_id
        ]
        return isinstance(operation, GenerationOperation) and latest[-1] != operation.request_id

    # The end

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.clean_up()
        self.judge_what_is_left()

    def end(self) -> None:
        """Let everything come to its end, close, and look for what is left."""
        self.mend()
        self.run(self.come_to_an_end())
        self.nothing_is_wrong()
        assert not self.to_judge, "a wait hangs although all is well"
        assert all(call.task.done() for call in self.calls), "a dispatch hangs"
        for call in self.calls:
            self.judge_call(call)
        self.judge_what_was_started()
        self.run(self.close_all())
        assert not self.problems, self.problems

    async def come_to_an_end(self) -> None:
        for _ in range(3):
            for run_id in self.emulator.runs:
                self.emulator.finish_run(run_id)
            for request_id in self.emulator.generations:
                self.emulator.finish_generation(request_id)
            await asyncio.sleep(35)

    async def close_all(self) -> None:
        for line in self.lines:
            await line.client.aclose()
            line.is_closed = True
        server = self.emulator._api._server
        await asyncio.sleep(1)
        assert server is not None
        assert not [each for each in server.connections if each.transport], "left connected"

    def clean_up(self) -> None:
        """Take everything down, also where something is wrong."""
        for line in self.lines:
            self.run(line.client.aclose())
        self.run(self.emulator.aclose())
        self.left = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        self.runner.close()
        self.calls.clear()
        self.waits.clear()
        self.handles.clear()
        gc.collect()
        self._caught.__exit__(None, None, None)

    def judge_what_is_left(self) -> None:
        assert not self.left, self.left
        assert not self._warnings, [str(warning.message) for warning in self._warnings]
        assert not self.problems, self.problems

    def judge_call(self, call: Call) -> None:
        """Check that a dispatch was not sent twice, and that its end says what happened."""
        name = "run_feature" if call.kind == "run" else "generate_feature"
        posts = [
            request
            for request in self.emulator.requests
            if request.operation == name and request.headers["X-Call"] == str(call.number)
        ]
        blind = [post for post in posts[:-1] if post.status not in SENT_AGAIN]
        assert len(blind) <= (call.retry_unknown and call.kind == "run"), "sent again blindly"
        made = self.made_by(call)
        assert len(made) <= 1 + len(blind), "done twice"
        if call.is_in_doubt:
            assert call.is_cancelled or not call.task.cancelled()
            return
        if (error := call.task.exception()) is not None:
            assert isinstance(error, VibeError), repr(error)
            assert not made, f"done, though it raised {error!r}"
            return
        operation = call.task.result()
        assert operation.adopted or number_of(operation) in made
        if isinstance(operation, RunOperation):
            run = self.emulator.runs[operation.run_id]
            assert run.feature_name == call.feature
            assert call.site_url in {None, run.site_url}, "a run of another site"

    def made_by(self, call: Call) -> list[int | str]:
        """Return the runs, or the generations, that the service began for a call."""
        kind = int if call.kind == "run" else str
        return [number for number in self.made.get(call.number, ()) if isinstance(number, kind)]

    def judge_what_was_started(self) -> None:
        """Check that each run is held by one call, was told to the hook, or is in doubt."""
        held = [
            call.task.result().run_id
            for call in self.calls
            if call.kind == "run" and not call.is_in_doubt and call.task.exception() is None
        ]
        assert len(held) == len(set(held)), "two dispatches share one run"
        told = {key[-1] for key in self.told}
        assert set(held) <= told
        untold = self.emulator.runs.keys() - told
        doubts = sum(call.is_in_doubt + call.retry_unknown for call in self.calls)
        assert len(untold) <= doubts, f"lost: {untold}"


def number_of(operation: AnyOperation) -> int | str:
    """Return the service's number of a run, or id of a generation."""
    return operation.run_id if isinstance(operation, RunOperation) else operation.request_id


@pytest.fixture
def errors_logged(monkeypatch: pytest.MonkeyPatch) -> Generator[list[logging.LogRecord]]:
    """Keep what is logged as an error, but for hooks that fail; nothing is printed."""
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR and not str(record.msg).startswith("the hook"):
                records.append(record)

    logger = logging.getLogger("testvibe_async")
    monkeypatch.setattr(logger, "propagate", False)  # noqa: FBT003 - an attribute's value
    keeper = Keeper()
    logger.addHandler(keeper)
    yield records
    logger.removeHandler(keeper)


@pytest.mark.timeout(0 if EXAMPLES else 600)
def test_whatever_happens_in_whatever_order(
    monkeypatch: pytest.MonkeyPatch, errors_logged: list[logging.LogRecord]
) -> None:
    """No order of events makes an operation break what it promises."""
    monkeypatch.setattr(_sweep, "UNUSABLE_SECONDS", 15.0)
    gc.collect()
    gc.freeze()
    try:
        run_state_machine_as_test(
            Games,
            settings=settings(
                max_examples=EXAMPLES or 500,
                stateful_step_count=50,
                derandomize=not EXAMPLES,
                database=None,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        gc.unfreeze()
    assert not Counter(record.getMessage() for record in errors_logged)
