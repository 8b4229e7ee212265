"""The results of a command that dispatched many operations, as one value.

An `Ending` is pure: from the items of a batch to counts, to a JSON document, and to one exit code.
Where several things went wrong, the code is of the first kind that is there: a defect (70), the
service could not be reached (5), it refused (3), what was asked for can't be (2), operations go on
(4), something is over and did not pass (1). So 1 says that all is known, and 0 that all passed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from testvibe_async import (
    BatchSummary,
    DispatchUnknownError,
    Run,
    UndocumentedStatusError,
    Verdict,
    WaitTimeoutError,
)
from testvibe_async._util import escape
from testvibe_async.cli.batches import stored_batches
from testvibe_async.cli.ending.commands import check_command, resume_command
from testvibe_async.cli.exits import ExitCode, exit_code_of, worst_of
from testvibe_async.cli.words import UNSEEN, counted, duration
from testvibe_async.runner.generation_limit import LIMITED, GenerationLimitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from testvibe_async import GenerationLog, VibeError
    from testvibe_async.cli.jobs import Item

__all__ = ["Ending", "error_of", "seconds_of", "word_of"]

_ORDER = (
    "passed",
    "flaky",
    "generated",
    "failed",
    "cancelled",
    "error",
    "unknown",
    LIMITED,
    UNSEEN,
    "in flight",
    "waiting",
    "skipped",
)
"""The known words for an item's result, in the order in which they are counted."""


@frozen(kw_only=True)
class Ending:
    """The results of all operations that a command was to dispatch."""

    items: Sequence[Item]
    """One for each operation."""

    seconds: float
    """How long it took; 0 where that is not known."""

    is_waited_for: bool = True
    """Whether the command waited; else operations in flight are no reason for an exit code."""

    place: Sequence[str] = ()
    """The options that name the service and the project, for commands that are suggested."""

    stopped_by: ExitCode | None = None
    """The exit code for the signal that stopped the command; None where none did."""

    journal: Path | None = None
    """The batch's journal; None without one."""

    fails_on_flaky: bool = False
    """Whether what is flaky counts as failed for the exit code."""

    before: ExitCode = ExitCode.PASSED
    """The exit code that what an earlier batch left calls for."""

    hints: Sequence[str] = ()
    """What names may have meant that the service does not know."""

    logs: Mapping[str, GenerationLog] = field(factory=dict["str", "GenerationLog"])
    """The logs of generations that failed, by request id, where they could be read."""

    @property
    def batch(self) -> str | None:
        """What to type for the batch; None without a journal."""
        return None if self.journal is None else stored_batches().word_for(self.journal)

    @property
    def summary(self) -> BatchSummary:
        """The numbers of items by verdict."""
        return BatchSummary.of(self.items)

    @property
    def unfinished(self) -> list[Item]:
        """What a later command can wait for: it goes on, or nobody knows, as it was not seen."""
        return [item for item in self.items if item.is_unfinished]

    @property
    def failed_runs(self) -> list[int]:
        """The ids of the runs that failed."""
        failed = (item.outcome for item in self.items if item.verdict is Verdict.FAILED)
        return [run.run_id for run in failed if isinstance(run, Run)]

    @property
    def resume(self) -> str | None:
        """The command that goes on with the batch; None without a journal."""
        return None if self.journal is None else resume_command(self.journal, self.place)

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code."""
        if self.stopped_by is not None:
            return self.stopped_by
        codes = {self.before, *map(_exit_code, self.items)}
        if self.fails_on_flaky and self.summary.flaky:
            codes.add(ExitCode.FAILED)
        if not self.is_waited_for:
            codes.discard(ExitCode.IN_FLIGHT)
        # What a command did not dispatch is missing also where it was not to wait.
        is_limited = any(isinstance(item.error, GenerationLimitError) for item in self.items)
        is_missing = self.summary.skipped or self.summary.waiting or is_limited
        usual = ExitCode.IN_FLIGHT if is_missing else ExitCode.PASSED
        return worst_of(codes, usual=usual)

    @property
    def counts(self) -> str:
        """The numbers of items by result, such as `18 passed, 2 failed`."""
        number = Counter(word_of(item) for item in self.items)
        ranked = sorted(number.items(), key=lambda each: (_rank(each[0]), -each[1]))
        return ", ".join(counted(count, word) for word, count in ranked if count) or "nothing to do"

    @property
    def line(self) -> str:
        """All of it in a line, such as `20 in 1:35: 18 passed, 2 failed`."""
        took = f" in {duration(self.seconds)}" if self.seconds else ""
        return f"{len(self.items)}{took}: {self.counts}"

    @property
    def last_line(self) -> str:
        """The same with the number of the batch, where it has one: `Batch 12: 20 in …`."""
        is_numbered = self.batch is not None and self.batch.isdecimal()
        return f"Batch {self.batch}: {self.line}" if is_numbered else self.line

    @property
    def document(self) -> dict[str, Any]:
        """All of it as the document that `--json` prints."""
        return {
            "exitCode": int(self.exit_code),
            "seconds": round(self.seconds, 3),
            "batch": self.batch,
            "summary": self._summary_document,
            "items": [self._item_document(item) for item in self.items],
            **({"hints": list(self.hints)} if self.hints else {}),
        }

    @property
    def _summary_document(self) -> dict[str, Any]:
        """The numbers by verdict, what was not seen apart from what is in flight."""
        unseen = sum(item.is_unseen for item in self.items)
        numbers = self.summary.to_dict()
        return {**numbers, "inFlight": numbers["inFlight"] - unseen, "notSeen": unseen}

    def _item_document(self, item: Item) -> dict[str, Any]:
        """Return what `--json` prints of an item."""
        document: dict[str, Any] = {
            "feature": item.feature_name,
            "config": item.config,
            "verdict": _verdict(item),
            "isFlaky": item.is_flaky,
            "ref": item.latest_ref,
            "outcome": item.outcome,
            "error": item.error,
            "runs": [*item.earlier, item.outcome] if item.earlier else [],
        }
        if isinstance(item.error, WaitTimeoutError) and item.is_unseen:
            document["lastSeenUtc"] = item.error.last_seen_at
        if isinstance(item.error, DispatchUnknownError):
            document["check"] = check_command(item.error, self.place)
        return document


def seconds_of(items: Sequence[Item]) -> float:
    """Return for how long the runs of a batch took, from the first to the last, as far as known."""
    runs = [item.outcome for item in items if item.outcome is not None]
    begins = [at for run in runs if (at := getattr(run, "created_at", None))]
    ends = [at for run in runs if (at := getattr(run, "finished_at", None))]
    return (max(ends) - min(begins)).total_seconds() if begins and ends else 0.0


def _rank(word: str) -> int:
    """Return a word's place in the counts: success first, unknown words last."""
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)


def _exit_code(item: Item) -> ExitCode:
    if item.is_unseen:
        return ExitCode.UNREACHABLE
    match item.verdict:
        case Verdict.SUCCEEDED | Verdict.SKIPPED:
            return ExitCode.PASSED
        case Verdict.FAILED:
            return ExitCode.FAILED
        case Verdict.IN_FLIGHT | Verdict.WAITING:
            # A key that may not see it any more is refused, though the operation goes on.
            return ExitCode.IN_FLIGHT if item.error is None else exit_code_of(item.error)
        case Verdict.ERROR | Verdict.UNKNOWN:
            return exit_code_of(error_of(item))


def error_of(item: Item) -> VibeError:
    """Return why an item has no result: its error, or an outcome that nobody can read."""
    try:
        if item.error is None and item.outcome is not None:
            item.outcome.raise_for_status()
    except UndocumentedStatusError as error:
        return error
    assert item.error is not None
    return item.error


def word_of(item: Item) -> str:
    """Return the service's own word for the result, else the verdict; `flaky` where it is that."""
    if item.is_flaky:
        return "flaky"
    return escape(item.outcome.status or "over") if item.outcome else _verdict(item)


def _verdict(item: Item) -> str:
    """Return the verdict; the command line has more of them than the library."""
    if item.is_unseen:
        return UNSEEN
    return LIMITED if isinstance(item.error, GenerationLimitError) else str(item.verdict)
