"""Whatever happens, in whatever order: a state machine over the real client, on virtual time.

Hypothesis plays dispatches, waits, iterations, polls, attached refs, cancellations, rivals, faults
and closes against each other. What an operation promises is checked with each request that is sent
(`troubled_network`), after each step, and at the end. Faults of sockets are in `test_faults`.

500 games are played with the other tests, the same each time. To play others, and more:

    TESTVIBE_GAMES=20000 pytest -m state_machine --hypothesis-seed=7
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import suppress
from itertools import repeat
from typing import Any, TypeAlias

import pytest
from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.rooms.polling.troubled_network import (
    A_MOMENT,
    CONNECTIONS,
    LIST_TROUBLES,
    LISTS,
    OUTAGE,
    POLL_TROUBLES,
    POLLS,
    POSTS,
    TROUBLE,
    TROUBLES,
    Posts,
    Trouble,
    Wire,
    number_of,
)
from tests.support.amounts import amount
from testvibe_async import (
    ClientClosedError,
    DispatchUnknownError,
    GenerationOperation,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    Phase,
    RunOperation,
    Transition,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async._wire.endpoints import Request
from testvibe_async.testing import Emulator, Scenario, VirtualTimeLoop

pytestmark = pytest.mark.state_machine

AnyOperation: TypeAlias = RunOperation | GenerationOperation

GAMES = int(os.environ.get("TESTVIBE_GAMES", "0"))
GRACE = 10.0
STEP = 0.4
"""Seconds that pass with each step."""
MOST_CALLS, MOST_WIRES, MOST_HANDLES, MOST_WAITS = 15, 4, 18, 12
RANKS = {None: -1, Phase.QUEUED: 0, Phase.ACTIVE: 1, Phase.FINISHED: 2}
SCENARIO = Scenario(
    run_queue=(4, 4),
    run_duration=(12, 12),
    failing_runs=0.4,
    generation_warm_up=(4, 4),
    generation_section=(2, 2),
    verification=(2, 2),
    failing_generations=0.3,
)

GHERKIN = "Feature: F\n" + "".join(f"\n  Scenario: S{n}\n    Given a site\n" for n in range(5))
EVERY_TROUBLE = TROUBLES | POLL_TROUBLES | LIST_TROUBLES
ON_DISPATCH = st.sampled_from([*TROUBLES, "none", "late", "none", "late", "none", "late"])
ON_POLL = st.sampled_from(sorted(TROUBLES | POLL_TROUBLES))
ON_LIST = st.sampled_from(sorted(TROUBLES | LIST_TROUBLES))
PICKS = st.integers(0, 11)
FEATURES = st.sampled_from(["Alpha", "Alpha", "Beta", "Draft"])
SITES = st.sampled_from([None, None, "https://a.example", "https://b.example"])


@define(eq=False)
class Call:
    """One dispatch."""

    wire: Wire
    feature: str
    site_url: str | None
    joins: bool
    """Whether a conflict is resolved, not raised."""
    is_answered: bool
    """Whether every answer comes."""
    posts: Posts
    task: asyncio.Task[AnyOperation] = field(init=False)
    is_cancelled: bool = False

    async def work(self) -> AnyOperation:
        POSTS.set(self.posts)
        project = self.wire.client.project()
        if self.posts.name == "run_feature":
            return await project.run_feature(
                self.feature,
                site_url=self.site_url,
                on_conflict="generate" if self.joins else "raise",
                retry_unknown=bool(self.posts.leave),
            )
        on_conflict: Any = ("wait" if self.site_url else "attach") if self.joins else "raise"
        return await project.generate_feature(
            self.feature, site_url=self.site_url, on_conflict=on_conflict
        )

    @property
    def is_in_doubt(self) -> bool:
        """Whether its effect is unknown."""
        return self.task.cancelled() or isinstance(self.task.exception(), DispatchUnknownError)

    @property
    def operation(self) -> AnyOperation | None:
        """What it came to; None where it is under way, or failed."""
        is_good = self.task.done() and not self.task.cancelled() and not self.task.exception()
        return self.task.result() if is_good else None


@define(eq=False)
class Handle:
    """A handle on an operation, and what was last seen through it."""

    operation: AnyOperation
    wire: Wire
    rank: int = -1
    observed_at: Any = None
    updated_at: Any = None
    """When it last changed, by the service's clock; None for a run."""
    outcome: object = None


@define(eq=False)
class Wait:
    """A task that waits for operations, iterates over one, or polls it."""

    wire: Wire
    operations: list[AnyOperation]
    began: float
    timeout: float | None = None
    is_poll: bool = False
    was_known: bool = field(init=False)
    """Whether all of it was observed before: when it began, or when a poll ended."""
    transitions: list[Transition[Any]] = field(factory=list["Transition[Any]"])
    """What an iteration brought."""
    leaves: bool = False
    """Whether it leaves the iteration before the end."""
    task: asyncio.Task[Any] = field(init=False)
    ended: float = 0.0
    is_cancelled: bool = False


class Game(RuleBasedStateMachine):
    """A service, one client of it after the other, and the tasks that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.problems: list[str] = []
        self.calls: list[Call] = []
        self.handles: list[Handle] = []
        self.waits: list[Wait] = []
        self.wires: list[Wire] = []
        self.troubles: dict[str, Iterator[Trouble]] = {}
        self.is_forged = False
        self.emulator = Emulator(shop=False, scenario=SCENARIO, epoch=1.8e9, record=False)
        self.emulator._clock.start(self.loop.time)
        for feature in ("Alpha", "Beta"):
            self.emulator.add_feature(feature, GHERKIN)
        self.emulator.add_feature("Draft", GHERKIN, status="draft")
        self.open()

    def open(self) -> None:
        self.wires.append(Wire(self.emulator, self.troubles, self.is_wanted, self.problems))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize(runs=st.sampled_from([1, 3, 4]), lists=ON_LIST | st.just("none"))
    def begin(self, *, runs: int, lists: str) -> None:
        """Have a generation and some runs in flight, each waited for."""
        self.trouble_lists(lists, None)
        self.dispatch("generate_feature", "Draft", [("none", None)], joins=False, leave=0)
        self.dispatch("run_feature", "Alpha", [("none", None)] * runs, joins=False, leave=0)
        self.pass_time(1.0)
        for pick in range(len(self.handles)):
            self.wait(pick, None)

    @rule(trouble=ON_POLL, times=st.sampled_from([1, 1, 2, 4, None]))
    def trouble_polls(self, trouble: str, times: int | None) -> None:
        self.is_forged |= trouble == "other requestId"
        self.troubles |= troubles(POLLS, trouble, times)

    @rule(trouble=ON_LIST, times=st.sampled_from([1, 2, None]))
    def trouble_lists(self, trouble: str, times: int | None) -> None:
        self.troubles |= troubles(LISTS, trouble, times)

    @rule()
    def mend(self) -> None:
        self.troubles.clear()

    @precondition(lambda self: self.handles)
    @rule(pick=PICKS, is_good=st.booleans())
    def finish(self, pick: int, *, is_good: bool) -> None:
        operation = self.handles[pick % len(self.handles)].operation
        if isinstance(operation, RunOperation):
            self.emulator.finish_run(operation.run_id, "passed" if is_good else "failed")
        elif operation.request_id in self.emulator.generations:
            status: Any = "generated" if is_good else "failed"
            self.emulator.finish_generation(operation.request_id, status)

    @rule(feature=FEATURES)
    def rival(self, feature: str) -> None:
        """Supersede the feature's latest generation by that of another caller."""
        latest = self.emulator.features[feature]
        if latest.status == "generating":
            assert latest.generation is not None
            self.emulator.finish_generation(latest.generation.request_id, "cancelled")
            latest = self.emulator.features[feature]
        self.emulator._service.dispatch_generation(latest, "https://rival.example")

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.0, 3.0, 7.0]))
    def pass_time(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))
        known = {id(handle.operation) for handle in self.handles}
        for call in self.calls:
            if call.operation is not None and id(call.operation) not in known:
                self.handles.append(Handle(call.operation, call.wire))

    @precondition(lambda self: len(self.calls) < MOST_CALLS)
    @rule(
        name=st.sampled_from(["run_feature", "run_feature", "generate_feature"]),
        feature=FEATURES,
        plans=st.lists(st.tuples(ON_DISPATCH, SITES), min_size=1, max_size=3),
        joins=st.booleans(),
        leave=st.sampled_from([0, 1]),
    )
    def dispatch(
        self,
        name: str,
        feature: str,
        plans: list[tuple[str, str | None]],
        *,
        joins: bool,
        leave: int,
    ) -> None:
        """Dispatch a feature once or a few times, all at once, each with its trouble and site."""
        wire = self.wires[-1]
        for trouble, site_url in plans:
            posts = Posts(name, iter([TROUBLES[trouble]]), leave if name == "run_feature" else 0)
            is_answered = trouble in {"none", "late"}
            call = Call(wire, feature, site_url, joins, is_answered, posts)
            call.task = self.loop.create_task(call.work())
            self.calls.append(call)
        wire.wants()

    @precondition(lambda self: self.handles and len(self.waits) < MOST_WAITS)
    @rule(pick=PICKS, timeout=st.sampled_from([None, None, 0.5, 4.0, 11.0]))
    def wait(self, pick: int, timeout: float | None) -> None:
        handle = self.handles[pick % len(self.handles)]
        wait = Wait(handle.wire, [handle.operation], self.loop.time(), timeout)
        self.add_wait(wait, handle.operation.wait(timeout=timeout))

    @precondition(lambda self: self.handles and len(self.waits) < MOST_WAITS)
    @rule()
    def gather(self) -> None:
        """Wait for all operations of the client."""
        wire = self.wires[-1]
        operations = [handle.operation for handle in self.handles if handle.wire is wire]
        wait = Wait(wire, operations, self.loop.time())
        self.add_wait(wait, wire.client.gather(*operations))

    @precondition(lambda self: self.handles and len(self.waits) < MOST_WAITS)
    @rule(pick=PICKS, every_change=st.booleans(), leaves=st.booleans())
    def iterate(self, pick: int, *, every_change: bool, leaves: bool) -> None:
        handle = self.handles[pick % len(self.handles)]
        operation, transitions = handle.operation, list[Transition[Any]]()

        async def work() -> None:
            iteration: AsyncIterator[Any] = (
                operation.updates() if every_change else aiter(operation)
            )
            async for transition in iteration:
                transitions.append(transition)
                if leaves and len(transitions) == 2:
                    break

        wait = Wait(
            handle.wire, [operation], self.loop.time(), leaves=leaves, transitions=transitions
        )
        self.add_wait(wait, work())

    @precondition(lambda self: self.handles and len(self.waits) < MOST_WAITS)
    @rule(pick=PICKS, is_late=st.booleans())
    def poll(self, pick: int, *, is_late: bool) -> None:
        handle = self.handles[pick % len(self.handles)]

        async def work() -> None:
            TROUBLE.set(TROUBLES["late"] if is_late else None)
            try:
                await handle.operation.poll()
            finally:  # a late poll may show it before this one is judged
                wait.was_known = handle.operation._polled.state.is_known

        wait = Wait(handle.wire, [handle.operation], self.loop.time(), is_poll=True)
        self.add_wait(wait, work())

    def add_wait(self, wait: Wait, work: Coroutine[Any, Any, Any]) -> None:
        wait.task = self.loop.create_task(work)
        wait.task.add_done_callback(lambda _: setattr(wait, "ended", self.loop.time()))
        wait.wire.wants([operation._polled.request for operation in wait.operations])
        wait.was_known = all(operation._polled.state.is_known for operation in wait.operations)
        self.waits.append(wait)

    @precondition(lambda self: self.under_way)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        """Cancel a wait, or the caller of a dispatch."""
        cancelled = self.under_way[pick % len(self.under_way)]
        cancelled.is_cancelled = True
        if isinstance(cancelled, Call):
            # A second that is on its way already comes to its end; no other may follow.
            posts = cancelled.posts
            posts.leave = min(posts.leave, max(0, posts.unclear[posts.name] - 1))
        cancelled.task.cancel()
        self.run(run_ready())
        assert cancelled.task.done(), "what was cancelled hangs"
        with suppress(asyncio.CancelledError, VibeError):
            cancelled.task.result()  # as callers do; until then it holds its frames

    @property
    def under_way(self) -> list[Wait | Call]:
        both: list[Wait | Call] = [*self.waits, *self.calls]
        return [each for each in both if not each.task.done()]

    @precondition(lambda self: self.handles and len(self.handles) < MOST_HANDLES)
    @rule(pick=PICKS)
    def attach(self, pick: int) -> None:
        wire, ref = self.wires[-1], self.handles[pick % len(self.handles)].operation.ref

        async def work() -> AnyOperation:
            return wire.client.attach(ref)

        self.handles.append(Handle(self.run(work()), wire))

    @precondition(lambda self: len(self.wires) < MOST_WIRES)
    @rule(twice=st.booleans())
    def close(self, *, twice: bool) -> None:
        """Close the client, and go on with a new one some seconds later."""
        self.close_the_client(times=1 + twice)
        self.open()
        self.pass_time(5.0)

    def close_the_client(self, *, times: int) -> None:
        """Check that nothing is left: the others are closed already."""
        wire = self.wires[-1]

        async def work() -> None:
            await asyncio.gather(*(wire.client.aclose() for _ in range(times)))
            wire.is_closed = True
            await run_ready()

        self.run(work())
        assert not self.under_way, f"not ended by the close: {self.under_way}"
        loop: Any = self.loop
        assert not [timer for timer in loop._scheduled if not timer.cancelled()], "a timer is left"
        assert not asyncio.all_tasks(self.loop), "a task is left"

    def is_wanted(self, wire: Wire, request: Request[Any]) -> bool:
        """Return whether a task waits for the operation of a poll."""
        if any(not call.task.done() and call.joins and call.wire is wire for call in self.calls):
            return True  # it may well wait for a generation in flight
        return any(
            operation._polled.request is request
            for wait in self.waits
            if wait.wire is wire and not wait.task.done() and not wait.is_poll
            for operation in wait.operations
        )

    @invariant()
    def all_is_well(self) -> None:
        """Let some time pass with each step, and check that nothing is wrong."""
        self.pass_time(STEP)
        self.judge()

    def judge(self) -> None:
        for handle in self.handles:
            self.judge_handle(handle)
        for wait in self.waits:
            if wait.task.done():
                self.judge_wait(wait)
            elif wait.timeout is not None:
                assert self.loop.time() <= wait.began + wait.timeout, "a time-out was missed"
        self.waits = [wait for wait in self.waits if not wait.task.done()]
        assert not self.problems, self.problems

    def judge_handle(self, handle: Handle) -> None:
        """Check that what is known only grows, and that an end is for good."""
        operation = handle.operation
        rank = RANKS[operation.phase]
        assert rank >= handle.rank, f"{operation} went back"
        assert handle.observed_at is None or operation.observed_at >= handle.observed_at
        updated_at = getattr(operation.snapshot, "updated_at", None)
        assert handle.updated_at is None or updated_at >= handle.updated_at, "an older answer"
        if handle.outcome is not None:
            assert operation.outcome is handle.outcome, f"{operation} changed after its end"
        elif operation.done:
            handle.outcome = operation.outcome
            self.judge_outcome(operation)
        handle.rank, handle.observed_at = rank, operation.observed_at
        handle.updated_at = updated_at

    def judge_outcome(self, operation: AnyOperation) -> None:
        """Check that an outcome is the service's own, and whole."""
        if isinstance(operation, RunOperation):
            assert operation.status == self.emulator.runs[operation.run_id].status
            assert operation.outcome is not None
            assert operation.outcome.tests, "this was a row of a list"
        elif operation.request_id in self.emulator.generations or not self.is_forged:
            assert operation.status == self.emulator.generations[operation.request_id].status

    def judge_wait(self, wait: Wait) -> None:
        """Check that a wait ended as it may."""
        if wait.task.cancelled():
            assert wait.is_cancelled, "a wait was cancelled without a cancel()"
            return
        error = wait.task.exception()
        ranks = [RANKS[transition.phase] for transition in wait.transitions]
        assert ranks == sorted(ranks), "an iteration went back"
        if error is None:
            is_over = all(operation.done for operation in wait.operations)
            assert is_over or wait.is_poll or wait.leaves, "a wait ended before the end"
            assert wait.leaves or not ranks or ranks[-1] == RANKS[Phase.FINISHED]
            return
        assert isinstance(error, VibeError), repr(error)
        assert error.ref is not None
        of_it = [each for each in wait.operations if each.ref.key == error.ref.key]
        assert self.is_due(error, wait, of_it[0]), repr(error)

    def is_due(self, error: VibeError, wait: Wait, operation: AnyOperation) -> bool:
        """Say whether there was reason for an error."""
        if isinstance(error, WaitTimeoutError):
            return wait.timeout is not None and wait.ended >= wait.began + wait.timeout - A_MOMENT
        if isinstance(error, ClientClosedError):
            return wait.wire.is_closed
        if isinstance(error, OperationSupersededError):
            return self.is_forged or self.is_superseded(operation)
        return isinstance(error, ObservationError) and self.was_unseen(error, wait, operation)

    def was_unseen(self, error: ObservationError, wait: Wait, operation: AnyOperation) -> bool:
        """Return whether an operation was not seen for as long as that is tolerated."""
        polled = operation._polled
        state = polled.state
        unseen = wait.ended - max(state.began, wait.wire.seen.get(id(polled.request), 0.0))
        if isinstance(error, OperationNotFoundError):
            return unseen >= GRACE - A_MOMENT or not (state.is_known and wait.was_known)
        if wait.is_poll:  # one poll failed, or showed the generation before
            return error.__cause__ is not None or isinstance(operation, GenerationOperation)
        return unseen >= OUTAGE - A_MOMENT or self.is_superseded(operation)

    def is_superseded(self, operation: AnyOperation) -> bool:
        others = self.emulator.generations.values()
        latest = [each.request_id for each in others if each.feature_id == operation.feature_id]
        return isinstance(operation, GenerationOperation) and latest[-1] != operation.request_id

    def teardown(self) -> None:
        try:
            self.end()
            self.close_the_client(times=1)
        finally:
            self.run(self.clean_up())
            self.loop.close()

    async def clean_up(self) -> None:
        """End what is left of a game that was lost."""
        for wire in self.wires:
            await wire.client.aclose()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def end(self) -> None:
        """Let everything finish, and check the outcomes."""
        self.troubles |= troubles(POLLS, "none", None)
        self.finish_all()
        assert not self.waits, "a wait hangs because of a list"
        self.mend()
        self.finish_all()
        assert not self.under_way, "something hangs although all is well"
        throttle = self.wires[-1].client._transport._throttle
        assert throttle._free == CONNECTIONS, "a slot was not freed"
        for call in self.calls:
            self.judge_call(call)
        self.judge_what_was_dispatched()

    def finish_all(self) -> None:
        """Bring all that the service does to its end, and what comes of that."""
        for _ in range(3):
            for run_id in self.emulator.runs:
                self.emulator.finish_run(run_id)
            for request_id in self.emulator.generations:
                self.emulator.finish_generation(request_id)
            self.pass_time(40.0)
        self.judge()

    def judge_call(self, call: Call) -> None:
        """Check that the end of a dispatch says what happened."""
        operation, error = call.operation, None
        generations = [number for number in call.posts.made if isinstance(number, str)]
        runs = [number for number in call.posts.made if isinstance(number, int)]
        mine = runs if call.posts.name == "run_feature" else generations
        assert len(runs) <= 1 + call.posts.leave, "run twice"
        assert len(generations) <= 1, "paid twice"
        if call.is_in_doubt:
            assert call.is_cancelled or not call.task.cancelled()
            assert call.wire.reported.issuperset(mine) or not call.is_answered, "an id was lost"
        elif operation is None:
            error = call.task.exception()
            assert isinstance(error, VibeError), repr(error)
            assert not mine, f"done, though it raised {error!r}"
        else:
            assert operation.adopted or number_of(operation.ref) in mine
            assert number_of(operation.ref) in call.wire.reported or call.joins
        if isinstance(operation, RunOperation):
            run = self.emulator.runs[operation.run_id]
            assert run.feature_name == call.feature
            assert call.site_url in {None, run.site_url}, "a run of another site"

    def judge_what_was_dispatched(self) -> None:
        """Check that each operation is of one call, was reported to the hook, or is in doubt."""
        operations = [call.operation for call in self.calls if call.operation is not None]
        runs = [each.run_id for each in operations if isinstance(each, RunOperation)]
        generations = [
            number_of(call.operation.ref)
            for call in self.calls
            if isinstance(call.operation, GenerationOperation) and not call.joins
        ]
        assert len(runs) == len(set(runs)), "two dispatches share one run"
        are_single = len(generations) == len(set(generations))
        assert are_single or self.is_forged, "two dispatches share one generation"
        reported = {number for wire in self.wires for number in wire.reported}
        unreported = [
            number for call in self.calls for number in call.posts.made if number not in reported
        ]
        doubts = sum(call.is_in_doubt or call.posts.leave for call in self.calls)
        # A lost generation whose place a rival's has taken can't be distinguished from that one.
        misled = [each for each in operations if isinstance(each, GenerationOperation)]
        assert len(unreported) <= doubts + sum(each.adopted for each in misled), (
            f"lost: {unreported}"
        )


def troubles(
    names: tuple[str, ...], trouble: str, times: int | None
) -> Mapping[str, Iterator[Trouble]]:
    """Return the same trouble for requests of these names, so many times each; None for ever."""
    count = 10**9 if times is None else times
    return {name: repeat(EVERY_TROUBLE[trouble], count) for name in names}


async def run_ready() -> None:
    """Let all ready tasks run."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.timeout(0 if GAMES else 300)
def test_whatever_happens_in_whatever_order(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No order of events makes an operation break what it promises."""
    monkeypatch.setattr("testvibe_async._polling.list_polling.UNUSABLE_SECONDS", 15.0)
    caplog.set_level(logging.ERROR)
    run_state_machine_as_test(
        Game,
        settings=settings(
            max_examples=GAMES or amount(200, few=40),
            stateful_step_count=50,
            derandomize=not GAMES,
            database=None,
            deadline=None,
            phases=(Stage.generate, Stage.shrink),
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
