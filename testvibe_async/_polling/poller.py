"""One scheduler for every wait of a client.

Decides when each operation is looked at, and by how many at once. Time is cut into ticks, and what
is due within one is looked at together. It polls by demand: without anybody who waits there is no
timer, no task and no request. What an answer means is `_state`'s to say.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from math import floor
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from attrs import frozen

from testvibe_async._polling.list_polling import ListPolling
from testvibe_async._polling.plan import PollPlan, outage_interval
from testvibe_async._polling.state import GRACE_SECONDS, State, Watcher, new_state
from testvibe_async._util.waiting import offload
from testvibe_async.errors import (
    ClientClosedError,
    ConfigError,
    ObservationError,
    VibeError,
)
from testvibe_async.events import Hooks, PollFailed, StatusChanged, logger

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from testvibe_async._http import Transport
    from testvibe_async.refs import Ref

__all__ = ["Poller"]

TICKS_AN_INTERVAL = 10
ROUNDING = 1e-6
"""What a sum of floats may be short of the tick that it means."""


CLOCK_SKEW_SECONDS = 60.0
"""By how much the clock of the machine that dispatched an operation may be ahead of ours."""

MAX_INTERVAL = 1e9
"""Seconds: what a longer interval is taken for, so that it can be counted in ticks."""

STATES_A_TURN = 1000
"""How many operations are put back before others get their turn of the event loop."""


@frozen
class _ListLook:
    """One list call to make."""

    sweep: ListPolling
    due: list[State[Any]]
    early: list[State[Any]]

    @property
    def states(self) -> list[State[Any]]:
        return [*self.due, *self.early]


class Poller:
    """Looks at operations for as long as somebody waits for them."""

    def __init__(  # noqa: PLR0913 - what a client is made with, each by name
        self,
        transport: Transport,
        *,
        interval: float,
        plan: PollPlan,
        max_outage: float,
        max_looks: int,
        hooks: Hooks,
    ) -> None:
        self._transport = transport
        self._interval = interval
        self._plan = plan
        self._max_outage = max_outage
        self._max_looks = max_looks
        self._hooks = hooks
        self._tick_length = interval / TICKS_AN_INTERVAL
        self._phase = random.random() * self._tick_length  # noqa: S311 - spreads load, guards nothing
        self._states: WeakValueDictionary[tuple[object, ...], State[Any]] = WeakValueDictionary()
        self._buckets: dict[int, dict[ListPolling, list[State[Any]]]] = {}
        """By tick and list, what is due. An entry is out of date once its state was taken early."""
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0
        self._sweeps: dict[tuple[str, str], ListPolling] = {}
        self._queue: deque[State[Any] | _ListLook] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._ticket = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gatherings = 0
        self._context = copy_context()
        """Of who made the client: a look is for all who wait, and belongs to none of them."""

    def state(self, ref: Ref, *, is_dispatched: bool = False) -> State[Any]:
        """Return the one state of an operation in this client, made at first use."""
        state = self._states.get(ref.key)
        if state is None:
            began = asyncio.get_running_loop().time() - _age(ref)
            state = self._states[ref.key] = new_state(ref, began=began, is_dispatched=is_dispatched)
            state.sweep = self._sweep_of(ref)
        return state

    def _sweep_of(self, ref: Ref) -> ListPolling:
        """Return the list that may show an operation, one for each project and kind."""
        key = (ref.project, ref.kind)
        sweep = self._sweeps.get(key)
        if sweep is None:
            sweep = self._sweeps[key] = ListPolling(
                self._transport, ref, interval=self._interval, hooks=self._hooks
            )
        return sweep

    def knows(self, ref: Ref) -> bool:
        """Say whether somebody holds a handle on the operation."""
        return ref.key in self._states

    def watch(self, state: State[Any], watcher: Watcher) -> None:
        """Poll an operation that is not over, until the watcher is taken away or told of the end.

        Raises:
            ClientClosedError: The client is closed.
            ConfigError: The client belongs to another event loop, or the poll plan fails.
        """
        self._check_usable(state)
        self._loop = asyncio.get_running_loop()
        state.watch(watcher)
        if state.tick is None and not state.is_looking:
            try:
                self._schedule(state)
            except BaseException:
                state.unwatch(watcher)
                raise

    @contextmanager
    def gathering(self) -> Generator[None]:
        """Put off all ticks while many begin to be watched, so that one list may show them all."""
        self._gatherings += 1
        try:
            yield
        finally:
            self._gatherings -= 1

    def forget(self, watcher: Watcher, states: Iterable[State[Any]]) -> None:
        """Take a watcher away, soon: for a `__del__`, which is called in the midst of anything."""
        states = list(states)

        def unwatch() -> None:
            for state in states:
                state.unwatch(watcher)

        if self._loop is not None:
            with suppress(RuntimeError):  # It is closed, and so looks at nothing any more.
                self._loop.call_soon_threadsafe(unwatch)

    def _check_usable(self, state: State[Any]) -> None:
        try:
            self._transport.check_usable()
        except ClientClosedError:
            raise ClientClosedError(ref=state.ref) from None

    async def look(self, state: State[Any]) -> None:
        """Look at an operation now, whatever is due.

        Raises:
            UnauthorizedError, ForbiddenError: The key may not see it.
            ObservationError: It could not be seen.
            ClientClosedError: The client is closed.
        """
        self._check_usable(state)
        error = await self._observe(state, retries=True)
        if error is not None and not state.is_finished:
            now = asyncio.get_running_loop().time()
            if (final := state.refuse(error, now=now, max_outage=0.0)) is not None:
                raise final
            raise ObservationError(str(error), ref=state.ref) from error

    def _schedule(self, state: State[Any]) -> None:
        """Put an operation down for its next look."""
        state.tick = floor((self._due(state) - self._phase) / self._tick_length + ROUNDING)
        bucket = self._buckets.get(state.tick)
        if bucket is not None:
            bucket.setdefault(state.sweep, []).append(state)
            return
        self._buckets[state.tick] = {state.sweep: [state]}
        heapq.heappush(self._ticks, state.tick)
        self._set_timer()

    def _due(self, state: State[Any]) -> float:
        now = asyncio.get_running_loop().time()
        planned = self._plan(state.ref.kind, now - state.began, state.snapshot)
        interval = min(max(self._tick_length, planned), MAX_INTERVAL)
        if state.last_look is None:
            return max(now, state.began + interval + self._tick_length) if state.is_known else now
        return max(now, state.last_look + self._backed_off(state, interval))

    @staticmethod
    def _backed_off(state: State[Any], interval: float) -> float:
        """Return an interval that grows with failures, but not beyond the end of a 404's grace."""
        if not state.failures:
            return interval
        longer = outage_interval(interval, state.failures)
        if state.missing_since is None or state.last_look is None:
            return longer
        return min(longer, max(interval, state.missing_since + GRACE_SECONDS - state.last_look))

    def _set_timer(self) -> None:
        """Have `_tick` called at the earliest tick that holds anything."""
        if self._timer is not None:
            if self._ticks and self._timer_tick <= self._ticks[0]:
                return
            self._timer.cancel()
            self._timer = None
        if self._ticks:
            self._timer_tick = self._ticks[0]
            at = self._phase + self._timer_tick * self._tick_length
            self._timer = asyncio.get_running_loop().call_at(at, self._tick, context=self._context)

    def _tick(self) -> None:
        """Hand what is due to the workers: by list where that is the cheaper way, else by id."""
        if self._gatherings:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._tick_length, self._tick, context=self._context)
            return
        self._timer = None
        tick = self._timer_tick
        due: dict[ListPolling, list[State[Any]]] = {}
        while self._ticks and self._ticks[0] <= tick:
            earliest = heapq.heappop(self._ticks)
            for sweep, states in self._buckets.pop(earliest).items():
                due.setdefault(sweep, []).extend(self._take(states, earliest))
        for sweep, states in due.items():
            self._assign(sweep, states, tick)
        self._set_timer()
        self._start_workers()

    @staticmethod
    def _take(states: list[State[Any]], tick: int) -> list[State[Any]]:
        """Take what is down for a tick and still watched."""
        taken: list[State[Any]] = []
        for state in states:
            if state.tick == tick:
                state.tick = None
                if state.is_watched:
                    state.is_looking = True
                    taken.append(state)
        return taken

    def _assign(self, sweep: ListPolling, due: list[State[Any]], tick: int) -> None:
        now = asyncio.get_running_loop().time()
        if not sweep.is_worth_it(len(due), now):
            self._queue.extend(due)
            return
        listed: list[State[Any]] = []
        unlisted: list[State[Any]] = []
        for state in due:
            (listed if sweep.may_show(state) else unlisted).append(state)
        self._queue.extend(unlisted)
        if sweep.is_worth_it(len(listed), now):
            self._queue.append(_ListLook(sweep, listed, self._take_early(sweep, tick)))
        else:
            self._queue.extend(listed)

    def _take_early(self, sweep: ListPolling, tick: int) -> list[State[Any]]:
        """Take those of the same list that are due within the interval: a row costs no request."""
        early: list[State[Any]] = []
        for later in range(tick + 1, tick + TICKS_AN_INTERVAL + 1):
            for state in self._buckets.get(later, {}).get(sweep, ()):
                if state.tick == later and state.is_watched and sweep.may_show(state):
                    state.tick = None
                    state.is_looking = True
                    early.append(state)
        return early

    def _start_workers(self) -> None:
        """See to it that as many workers are there as the queue needs, and the limit allows."""
        if self._transport.is_closed:
            return
        for _ in range(min(len(self._queue), self._max_looks - len(self._workers))):
            worker = asyncio.create_task(self._work(), name="testvibe_async poller")
            self._workers.add(worker)
            worker.add_done_callback(self._worker_ended)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        """Take a worker off, and leave nobody in the queue without one.

        A worker that somebody cancelled takes the queue with it, so that no wait hangs on a loop
        that is shutting down. At the client's own close `aclose` tells the waits.
        """
        self._workers.discard(worker)
        if worker.cancelled() and not self._transport.is_closed:
            jobs = list(self._queue)
            self._queue.clear()
            for state in _states_of(jobs):
                state.is_looking = False
                state.tell(ObservationError("the poller's task was cancelled", ref=state.ref))
        self._start_workers()

    async def _work(self) -> None:
        """Serve the queue until it is empty."""
        while self._queue:
            job = self._queue.popleft()
            try:
                await (
                    self._look_by_list(job) if isinstance(job, _ListLook) else self._look_by_id(job)
                )
            except asyncio.CancelledError:
                self._queue.append(job)
                raise
            except BaseException as error:
                # A defect must not hang a wait, nor what a hook raises to end the program.
                logger.exception("looking failed in an unforeseen way")
                for state in _states_of([job]):
                    state.is_looking = False
                    failure = ObservationError(f"unforeseen: {error!r}", ref=state.ref)
                    failure.__cause__ = error
                    state.tell(failure)
                if not isinstance(error, Exception):
                    raise

    async def _look_by_list(self, look: _ListLook) -> None:
        """Ask a list about operations, and have those read by id of which it tells nothing."""
        answer = await look.sweep.look(look.states)
        to_read, put_back = (
            (look.due, look.early) if answer is None else (answer.to_read, answer.going_on)
        )
        self._queue.extend(to_read)
        self._start_workers()
        looked, seen_at = asyncio.get_running_loop().time(), datetime.now(UTC)
        for place, state in enumerate(put_back, start=1):
            state.is_looking = False
            if answer is not None and not state.is_finished:
                state.last_look, state.observed_at = looked, seen_at
                state.forget_reading()
            self._put_back(state)
            if place % STATES_A_TURN == 0:
                await asyncio.sleep(0)

    async def _look_by_id(self, state: State[Any]) -> None:
        """Look at one operation, and put it down for its next look."""
        try:
            error = await self._observe(state, retries=False) if state.is_watched else None
        finally:
            state.is_looking = False
        if error is not None and not state.is_finished:
            self._handle_failure(state, error)
        self._put_back(state)

    def _put_back(self, state: State[Any]) -> None:
        """Put an operation down for its next look, if anybody wants one."""
        if state.is_watched and state.tick is None:
            try:
                self._schedule(state)
            except ConfigError as error:  # what the poll plan did
                state.tell(error)

    async def _observe(self, state: State[Any], *, retries: bool) -> VibeError | None:
        """Ask, take in the answer, and return what went wrong, if anything did."""
        loop = asyncio.get_running_loop()
        self._ticket += 1
        ticket = self._ticket
        try:
            body = await self._transport.call(state.request, retries=retries, is_poll=True)
            snapshot = await offload(len(body), state.read, body)
            before = state.phase, state.status
            state.accept(snapshot, ticket=ticket, now=loop.time())
        except VibeError as error:
            return error
        finally:
            state.last_look = state.last_read = loop.time()
        state.sweep.note(state)
        if (state.phase, state.status) != before and self._hooks.is_enabled(StatusChanged):
            self._hooks.emit(StatusChanged(state.ref, state.present))
        return None

    def _handle_failure(self, state: State[Any], error: VibeError) -> None:
        """Go on after a failure to observe, or tell the waits of it."""
        now = asyncio.get_running_loop().time()
        state.failures += 1
        final = state.refuse(error, now=now, max_outage=self._max_outage)
        self._hooks.emit(PollFailed(state.ref, error, is_final=final is not None))
        if final is not None:
            state.tell(final)

    async def aclose(self) -> None:
        """Stop looking, and tell all who wait that the client is closed."""
        if self._timer is not None:
            self._timer.cancel()
        here = asyncio.get_running_loop()
        workers = [worker for worker in self._workers if worker.get_loop() is here]
        for worker in workers:
            worker.cancel()
        try:
            await asyncio.gather(*workers, return_exceptions=True)
        finally:
            for state in list(self._states.values()):
                state.tell(ClientClosedError(ref=state.ref))


def _states_of(jobs: list[State[Any] | _ListLook]) -> list[State[Any]]:
    states: list[State[Any]] = []
    for job in jobs:
        states.extend(job.states if isinstance(job, _ListLook) else [job])
    return states


def _age(ref: Ref) -> float:
    """Return the seconds since a dispatch, but 0 for what the clocks of two machines may differ."""
    if ref.dispatched_at is None:
        return 0.0
    age = (datetime.now(UTC) - ref.dispatched_at).total_seconds()
    return age if age >= CLOCK_SKEW_SECONDS else 0.0
