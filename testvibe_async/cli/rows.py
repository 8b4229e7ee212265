"""One operation of a command as last observed: its state in a word, its result in a few.

Decides the words, and the order in which they are counted. A `Row` is the item of a batch with the
last snapshot of its operation; how it looks is decided in `display`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from testvibe_async import Generation, Phase, Run, RunRef, Verdict, WaitTimeoutError
from testvibe_async._util import escape
from testvibe_async.cli.words import UNSEEN, counted, item_name, plural, reason
from testvibe_async.runner.generation_limit import LIMITED, GenerationLimitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async.cli.words import Item

__all__ = ["STYLES", "Row", "count_words", "counts_of", "verdict_of", "word_of"]

STYLES = {
    "passed": "green",
    "flaky": "yellow",
    "generated": "green",
    "failed": "bold red",
    "quarantined": "yellow",
    "cancelled": "yellow",
    "error": "bold red",
    "unknown": "bold magenta",
    LIMITED: "yellow",
    UNSEEN: "yellow",
    "in flight": "",
    "running": "cyan",
    "generating": "cyan",
    "queued": "dim",
    "waiting": "dim",
    "skipped": "",
}
"""The styles of the known words, in the order in which they are counted."""

_BAD = {"failed", "error", "unknown", "cancelled"}

_NOT_OVER = {Verdict.IN_FLIGHT, Verdict.WAITING, Verdict.SKIPPED}


def verdict_of(item: Item) -> str:
    """Return the verdict in a word; the command line has more of them than the library."""
    if item.is_unseen:
        return UNSEEN
    if item.is_dropped:
        return "dropped"
    return LIMITED if isinstance(item.error, GenerationLimitError) else str(item.verdict)


def word_of(item: Item) -> str:
    """Return the service's own word for the result, else the verdict; `flaky` if it is flaky."""
    if item.is_flaky:
        return "flaky"
    if item.quarantine is not None and item.verdict is not Verdict.SUCCEEDED:
        return str(item.verdict)
    return escape(item.outcome.status or "over") if item.outcome else verdict_of(item)


def counts_of(items: Iterable[Item]) -> str:
    """Return the numbers of items by result, such as `18 passed, 2 failed`."""
    return count_words(map(word_of, items)) or "nothing to do"


def count_words(words: Iterable[str]) -> str:
    """Return how many there are of each word; unknown ones come last."""
    numbers = sorted(Counter(words).items(), key=lambda each: -each[1])
    rank = {word: index for index, word in enumerate(STYLES)}
    numbers.sort(key=lambda each: rank.get(each[0], len(rank)))
    return ", ".join(counted(number, word) for word, number in numbers)


@frozen(kw_only=True)
class Row:
    """One item, as last observed. Instants are seconds of the event loop's clock."""

    item: Item
    snapshot: Run | Generation | None = None
    """The last snapshot of its operation; None before the first poll."""

    phase: Phase | None = None
    """The phase of the operation as last observed; None before the first poll."""

    status: str | None = None
    """The service's own word for that."""

    is_final: bool = False
    """True if the command does nothing more for the item."""

    started: float = 0.0
    """When it was first observed with its operation."""

    ended: float | None = None
    """When it was observed to be over, or abandoned; None before."""

    @property
    def is_over(self) -> bool:
        """True if the outcome is known: the operation ended or was abandoned."""
        return self.is_final and self.item.verdict not in _NOT_OVER

    @property
    def is_shown(self) -> bool:
        """True if there is something to show: the operation was dispatched or abandoned."""
        return self.item.latest_ref is not None or self.is_over

    @property
    def is_bad(self) -> bool:
        """True if the operation is over and did not pass."""
        return self.is_over and self.word in _BAD

    @property
    def is_polled(self) -> bool:
        """True if the operation was dispatched, and not observed to end."""
        is_seen = self.is_over or self.phase is Phase.FINISHED
        return self.item.latest_ref is not None and not is_seen

    @property
    def feature(self) -> str:
        """The feature's name: the service's own, once observed."""
        return (self.snapshot and self.snapshot.feature_name) or self.item.feature_name

    @property
    def named_item(self) -> Item:
        """The item, with the observed names of its feature and configuration."""
        config = self.item.config or getattr(self.snapshot, "config", None)
        return evolve(self.item, name=self.feature, config=config)

    @property
    def name(self) -> str:
        """The feature, and the configuration if it is not the default one."""
        return escape(item_name(self.named_item))

    @property
    def operation(self) -> str:
        """The operation: `run 214`, or `generation`, whose id is too long for a table."""
        ref = self.item.latest_ref
        if ref is None:
            return "—"
        return str(ref) if isinstance(ref, RunRef) else ref.kind

    @property
    def word(self) -> str:
        """The state: `waiting`, `queued`, and from then on the service's own word, or one of ours.

        Ours are `error`, `unknown` where it may have been dispatched, and `flaky` where it passed
        after an attempt that failed.
        """
        if self.is_over or self._is_abandoned or self.item.is_unseen:
            return word_of(self.item)
        if self.item.latest_ref is None:
            return "waiting"
        if self.status is None or self.phase is Phase.QUEUED:
            return "queued"
        return escape(self.status)

    @property
    def result(self) -> str:
        """The result in a few words; empty if nothing is known yet."""
        # Its import takes time, and a command that fails early does without.
        from testvibe_async.reports import reason_of  # noqa: PLC0415

        known, attempt = "", len(self.item.earlier) + 1
        if self.is_over or self._is_abandoned:
            error = self.item.error
            known = escape(reason_of(self.item)) if error is None else reason(error)
        elif isinstance(self.snapshot, Generation) and (sections := self.snapshot.sections):
            over = sum(section.conclusion is not None for section in sections)
            known = f"{over} of {plural(len(sections), 'section')}"
        return ", ".join(filter(None, (known, f"attempt {attempt}" if attempt > 1 else "")))

    @property
    def _is_abandoned(self) -> bool:
        """True if the operation is in flight, and an error ended the wait for it."""
        is_late = self.item.error is None or isinstance(self.item.error, WaitTimeoutError)
        return self.is_final and not is_late

    def elapsed(self, now: float) -> float:
        """Return the seconds since the dispatch, of a run that is over by the service's clock."""
        run = self.item.outcome
        if isinstance(run, Run) and run.created_at and run.finished_at:
            return max((run.finished_at - run.created_at).total_seconds(), 0.0)
        return (now if self.ended is None else self.ended) - self.started
