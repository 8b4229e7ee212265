"""Whether the service answers, by the events of a client, and the sentences for where it does not.

The client announces outages, pauses, and lists that it does without. Added to that is what it can't
announce yet: requests that fail or hang before a poll has failed twice. It decides when each is
told: an outage at its begin, every half minute, and at its end; a list once. It prints nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from attrs import define, evolve, field, frozen

from testvibe_async import Hooks
from testvibe_async.cli.words import clock_time, duration, plural, reason
from testvibe_async.events import ListPollingSuspended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from testvibe_async import Ref
    from testvibe_async.events import OutageStarted, PollFailed, RequestFinished

__all__ = ["Contact", "Notice", "Outage", "notice_sentence"]

POLL_SECONDS = 3.0
"""Seconds between two polls of a run."""

_SLOWEST = 10 / 3
"""How many times longer the intervals of a generation become."""

PAUSED_SECONDS = 5.0
"""Seconds without a call of `notices` after which this process was stopped."""

REPEATED_SECONDS = 30.0
"""How often an outage that continues is told again, where nothing is redrawn."""

_TOO_MANY = 429

_MEMBERS = {"list_runs": ("runs", "run"), "list_features": ("features", "generation")}
"""What each list holds, and what is polled by itself without it."""


@frozen(kw_only=True)
class Outage:
    """A time in which the service does not answer."""

    seconds: float
    """How long it has lasted."""

    seen_at: datetime | None
    """When the last good answer came; None where none has come yet."""

    what: str
    """What the service does instead of answering, in a few words."""

    unseen: int
    """How many operations are in flight, and so not seen."""

    unseen_word: str
    """`run`, or what else these are."""

    is_over: bool = False
    """Whether the service answers again."""

    def __str__(self) -> str:
        """Return the sentence."""
        lasted = duration(self.seconds, short=True)
        if self.is_over:
            return f"the service answers again, after {lasted}"
        since = f" since {clock_time(self.seen_at)}" if self.seen_at else ""
        missed = f"; {plural(self.unseen, self.unseen_word)} not seen{since}" if self.unseen else ""
        return f"{self.what} for {lasted}{missed}; trying again"


Notice: TypeAlias = Outage | ListPollingSuspended
"""What is told of the service: that it does not answer, or answers again, or lacks a list."""


def notice_sentence(notice: Notice) -> str:
    """Return a notice as a sentence."""
    if isinstance(notice, Outage):
        return str(notice)
    listed, polled = _MEMBERS.get(notice.operation, (notice.operation, "operation"))
    seconds = duration(notice.seconds, short=True)
    why = reason(notice.error) if notice.error else "it was wrong, or cost more than it saved"
    return f"no list of {listed} for {seconds}, so each {polled} is polled by itself: {why}"


@define(eq=False)
class Contact:
    """What is known of whether the service answers."""

    clock: Callable[[], float]
    """Returns the present, in seconds, such as the event loop's `time`."""

    on_outage: Callable[[OutageStarted], object] = lambda _event: None
    """Called with each outage that the client announces."""

    requests: int = 0
    """How many requests were answered, or failed."""

    _last: float = field(init=False)
    """When the last request ended, or this process went on after a pause of its own."""

    _good: tuple[float, datetime | None] = field(init=False)
    """When the last good answer came, by both clocks; at the start, the start."""

    _before: tuple[float, datetime | None] = field(init=False)
    """When the good answer before that one came."""

    _trouble: str | None = None
    """What came in place of the last answer; None where that was good."""

    _is_away: bool = False
    _is_paused: bool = False
    _called: float = field(init=False)
    _outage: Outage | None = None
    """The outage at the last call of `notices`."""

    _told_at: float = 0.0
    _lists: dict[str, ListPollingSuspended | None] = field(
        init=False, factory=dict[str, "ListPollingSuspended | None"]
    )
    """The lists that are suspended, by operation; None once told."""

    _is_list_alone: bool = False
    """Whether anything was answered since the last list was suspended."""

    def __attrs_post_init__(self) -> None:
        """Start with a service of which nothing is known."""
        self._last = self._called = self.clock()
        self._good = self._before = self._last, None

    @property
    def hooks(self) -> Hooks:
        """The hooks to make the client with."""
        return Hooks(
            on_request=self._on_request,
            on_poll_failed=self._on_poll_failed,
            on_outage_started=self._on_outage_started,
            on_outage_ended=self._on_outage_ended,
            on_pause=lambda _: setattr(self, "_is_paused", True),
            on_resume=lambda _: setattr(self, "_is_paused", False),
            on_list_polling_suspended=self._on_list_polling_suspended,
        )

    def outage(self, in_flight: Sequence[Ref]) -> Outage | None:
        """Return the outage at this moment; None where the service answers.

        Args:
            in_flight: The operations that are polled.
        """
        kinds = {ref.kind for ref in in_flight}
        what = self._what(has_runs="run" in kinds, is_polled=bool(kinds))
        if what is None:
            return None
        good, seen_at = self._good
        return Outage(
            seconds=self.clock() - good,
            seen_at=seen_at,
            what=what,
            unseen=len(in_flight),
            unseen_word=kinds.pop() if len(kinds) == 1 else "operation",
        )

    def notices(self, in_flight: Sequence[Ref]) -> Iterator[Notice]:
        """Yield what is to be told at this moment; to be called at least once a second.

        Args:
            in_flight: The operations that are polled.
        """
        now = self.clock()
        if now - self._called > PAUSED_SECONDS:
            self._last = now  # This process was stopped, or the machine slept: nothing was asked.
        self._called = now
        outage = self.outage(in_flight)
        before, self._outage = self._outage, outage
        if outage is None and before is not None:
            yield evolve(before, is_over=True)
        elif outage is not None and (before is None or now - self._told_at >= REPEATED_SECONDS):
            self._told_at = now
            yield outage
        if self._is_list_alone:
            yield from filter(None, self._lists.values())
            self._lists = dict.fromkeys(self._lists)

    def _what(self, *, has_runs: bool, is_polled: bool) -> str | None:
        """Return what the service does in place of answering; None where it answers."""
        now = self.clock()
        if self._is_paused:
            return "the service asked for a pause: nothing sent"
        if self._trouble is not None and (self._is_away or now - self._good[0] >= POLL_SECONDS):
            return self._trouble
        silence = 2 * POLL_SECONDS * (1 if has_runs else _SLOWEST)
        return "not reachable" if is_polled and now - self._last > silence else None

    def _on_request(self, event: RequestFinished) -> None:
        self.requests += 1
        if event.operation == "download_artifacts":  # From another host.
            return
        self._last, status = self.clock(), event.status
        if status is None:
            self._trouble = "not reachable"
        elif status == _TOO_MANY:
            self._trouble = "the service is too busy"
        elif status >= 500:  # noqa: PLR2004 - it failed
            self._trouble = f"the service answers with nothing but errors ({status})"
        elif not self._is_away:
            self._note_answer()
            self._is_list_alone |= status < 300  # noqa: PLR2004 - an answer of use

    def _note_answer(self) -> None:
        self._before, self._good = self._good, (self.clock(), datetime.now(UTC))
        self._trouble = None

    def _on_poll_failed(self, event: PollFailed) -> None:
        """Revert that the last answer was good, where the poll that it answered has failed."""
        if not event.is_final:
            self._good = self._before

    def _on_outage_started(self, event: OutageStarted) -> None:
        self._is_away = True
        self._lists = {name: each for name, each in self._lists.items() if each is None}
        if self._trouble is None:  # It was taken for a good answer.
            status: int | None = getattr(event.error, "status", None)
            self._trouble = f"the service answers with pages that are not its own ({status})"
        self.on_outage(event)

    def _on_outage_ended(self, _event: object) -> None:
        self._is_away = False
        self._note_answer()

    def _on_list_polling_suspended(self, event: ListPollingSuspended) -> None:
        """Keep it until anything is answered: in an outage no list is worth a line of its own."""
        self._lists.setdefault(event.operation, event)
        self._is_list_alone = False
