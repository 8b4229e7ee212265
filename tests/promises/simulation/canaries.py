"""Mutants of the client, each of which the simulation has to catch: a test of the checker.

Each breaks one promise in a way that a client somewhere has broken it, by a patch of one function.
"""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from attrs import evolve

from tests.promises.simulation.search import BrokenScheduleError, search
from testvibe_async._batch import Scheduler
from testvibe_async._dispatch import dispatcher, reconcile
from testvibe_async._dispatch import search as dispatch_search
from testvibe_async._http import Transport, retry, submission, throttle
from testvibe_async._http.session import HttpSession
from testvibe_async._polling import Poller, list_polling, polled, reader, shared_poll, state
from testvibe_async._polling.waits import wait_until_finished
from testvibe_async.errors import (
    ClientClosedError,
    NotSentError,
    OperationSupersededError,
    OutcomeUnknownError,
    WaitTimeoutError,
)
from testvibe_async.models import Phase

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["CANARIES", "schedules_until_caught"]

Mutate: TypeAlias = "Callable[[pytest.MonkeyPatch], None]"

SCHEDULES = 100
"""Within how many schedules each has to be caught."""
SEED = 6
"""One with which the rarest two are caught: with most, they take up to 300 schedules."""
OTHER_SEEDS = {
    "the first of several candidates is adopted": 4,
    "absence from a list is taken for the end": 1,
}
"""The same for Python 3.12 and later, where some tasks begin at once and schedules differ."""


def _yes(*_: Any, **__: Any) -> bool:
    return True


def _no(*_: Any) -> bool:
    return False


def _nothing(*_: Any) -> None:
    pass


def _unknown_dispatch_is_repeated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retry, "_may_retry", _yes)


def _post_is_retried_in_the_session(patch: pytest.MonkeyPatch) -> None:
    send = HttpSession.send

    async def send_again(self: HttpSession, *args: Any, **kwargs: Any) -> Any:
        try:
            return await send(self, *args, **kwargs)
        except OutcomeUnknownError:
            return await send(self, *args, **kwargs)

    patch.setattr(HttpSession, "send", send_again)


def _lost_answer_is_called_not_sent(patch: pytest.MonkeyPatch) -> None:
    send = HttpSession.send

    async def send_or_deny(self: HttpSession, *args: Any, **kwargs: Any) -> Any:
        try:
            return await send(self, *args, **kwargs)
        except OutcomeUnknownError as error:
            raise NotSentError(error.what, method=error.method, url=error.url) from error

    patch.setattr(HttpSession, "send", send_or_deny)


def _post_under_way_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    def cancel(task: asyncio.Task[Any], submission: submission.Submission) -> None:
        submission.is_withdrawn = True
        task.cancel()

    patch.setattr(dispatcher, "_withdraw", cancel)
    patch.setattr(submission.Submission, "is_sent", property(_no))


def _first_candidate_is_adopted(patch: pytest.MonkeyPatch) -> None:
    judge = reconcile.Reconciler._judge

    def take_the_first(self: Any, *args: Any, **kwargs: Any) -> reconcile.Finding:
        finding = judge(self, *args, **kwargs)
        return evolve(finding, ref=finding.candidates[0]) if finding.candidates else finding

    patch.setattr(reconcile.Reconciler, "_judge", take_the_first)


def _cut_list_is_taken_as_whole(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatch_search, "_has_all_since", _yes)


def _earlier_generation_is_adopted(patch: pytest.MonkeyPatch) -> None:
    search_generation = dispatch_search._search_generation

    async def forget_the_one_before(intent: Any, transport: Any) -> dispatch_search.Search:
        return await search_generation(evolve(intent, previous_id=None), transport)

    patch.setattr(dispatch_search, "_search_generation", forget_the_one_before)
    patch.setattr(dispatch_search, "_is_earlier", _no)


def _retry_after_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retry, "refused_seconds", _nothing)


def _slot_is_lost_with_an_error(patch: pytest.MonkeyPatch) -> None:
    release = throttle.Throttle.release

    def release_unless_failing(self: Any) -> None:
        if sys.exc_info()[0] is None:
            release(self)

    patch.setattr(throttle.Throttle, "release", release_unless_failing)


def _close_ends_no_wait(patch: pytest.MonkeyPatch) -> None:
    end_waits = reader.Reader.end_waits

    def end_unless_closed(polled: Any, error: Any) -> None:
        if not isinstance(error, ClientClosedError):
            end_waits(polled, error)

    patch.setattr(reader.Reader, "end_waits", staticmethod(end_unless_closed))


def _closed_client_goes_on(patch: pytest.MonkeyPatch) -> None:
    async def leave_all(_: Any) -> None:
        pass

    patch.setattr(Transport, "is_closed", property(_no))
    patch.setattr(Poller, "aclose", leave_all)


def _cancelled_waiter_ends_the_poller(patch: pytest.MonkeyPatch) -> None:
    wait = wait_until_finished

    async def wait_and_end(polled: Any, poller: Any, *, timeout: Any) -> None:
        is_over = False
        try:
            await wait(polled, poller, timeout=timeout)
            is_over = True
        finally:
            if not is_over:
                for worker in [*poller._workers]:
                    worker.cancel()

    patch.setattr("testvibe_async.operations.wait_until_finished", wait_and_end)


def _cancelled_poll_cancels_those_who_share_it(patch: pytest.MonkeyPatch) -> None:
    async def poll(self: Any, polled: Any, **_: Any) -> None:
        task = self._polls.get(polled)
        if task is None:
            task = self._polls[polled] = asyncio.create_task(self._read(polled))
            task.add_done_callback(lambda _: self._polls.pop(polled))
        await task

    patch.setattr(shared_poll.SharedPolls, "poll", poll)


def _time_out_is_taken_for_the_end(patch: pytest.MonkeyPatch) -> None:
    wait = wait_until_finished

    async def wait_a_while(*args: Any, **kwargs: Any) -> None:
        with suppress(WaitTimeoutError):
            await wait(*args, **kwargs)

    patch.setattr("testvibe_async.operations.wait_until_finished", wait_a_while)


def _only_one_listener_is_woken(patch: pytest.MonkeyPatch) -> None:
    operation: Any = polled.PolledOperation
    release = operation.release

    def release_one(self: Any) -> Any:
        return release(self)[:1]

    patch.setattr(operation, "release", release_one)


def _absence_is_taken_for_the_end(patch: pytest.MonkeyPatch) -> None:
    poll = list_polling.ListPolling.poll

    async def poll_and_end(self: Any, operations: Any) -> Any:
        listed = await poll(self, operations)
        for each in () if listed is None else listed.to_read:
            if each.state.snapshot is not None:
                each.state.phase = Phase.FINISHED
                for listener in each.release():
                    listener.observed(each, is_transition=True)
        return listed

    patch.setattr(list_polling.ListPolling, "poll", poll_and_end)


def _stale_answer_replaces_a_newer_one(patch: pytest.MonkeyPatch) -> None:
    def replace(self: Any, snapshot: Any) -> state.Change:
        self.snapshot, self.phase = snapshot, snapshot.phase
        return state.Change.TRANSITION

    patch.setattr(state.OperationState, "_replace", replace)


def _not_found_is_final_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state, "GRACE_SECONDS", 0.0)


def _one_failed_poll_ends_the_waits(patch: pytest.MonkeyPatch) -> None:
    init = reader.Reader.__init__

    def impatient(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs | {"max_outage": 0.0})

    patch.setattr(reader.Reader, "__init__", impatient)


def _earlier_generation_supersedes(patch: pytest.MonkeyPatch) -> None:
    def belongs(self: Any, snapshot: Any, _: float) -> bool:
        if snapshot.request_id and not self.is_of_this(snapshot):
            raise OperationSupersededError(ref=self.ref, newer_request_id=snapshot.request_id)
        return True

    patch.setattr(state.GenerationState, "belongs", belongs)


def _what_passed_runs_again(patch: pytest.MonkeyPatch) -> None:
    def runs_again(self: Any, place: int) -> bool:
        operation = self.records.operations.get(place)
        if operation is None or operation.outcome is None or self.records.earlier[place]:
            return False
        self._requeue(place)
        return True

    patch.setattr(Scheduler, "_runs_again", runs_again)


CANARIES: dict[str, tuple[Mutate, str]] = {
    "an unknown dispatch is sent again": (_unknown_dispatch_is_repeated, "took effect as"),
    "the session sends a POST again": (_post_is_retried_in_the_session, "took effect as"),
    "a lost answer is called not sent": (
        _lost_answer_is_called_not_sent,
        "took effect as|and nobody knows",
    ),
    "a POST under way is cancelled with its caller": (
        _post_under_way_is_cancelled,
        "its item says error",
    ),
    "the first of several candidates is adopted": (_first_candidate_is_adopted, "showed its own"),
    "a list that was cut is taken as whole": (
        _cut_list_is_taken_as_whole,
        "from a list that was cut",
    ),
    "the generation before is adopted": (
        _earlier_generation_is_adopted,
        "which nobody began in this world",
    ),
    "Retry-After is ignored for a dispatch": (
        _retry_after_is_ignored,
        "before its Retry-After is over",
    ),
    "a slot is lost with each error": (
        _slot_is_lost_with_an_error,
        "slots of the throttle are still held",
    ),
    "a close ends no wait": (_close_ends_no_wait, "still waiting"),
    "a closed client goes on": (_closed_client_goes_on, "the poller has a timer"),
    "a cancelled waiter ends the poller": (_cancelled_waiter_ends_the_poller, "given up too soon"),
    "a cancelled poll cancels who shares it": (
        _cancelled_poll_cancels_those_who_share_it,
        "was cancelled, and nobody asked for it",
    ),
    "a time-out is taken for the end": (_time_out_is_taken_for_the_end, "a wait ended, and it is"),
    "one listener alone is woken": (_only_one_listener_is_woken, "still waiting"),
    "absence from a list is taken for the end": (
        _absence_is_taken_for_the_end,
        "is said to be running",
    ),
    "a stale answer replaces a newer one": (_stale_answer_replaces_a_newer_one, "went back to"),
    "a 404 within its grace is final": (_not_found_is_final_at_once, "404 not_found"),
    "a failed poll ends the waits": (_one_failed_poll_ends_the_waits, "given up too soon"),
    "a generation before supersedes": (
        _earlier_generation_supersedes,
        "took its place, and nothing did",
    ),
    "what passed runs again": (_what_passed_runs_again, "took effect as"),
}
"""By what each does wrong: the mutant, and what the invariant says that it breaks, as a pattern."""


def schedules_until_caught(name: str) -> int | None:
    """Return after how many schedules a mutant is caught; None where that is too late.

    Raises:
        AssertionError: It breaks something else than it is there for: it is no such mutant.
    """
    others: dict[str, int] = OTHER_SEEDS if sys.version_info >= (3, 12) else {}
    mutate, broken = CANARIES[name]
    with pytest.MonkeyPatch.context() as patch:
        mutate(patch)
        try:
            search(SCHEDULES, seed=others.get(name, SEED), shrinks=False)
        except BrokenScheduleError as error:
            if not re.search(broken, str(error)):
                raise AssertionError(f"caught by something else than {broken!r}") from error
            return error.number + 1
    return None
