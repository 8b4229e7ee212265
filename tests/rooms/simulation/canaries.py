"""Mutants of the client, each of which the simulation has to catch: a test of the checker.

Each breaks one promise in a way that a client somewhere has broken it. They are planted where a
user could: in public methods, the aiohttp session, the hooks, and the ledger. Those that need a
place inside are in one table, `INSIDE`.

`python -m tests.rooms.simulation.canaries` prints after how many schedules each is caught.
"""

import asyncio
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import aiohttp
import pytest
from attrs import evolve, frozen
from multidict import CIMultiDict, CIMultiDictProxy

from tests.promises.simulation import process, restarts, world
from tests.promises.simulation.callers import Caller
from tests.promises.simulation.plan import Plan
from tests.promises.simulation.record import CALLER
from tests.promises.simulation.restarts import play_restarts, play_shared
from tests.promises.simulation.search import BrokenScheduleError, Play, search
from tests.promises.simulation.world import play
from testvibe_async import Client, GenerationOperation, Operation, Project, Run, errors
from testvibe_async._core.ledger import SqliteLedger, sqlite
from testvibe_async.events import Dispatched, DispatchUnknown, Emitter
from testvibe_async.ledger import Row, RowState

Mutate: TypeAlias = "Callable[[pytest.MonkeyPatch], None]"

SCHEDULES = 1000
"""Within how many schedules each has to be caught, with each seed."""
SEEDS = (2, 3)

INSIDE = {
    "send": "testvibe_async._core.http.session.HttpSession.send",
    "row": "testvibe_async._core.dispatch.dispatch.Dispatch.before_writing",
    "evidence": "testvibe_async._core.dispatch.evidence.EvidenceReader.read",
    "contradictions": "testvibe_async.ledger.Row.contradiction",
    "newer answers": "testvibe_async._core.polling.polled.PolledOperation._replace",
}
"""The places inside the client in which mutants are planted, by what they decide. All else is
public, and so are most mutants: a change inside has to look here alone."""


@frozen
class Canary:
    """A mutant, and what catches it."""

    mutate: Mutate
    broken: str
    """What the invariant says that it breaks, as a pattern."""
    play: Play
    world: Mapping[str, Any]
    """What provokes it: members of the plan of each schedule."""


CANARIES: dict[str, Canary] = {}
"""By what each does wrong."""


def canary(name: str, broken: str, play: Play = play, **world: Any) -> Callable[[Mutate], Mutate]:
    """Return a decorator of what plants a mutant; see `Canary`."""

    def added(mutate: Mutate) -> Mutate:
        CANARIES[name] = Canary(mutate, broken, play, world)
        return mutate

    return added


def _around(mutate: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return what puts a coroutine function around another, which it gets first."""

    def wrapped(original: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await mutate(original, *args, **kwargs)

        return call

    return wrapped


def _wrap(
    patch: pytest.MonkeyPatch, owner: type[Any], names: str, wrapped: Callable[[Any], Any]
) -> None:
    """Replace methods by what a function makes of them."""
    for name in names.split():
        patch.setattr(owner, name, wrapped(getattr(owner, name)))


def _wrap_dispatches(patch: pytest.MonkeyPatch, mutate: Callable[..., Any]) -> None:
    """Put a function around the dispatches of a single run or generation."""
    _wrap(patch, Project, "run_feature generate_feature", _around(mutate))


def _wrap_waits(patch: pytest.MonkeyPatch, mutate: Callable[..., Any]) -> None:
    """Put a function around `Operation.wait`."""
    _wrap(patch, Operation, "wait", _around(mutate))


# What is dispatched.


@canary(
    "a POST is sent again",
    "took effect as|cost credits|nobody knows|and its item says|reached the service",
)
def _post_is_sent_again(patch: pytest.MonkeyPatch) -> None:
    async def again(send: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await send(*args, **kwargs)
        except errors.OutcomeUnknownError as error:
            if error.method == "GET":
                raise
            return await send(*args, **kwargs)

    _inside(patch, "send", _around(again))


@canary("a lost one is not sent", "(took effect as|reached the service).* and raised NotSentError")
def _lost_answer_is_called_not_sent(patch: pytest.MonkeyPatch) -> None:
    async def deny(dispatch: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await dispatch(*args, **kwargs)
        except errors.DispatchUnknownError as error:
            raise errors.NotSentError("no", method=error.method, url=error.url) from error

    _wrap_dispatches(patch, deny)


@canary("an id is not reported if its caller left", "and nobody knows")
def _hooks_are_silent_of_who_left(patch: pytest.MonkeyPatch) -> None:
    left: set[tuple[object, int]] = set()
    cancel, emit = Caller._cancel, Emitter.emit

    def note(self: Caller) -> None:
        left.add((asyncio.get_running_loop(), self.number))
        cancel(self)

    def emit_or_not(self: Emitter, event: Any) -> None:
        is_left = (asyncio.get_running_loop(), CALLER.get()) in left
        if not (is_left and isinstance(event, Dispatched | DispatchUnknown)):
            emit(self, event)

    patch.setattr(Caller, "_cancel", note)
    patch.setattr(Emitter, "emit", emit_or_not)


@canary("the first of several candidates is adopted", "showed its own|which is of Intent")
def _first_candidate_is_adopted(patch: pytest.MonkeyPatch) -> None:
    clients: list[process.Process] = []
    init = process.Process.__init__

    def remember(self: process.Process, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        clients[:] = [self]

    async def adopt(dispatch: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await dispatch(*args, **kwargs)
        except errors.DispatchUnknownError as error:
            if not error.candidates:
                raise
            ref, config = error.candidates[0], kwargs.get("config")
            event = Dispatched(ref, adopted=True, feature=error.feature, config=config)
            clients[0]._note_dispatched(event)
            operation = clients[0].client.attach(ref)
            operation.adopted = True
            return operation

    patch.setattr(process.Process, "__init__", remember)
    _wrap_dispatches(patch, adopt)


@canary("a run generates its tests", "cost credits, and nobody wanted it")
def _run_generates_its_tests(patch: pytest.MonkeyPatch) -> None:
    async def generate_first(run: Any, project: Project, feature: Any, **kwargs: Any) -> Any:
        try:
            return await run(project, feature, **kwargs)
        except errors.FeatureNotGeneratedError:
            await project.generate_feature(feature, on_conflict="attach")
            raise

    _wrap(patch, Project, "run_feature", _around(generate_first))


@canary("Retry-After is ignored", "before its Retry-After is over")
def _retry_after_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def without_it(response: aiohttp.ClientResponse) -> CIMultiDictProxy[str]:
        headers = CIMultiDict(response._headers)
        headers.popall("Retry-After", None)
        return CIMultiDictProxy(headers)

    patch.setattr(aiohttp.ClientResponse, "headers", property(without_it))


@canary("what passed runs again", "ran again though it passed")
def _what_passed_runs_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Run, "is_failure", property(lambda _: True))


# What is waited for.


@canary(
    "nothing closes",
    "the poller (has a timer|still works)|tasks go on|sent after the close|are still held",
)
def _closed_client_goes_on(patch: pytest.MonkeyPatch) -> None:
    async def leave_all(_: Client) -> None:
        pass

    patch.setattr(Client, "aclose", leave_all)


@canary("a waiter that leaves ends the poller", "given up too soon")
def _waiter_that_leaves_ends_the_poller(patch: pytest.MonkeyPatch) -> None:
    async def wait_and_end(wait: Any, operation: Any, *, timeout: float | None = None) -> Any:
        try:
            return await wait(operation, timeout=timeout)
        except (asyncio.CancelledError, errors.WaitTimeoutError):
            for task in asyncio.all_tasks():
                if task.get_name() == "testvibe_async poller":
                    task.cancel()
            raise

    _wrap_waits(patch, wait_and_end)


@canary("a cancelled poll cancels who shares it", "was cancelled, and nobody asked for it")
def _cancelled_poll_cancels_those_who_share_it(patch: pytest.MonkeyPatch) -> None:
    poll: Any = Operation[Any].poll
    polls: dict[tuple[object, Operation[Any]], asyncio.Task[Any]] = {}

    async def share(self: Operation[Any]) -> Any:
        key = (asyncio.get_running_loop(), self)
        if (task := polls.get(key)) is None:
            task = polls[key] = asyncio.create_task(poll(self))

            def forget(_: asyncio.Task[Any]) -> None:
                del polls[key]

            task.add_done_callback(forget)
        return await task

    patch.setattr(Operation, "poll", share)


@canary("a time-out is taken for the end", "a wait ended, and it is")
def _time_out_is_taken_for_the_end(patch: pytest.MonkeyPatch) -> None:
    async def wait_a_while(wait: Any, operation: Any, *, timeout: float | None = None) -> Any:
        with suppress(errors.WaitTimeoutError):
            return await wait(operation, timeout=timeout)
        return operation.snapshot or await operation.poll()

    _wrap_waits(patch, wait_a_while)


@canary("a wait that has timed out can't be resumed", "still waiting")
def _time_out_is_final(patch: pytest.MonkeyPatch) -> None:
    timed_out: set[tuple[object, Any]] = set()

    async def wait_once(wait: Any, operation: Any, *, timeout: float | None = None) -> Any:
        key = (asyncio.get_running_loop(), operation)
        if key in timed_out and timeout is None:
            await asyncio.Event().wait()
        try:
            return await wait(operation, timeout=timeout)
        except errors.WaitTimeoutError:
            timed_out.add(key)
            raise

    _wrap_waits(patch, wait_once)


# What is said of it.


@canary("an outcome is early", "is said to be (running|generating), and|a wait ended, and it is")
def _outcome_comes_before_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Operation, "outcome", property(lambda self: self.snapshot))


@canary("a null is taken for a value", "is documented, and was not read|and nothing showed that")
def _null_is_taken_for_a_value(patch: pytest.MonkeyPatch) -> None:
    async def with_values(send: Any, *args: Any, **kwargs: Any) -> Any:
        response = await send(*args, **kwargs)
        return evolve(response, body=response.body.replace(b":null", b":{}"))

    _inside(patch, "send", _around(with_values))


@canary("a stale answer replaces a newer one", "went back")
def _stale_answer_replaces_a_newer_one(patch: pytest.MonkeyPatch) -> None:
    def always(replace: Any) -> Any:
        def replace_always(self: Any, snapshot: Any) -> Any:
            self.snapshot, self.phase = None, None
            return replace(self, snapshot)

        return replace_always

    _inside(patch, "newer answers", always)


@canary("a supersession is guessed", "replaced it, and nothing did")
def _supersession_is_guessed(patch: pytest.MonkeyPatch) -> None:
    async def guess(wait: Any, operation: Any, *, timeout: float | None = None) -> Any:
        try:
            return await wait(operation, timeout=timeout)
        except errors.WaitTimeoutError:
            if not isinstance(operation, GenerationOperation):
                raise
            raise errors.OperationSupersededError(ref=operation.ref, newer_request_id="?") from None

    _wrap_waits(patch, guess)


# What the ledger has, and what follows from it.


@canary(
    "a row comes after the first byte", "acted again|started|credits|never retrieved", play_restarts
)
def _row_comes_after_the_first_byte(patch: pytest.MonkeyPatch) -> None:
    async def insert_later(_before: Any, dispatch: Any) -> None:
        row, ledger = dispatch._new_row(), dispatch.record.ledger
        dispatch.record._take(row)

        def insert() -> None:
            asyncio.ensure_future(ledger.insert(row))  # noqa: RUF006 - it may be lost

        asyncio.get_running_loop().call_later(0.3, insert)

    _inside(patch, "row", _around(insert_later))


@canary("a row that is there is replaced", "acted again|started|credits", play_shared)
def _row_that_is_there_is_replaced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sqlite, "_INSERT", sqlite._INSERT.replace("OR IGNORE", "OR REPLACE"))


@canary(
    "refs are not stored",
    "acted again|began|credits|has an outcome without an operation",
    play_restarts,
)
def _refs_are_not_stored(patch: pytest.MonkeyPatch) -> None:
    async def note(note: Any, ledger: SqliteLedger, row: Row) -> None:
        if row.ref is not None:
            row = evolve(row, ref=None, state=RowState.NOT_STARTED)
        await note(ledger, row)

    _wrap(patch, SqliteLedger, "note", _around(note))


@canary(
    "a contradiction is ignored", "which is of Intent|has the outcome of|nobody knows|of nobody"
)
def _contradiction_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def ignored(_original: Any) -> Any:
        def nothing(*_arguments: object) -> None:
            """Find none."""

        return nothing

    _inside(patch, "contradictions", ignored)


@canary(
    "what is not shown is taken for nothing",
    "took effect as|acted again|nobody knows|credits",
    play_restarts,
    hides_ids="never shown",
    unreadable_rate=0.0,
    dispatch_risk=0.8,
    dispatch_faults=("lost",),
)
def _what_is_not_shown_is_taken_for_nothing(patch: pytest.MonkeyPatch) -> None:
    async def whole(read: Any, *args: Any, **options: Any) -> Any:
        return evolve(await read(*args, **options), is_whole=True)

    _inside(patch, "evidence", _around(whole))


@canary("a resumed call does not wait", "at the end of the last", play_restarts)
def _resumed_call_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(restarts, "LAST_LIFE", 0.5)


def _provoke(patch: pytest.MonkeyPatch, changes: Mapping[str, Any]) -> None:
    """Have each schedule's plan as drawn, but for some of its members."""

    def with_changes(draw: Callable[..., Plan]) -> Callable[..., Plan]:
        return lambda *drawn: evolve(draw(*drawn), **changes)

    for owner, name in ((world, "draw_plan"), (restarts, "_service_plan")):
        patch.setattr(owner, name, with_changes(getattr(owner, name)))


def _inside(patch: pytest.MonkeyPatch, what: str, mutate: Callable[[Any], Any]) -> None:
    """Replace what is at a place inside by what a function makes of it."""
    path = INSIDE[what]
    patch.setattr(path, mutate(pkgutil.resolve_name(path)))


def schedules_until_caught(name: str, seed: int) -> int | None:
    """Return after how many schedules a mutant is caught; None where that is too late.

    Raises:
        AssertionError: It breaks something else than it is there for: it is no such mutant.
    """
    canary = CANARIES[name]
    with pytest.MonkeyPatch.context() as patch:
        canary.mutate(patch)
        _provoke(patch, canary.world)
        try:
            search(SCHEDULES, seed=seed, shrinks=False, play=canary.play)
        except BrokenScheduleError as error:
            if not re.search(canary.broken, str(error)):
                raise AssertionError(f"caught by something else than {canary.broken!r}") from error
            return error.number + 1
    return None


def main() -> int:
    """Print after how many schedules, by seed, each mutant is caught; return 1 where one is not."""
    is_missed = False
    for name in CANARIES:
        caught = [schedules_until_caught(name, seed) for seed in SEEDS]
        is_missed |= None in caught
        said = ", ".join(f"{schedules or 'never':>5}" for schedules in caught)
        print(f"{said}  {name}", flush=True)  # noqa: T201
    return 1 if is_missed else 0


if __name__ == "__main__":
    sys.exit(main())
