"""How a command that waited for many operations ends: what it says, and its exit code.

Pure: from the items of a batch to text, to a JSON document, and to one exit code. Where several
things went wrong, the code is of the first kind that is there: a defect (70), the service could not
be reached (5), it refused (3), what was asked for can't be (2), operations go on (4), something is
over and did not pass (1). So 1 says that all is known, and 0 that all is well besides.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen
from rich.text import Text

from testvibe_async import (
    BatchSummary,
    FeatureNotGeneratedError,
    GenerationInProgressError,
    Run,
    Verdict,
)
from testvibe_async.cli import details
from testvibe_async.cli.exits import ExitCode, exit_code_of
from testvibe_async.cli.words import clean, counted, duration, reason, unusual

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from testvibe_async import GenerationLog, Ref, VibeError
    from testvibe_async.cli.dispatch import Item

__all__ = ["Ending"]

_PRECEDENCE = (
    ExitCode.DEFECT,
    ExitCode.UNREACHABLE,
    ExitCode.REFUSED,
    ExitCode.USAGE,
    ExitCode.IN_FLIGHT,
    ExitCode.FAILED,
)
"""Which exit code an ending of several kinds has: the first that any item calls for."""

_ORDER = ("passed", "generated", "failed", "cancelled", "error", "in flight", "skipped")
"""The known words for what became of an item, in the order in which they are counted."""

NAMES_OF_AN_ERROR = 5
"""How many features with the same error are named."""

LOG_LINES = 3
"""How much of a failed generation's log is shown, of each section."""

_HINTS: tuple[tuple[type[VibeError], str], ...] = (
    (FeatureNotGeneratedError, "To generate first what has no tests: --on-conflict generate"),
    (GenerationInProgressError, "To join the generation in flight: --on-conflict attach"),
)


@frozen(kw_only=True)
class Ending:
    """What became of all that a command was to do."""

    items: Sequence[Item]
    """One for each operation."""

    asked: int
    """How many there were to be; those without an item were never dispatched."""

    seconds: float
    """How long it took."""

    is_waited_for: bool = True
    """Whether anybody waited; else what is in flight is as it should be."""

    logs: Mapping[str, GenerationLog] = field(factory=dict["str", "GenerationLog"])
    """The logs of generations that failed, by request id, where they could be read."""

    @property
    def summary(self) -> BatchSummary:
        """How many stand how."""
        counted = BatchSummary.of(self.items)
        missing = max(self.asked - counted.total, 0)
        return evolve(counted, skipped=counted.skipped + missing)

    @property
    def in_flight(self) -> list[Ref]:
        """The operations that go on at the service."""
        return [item.ref for item in self.items if item.ref and item.verdict is Verdict.IN_FLIGHT]

    @property
    def failed_runs(self) -> list[int]:
        """The ids of the runs that failed."""
        failed = (item.outcome for item in self.items if item.verdict is Verdict.FAILED)
        return [run.run_id for run in failed if isinstance(run, Run)]

    @property
    def exit_code(self) -> ExitCode:
        """What the command's exit code is."""
        codes = {_exit_code(item) for item in self.items}
        if not self.is_waited_for:
            codes.discard(ExitCode.IN_FLIGHT)
        usual = ExitCode.IN_FLIGHT if self.summary.skipped else ExitCode.PASSED
        return next((code for code in _PRECEDENCE if code in codes), usual)

    @property
    def counts(self) -> str:
        """How many stand how, such as `18 passed, 2 failed`."""
        number = Counter(_word(item) for item in self.items)
        number["skipped"] = self.summary.skipped
        told = sorted(number.items(), key=lambda each: (_rank(each[0]), -each[1]))
        return ", ".join(counted(count, word) for word, count in told if count) or "nothing to do"

    @property
    def line(self) -> str:
        """All of it in a line, such as `20 in 1:35: 18 passed, 2 failed`."""
        return f"{self.asked} in {duration(self.seconds)}: {self.counts}"

    @property
    def document(self) -> dict[str, Any]:
        """All of it as the document that `--json` prints."""
        return {
            "exitCode": int(self.exit_code),
            "seconds": round(self.seconds, 3),
            "summary": self.summary,
            "items": [document_of_item(item) for item in self.items],
        }

    def story(self, *, width: int | None) -> Text:
        """Return what went wrong, failed tests first; empty where nothing did.

        Args:
            width: Cells that a line may take; None for lines as long as they are.
        """
        parts = [self._failure(item, width) for item in self.items if _has_failed(item)]
        parts += _errors(self.items)
        return Text("\n\n").join(parts)

    def _failure(self, item: Item, width: int | None) -> Text:
        if isinstance(item.outcome, Run):
            return details.failures(_name(item), item.outcome, width=width)
        head = Text(f"{clean(_name(item))}, generation: {_word(item)}", "bold")
        log = self.logs.get(item.outcome.request_id or "") if item.outcome else None
        if log is None:
            return head
        return Text("\n").join([head, details.log_story(log, limit=LOG_LINES, width=width)])


def document_of_item(item: Item) -> dict[str, Any]:
    """Return an item as what `--json` prints of it."""
    return {
        "feature": item.feature_name,
        "config": item.config,
        "verdict": str(item.verdict),
        "ref": item.ref,
        "outcome": item.outcome,
        "error": item.error,
    }


def _rank(word: str) -> int:
    """Return where a word stands in the counts: what went well first, unknown words last."""
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)


def _exit_code(item: Item) -> ExitCode:
    match item.verdict:
        case Verdict.SUCCEEDED | Verdict.SKIPPED:
            return ExitCode.PASSED
        case Verdict.FAILED:
            return ExitCode.FAILED
        case Verdict.IN_FLIGHT:
            return ExitCode.IN_FLIGHT
        case Verdict.ERROR:
            assert item.error is not None
            return exit_code_of(item.error)


def _has_failed(item: Item) -> bool:
    return item.verdict is Verdict.FAILED


def _name(item: Item) -> str:
    config = item.config
    if config is None and isinstance(item.outcome, Run):
        config = item.outcome.config
    config = unusual(config)
    return f"{item.feature_name} [{config}]" if config else item.feature_name


def _word(item: Item) -> str:
    """Return the service's own word for what became of it, else ours."""
    return clean(item.outcome.status or "over") if item.outcome else str(item.verdict)


def _errors(items: Iterable[Item]) -> list[Text]:
    """Return why what could not be dispatched or observed was not, each reason once."""
    errors = [item for item in items if item.error and item.verdict is Verdict.ERROR]
    by_reason: dict[str, list[Item]] = {}
    for item in errors:
        assert item.error is not None
        by_reason.setdefault(reason(item.error), []).append(item)
    parts = [
        Text.assemble((_names(those), "bold"), "\n  ", (reason, "red"))
        for reason, those in by_reason.items()
    ]
    hints = [hint for kind, hint in _HINTS if any(isinstance(item.error, kind) for item in errors)]
    return parts + [Text(hint) for hint in hints]


def _names(items: Sequence[Item]) -> str:
    names = ", ".join(clean(_name(item)) for item in items[:NAMES_OF_AN_ERROR])
    more = len(items) - NAMES_OF_AN_ERROR
    return f"{names} and {more} more" if more > 0 else names
