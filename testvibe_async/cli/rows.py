"""One operation of a command as it was last seen: its state in a word, its result in a few.

It decides the words, and the order in which they are counted. A `Row` is the item of a batch with
the last snapshot of its operation; how it looks is decided in `display`.
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
    return LIMITED if isinstance(item.error, GenerationLimitError) else str(item.verdict)


def word_of(item: Item) -> str:
    """Return the service's own word for the result, else the verdict; `flaky` where it is that."""
    if item.is_flaky:
        return "flaky"
    return escape(item.outcome.status or "over") if item.outcome else verdict_of(item)


def counts_of(items: Iterable[Item]) -> str:
    """Return the numbers of items by result, such as `18 passed, 2 failed`."""
    return count_words(map(word_of, items)) or "nothing to do"


def count_words(words: Iterable[str]) -> str:
    """Return how many there are of each word; unknown ones come last."""
    order = list(STYLES)
    ranked = sorted(
        Counter(words).items(),
        key=lambda each: (order.index(each[0]) if each[0] in order else len(order), -each[1]),
    )
    return ", ".join(counted(number, word) for word, number in ranked)


@frozen(kw_only=True)
class Row:
    """One item, as it was last seen. Instants are seconds of the event loop's clock."""

    item: Item
    snapshot: Run | Generation | None = None
    """What was last seen of its operation; None before the first poll."""

    phase: Phase | None = None
    """None before the first poll."""

    status: str | None = None
    """The service's own word; None before the first poll."""

    note: str = ""
    """The last line of its log; empty where none was read."""

    is_attached: bool = False
    """Whether it was dispatched elsewhere, or by a command before."""

    is_final: bool = False
    """Whether the command does nothing more for it."""

    started: float
    """When it was dispatched, or first seen here."""

    ended: float | None = None
    """When it was seen to be over, or given up; None while it is not."""

    @property
    def is_over(self) -> bool:
        """Whether its result is known: it ended, or was given up."""
        return self.is_final and self.item.verdict not in _NOT_OVER

    @property
    def _is_given_up(self) -> bool:
        """Whether it has an error in place of a result, and is not waited for any more."""
        error = self.item.error
        return self.is_final and error is not None and not isinstance(error, WaitTimeoutError)

    @property
    def is_shown(self) -> bool:
        """Whether there is something to show: it was dispatched, or given up."""
        return self.item.latest_ref is not None or self.is_over

    @property
    def is_bad(self) -> bool:
        """Whether it is over and did not go well."""
        return self.is_over and self.word in _BAD

    @property
    def feature(self) -> str:
        """The feature's name: the service's own, once that was seen."""
        seen = self.snapshot.feature_name if self.snapshot else None
        return seen or self.item.feature_name

    @property
    def name(self) -> str:
        """The feature, and the configuration where one was asked for."""
        run = self.snapshot if isinstance(self.snapshot, Run) else None
        config = self.item.config or (run.config if run else None)
        return escape(item_name(evolve(self.item, name=self.feature, config=config)))

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
        if self.is_over or self.item.is_unseen or self._is_given_up:
            return word_of(self.item)
        if self.item.latest_ref is None:
            return "waiting"
        if self.phase in {None, Phase.QUEUED} or self.status is None:
            return "queued"
        return escape(self.status)

    @property
    def result(self) -> str:
        """The result in a few words; empty where nothing is known yet."""
        attempt = f"attempt {len(self.item.earlier) + 1}" if self.item.earlier else ""
        note = "" if self.is_over else escape(self.note)
        return ", ".join(part for part in (self._result, attempt, note) if part)

    @property
    def short_result(self) -> str:
        """The same in a word or two where that says most, for a narrow terminal."""
        run = self.snapshot
        if self._error is not None or not isinstance(run, Run) or not _run_result(run):
            return self.result
        assert run.summary is not None
        failed = run.summary.failed
        return f"{failed} failed" if failed else f"{run.summary.passed} passed"

    @property
    def _error(self) -> str | None:
        error = self.item.error if self._is_given_up else None
        return None if error is None else reason(error)

    @property
    def _result(self) -> str:
        if self._error is not None:
            return self._error
        match self.snapshot:
            case Run() as run:
                return _run_result(run)
            case Generation(sections=sections) if sections:
                over = sum(section.conclusion is not None for section in sections)
                return f"{over} of {plural(len(sections), 'section')}"
            case _:
                return ""

    def elapsed(self, now: float) -> float:
        """Return the seconds since the dispatch, up to the end where it is over.

        Of a run that was dispatched elsewhere they are those between the service's own times.
        """
        run = self.snapshot
        if self.is_attached and isinstance(run, Run) and run.created_at and run.finished_at:
            return max((run.finished_at - run.created_at).total_seconds(), 0.0)
        return (now if self.ended is None else self.ended) - self.started


def _run_result(run: Run) -> str:
    if run.summary is None or not run.is_finished:
        return ""
    tests = plural(run.summary.total, "test")
    if run.summary.failed:
        return f"{run.summary.failed} of {tests} failed"
    if run.summary.passed == run.summary.total:
        return f"{tests} passed"
    skipped = sum(test.status == "skipped" for test in run.tests)
    return f"{run.summary.passed} of {tests} passed" + (f", {skipped} skipped" if skipped else "")
