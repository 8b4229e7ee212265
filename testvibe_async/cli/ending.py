"""How a command that dispatched many operations ends: what it prints, and its exit code.

An `Ending` is pure: from the items of a batch to text, to a JSON document, and to one exit code.
Where several things went wrong, the code is of the first kind that is there: a defect (70), the
service could not be reached (5), it refused (3), what was asked for can't be (2), operations go on
(4), something is over and did not pass (1). So 1 says that all is known, and 0 that all passed.

The `say_…` functions decide what goes to standard output and what to standard error: the results
are the output; how to wait for operations in flight is a note, which `--quiet` does not hide.
"""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from rich.text import Text

from testvibe_async import (
    BatchSummary,
    DispatchUnknownError,
    FeatureNotGeneratedError,
    Generation,
    GenerationInProgressError,
    Run,
    UndocumentedStatusError,
    Verdict,
    WaitTimeoutError,
)
from testvibe_async._util import escape
from testvibe_async.cli import details, view
from testvibe_async.cli.exits import ExitCode, exit_code_of
from testvibe_async.cli.output import warn
from testvibe_async.cli.refs import check_command, wait_command
from testvibe_async.cli.words import (
    NAME,
    clock_time,
    counted,
    duration,
    plural,
    reason,
    unless_default,
)
from testvibe_async.models import DEFAULT_CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from testvibe_async import GenerationLog, Ref, VibeError
    from testvibe_async.cli.board import Board
    from testvibe_async.cli.common import Common
    from testvibe_async.cli.jobs import Item
    from testvibe_async.cli.output import Output

__all__ = [
    "Ending",
    "say_dispatched",
    "say_ended",
    "say_nothing",
    "say_report",
    "say_stopped",
    "say_unanswered",
    "say_unfinished",
    "seconds_of",
]

_PRECEDENCE = (
    ExitCode.DEFECT,
    ExitCode.UNREACHABLE,
    ExitCode.REFUSED,
    ExitCode.USAGE,
    ExitCode.IN_FLIGHT,
    ExitCode.FAILED,
)
"""The exit code of an ending is the first of these that any item calls for."""

_NOT_SEEN = "not seen"
"""The word for what may go on or be over: its last polls failed."""

_ORDER = (
    "passed",
    "flaky",
    "generated",
    "failed",
    "cancelled",
    "error",
    "unknown",
    _NOT_SEEN,
    "in flight",
    "skipped",
)
"""The known words for an item's result, in the order in which they are counted."""

NAMES_OF_AN_ERROR = 5
"""How many features with the same error are named."""

LOG_LINES = 3
"""How much of a failed generation's log is shown, of each section."""

NAMED_IN_FLIGHT = 10
"""How many operations in flight are named; the command that waits for them has all."""

LINES_BESIDE_BOARD = 8
"""How many lines of a terminal are kept free of a table that stays."""

_HINTS: tuple[tuple[type[VibeError], str], ...] = (
    (FeatureNotGeneratedError, "To generate first what has no tests: --on-conflict generate"),
    (GenerationInProgressError, "To join the generation in flight: --on-conflict attach"),
)


@frozen(kw_only=True)
class Ending:
    """The results of all operations that a command was to dispatch."""

    items: Sequence[Item]
    """One for each operation."""

    seconds: float
    """How long it took."""

    is_waited_for: bool = True
    """Whether the command waited; else operations in flight are no reason for an exit code."""

    place: Sequence[str] = ()
    """The options that name the service and the project, for commands that are suggested."""

    stopped_by: ExitCode | None = None
    """The exit code for the signal that stopped the command; None where none did."""

    resume: str | None = None
    """The command that goes on with the batch; None without a journal."""

    hints: Sequence[str] = ()
    """What names may have meant that the service does not know."""

    logs: Mapping[str, GenerationLog] = field(factory=dict["str", "GenerationLog"])
    """The logs of generations that failed, by request id, where they could be read."""

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
    def exit_code(self) -> ExitCode:
        """The command's exit code."""
        if self.stopped_by is not None:
            return self.stopped_by
        codes = {_exit_code(item) for item in self.items}
        if not self.is_waited_for:
            codes.discard(ExitCode.IN_FLIGHT)
        usual = ExitCode.IN_FLIGHT if self.summary.skipped else ExitCode.PASSED
        return next((code for code in _PRECEDENCE if code in codes), usual)

    @property
    def counts(self) -> str:
        """The numbers of items by result, such as `18 passed, 2 failed`."""
        number = Counter(_word(item) for item in self.items)
        ranked = sorted(number.items(), key=lambda each: (_rank(each[0]), -each[1]))
        return ", ".join(counted(count, word) for word, count in ranked if count) or "nothing to do"

    @property
    def line(self) -> str:
        """All of it in a line, such as `20 in 1:35: 18 passed, 2 failed`."""
        return f"{len(self.items)} in {duration(self.seconds)}: {self.counts}"

    @property
    def document(self) -> dict[str, Any]:
        """All of it as the document that `--json` prints."""
        return {
            "exitCode": int(self.exit_code),
            "seconds": round(self.seconds, 3),
            "summary": self._summary_document,
            "items": [self._item_document(item) for item in self.items],
        }

    @property
    def _summary_document(self) -> dict[str, Any]:
        """The numbers by verdict, what was not seen apart from what is in flight."""
        unseen = sum(item.is_unseen for item in self.items)
        numbers = self.summary.to_dict()
        return {**numbers, "inFlight": numbers["inFlight"] - unseen, "notSeen": unseen}

    def failures(self, *, width: int | None) -> Text:
        """Return what went wrong, failed tests first; empty where nothing did.

        Args:
            width: Cells that a line may take; None for lines as long as they are.
        """
        failed = [item for item in self.items if item.verdict is Verdict.FAILED]
        runs = [item for item in failed if isinstance(item.outcome, Run)]
        parts = [
            *details.failures(runs, width=width),
            *(self._failed_generation(item, width) for item in failed if item not in runs),
            *_errors(self.items),
        ]
        hints = [Text("\n").join(map(Text, self.hints))] if self.hints else []
        return Text("\n\n").join([*parts, *hints, *self._unknown()])

    @property
    def rerun(self) -> list[str]:
        """The commands that run again what failed: one for all features of equal configurations.

        With a journal there is one command, and it is short.
        """
        if self.resume is not None and self.failed_runs:
            return [shlex.join([NAME, "run", "--failed", "--wait"])]
        configs: dict[str, list[str]] = {}
        for item in self.items:
            if item.verdict is Verdict.FAILED and isinstance(run := item.outcome, Run):
                config = unless_default(item.config or run.config) or DEFAULT_CONFIG
                configs.setdefault(_typed(item), []).append(config)
        features: dict[tuple[str, ...], list[str]] = {}
        for feature, names in configs.items():
            features.setdefault(tuple(dict.fromkeys(names)), []).append(feature)
        return [self._run_command(typed, names) for names, typed in features.items()]

    def _run_command(self, features: Sequence[str], configs: Sequence[str]) -> str:
        chosen = (
            [] if list(configs) == [DEFAULT_CONFIG] else [w for c in configs for w in ("-c", c)]
        )
        return shlex.join([NAME, "run", *features, "--wait", *chosen, *self.place])

    @property
    def flaky(self) -> str:
        """What passed after an attempt that failed, one a line; empty where nothing did."""
        items = [item for item in self.items if item.is_flaky]
        return "\n".join(
            f"  {escape(details.item_name(item))}: {_attempts(item)}" for item in items
        )

    def _unknown(self) -> list[Text]:
        """Return what may have been dispatched, and the commands that show whether it was."""
        unknown = [
            (item, item.error)
            for item in self.items
            if isinstance(item.error, DispatchUnknownError)
        ]
        if not unknown:
            return []
        commands = [check_command(error, self.place) for _, error in unknown]
        lines = [f"  {escape(each)}" for each in commands[:NAMES_OF_AN_ERROR]]
        if len(commands) > NAMES_OF_AN_ERROR:
            lines.append(f"  and {len(commands) - NAMES_OF_AN_ERROR} more")
        return [
            Text.assemble(
                (_names([item for item, _ in unknown]), "bold"),
                ("\n  unknown: ", "magenta"),
                reason(unknown[0][1]),
                "\nBefore you start it again, see whether it did with:\n",
                "\n".join(lines),
                self._how_to_decide,
            )
        ]

    @property
    def _how_to_decide(self) -> str:
        if self.resume is None:
            return ""
        return f"\nand then, for what it was: {self.resume} --unknown resend, drop, or adopt ID"

    def _item_document(self, item: Item) -> dict[str, Any]:
        """Return what `--json` prints of an item."""
        document: dict[str, Any] = {
            "feature": item.feature_name,
            "config": item.config,
            "verdict": _NOT_SEEN if item.is_unseen else str(item.verdict),
            "isFlaky": item.is_flaky,
            "ref": item.ref,
            "outcome": item.outcome,
            "error": item.error,
            "runs": [*item.earlier, item.outcome] if item.earlier else [],
        }
        if isinstance(item.error, WaitTimeoutError) and item.is_unseen:
            document["lastSeenUtc"] = item.error.last_seen_at
        if isinstance(item.error, DispatchUnknownError):
            document["check"] = check_command(item.error, self.place)
        return document

    def _failed_generation(self, item: Item, width: int | None) -> Text:
        head = Text(f"{escape(details.item_name(item))}, generation: {_word(item)}", "bold")
        generation = item.outcome
        assert isinstance(generation, Generation)
        log = self.logs.get(generation.request_id or "")
        if log is None:
            return head
        return Text("\n").join([head, details.log_details(log, limit=LOG_LINES, width=width)])


def say_dispatched(
    items: Sequence[Item], board: Board, common: Common, *, hints: Sequence[str] = ()
) -> Ending:
    """Print which operations were dispatched, which were not, and how to wait for them."""
    output = common.output
    ending = Ending(
        items=items,
        seconds=board.elapsed,
        is_waited_for=False,
        place=common.place,
        hints=hints,
    )
    output.document(ending.document)
    rows = [(item.feature_name, item.config, item.ref) for item in items if item.ref]
    if rows:
        output.table(("Feature", "Config", "Operation"), rows)
    if failures := ending.failures(width=None):
        warn(str(failures))
    refs = [item.ref for item in ending.unfinished if item.ref]
    if refs and not output.is_json and not output.is_quiet:
        output.note(f"\n{_how_to_wait(refs, common)}")
    board.is_reported = True
    return ending


def say_nothing(why: str, board: Board, common: Common, *, events: bool = False) -> ExitCode:
    """Print why there is nothing to do."""
    ending = Ending(items=(), seconds=board.elapsed)
    _say_document(ending, common.output, events=events)
    common.output.note(why)
    board.is_reported = True
    return ending.exit_code


def say_ended(ending: Ending, board: Board, common: Common, *, events: bool = False) -> None:
    """Print the results: what went wrong, the counts, and what is still in flight."""
    output = common.output
    _say_document(ending, output, events=events)
    if output.is_live and len(board.rows) + LINES_BESIDE_BOARD <= output.console.height:
        output.console.print(view.board(board.state, width=output.console.width))
    gap = "" if output.is_quiet else "\n"
    output.details(lambda width: _after(gap, ending.failures(width=width)))
    if flaky := ending.flaky:
        output.say(f"\nFlaky, passed after a failure:\n{flaky}")
    if commands := ending.rerun:
        lines = "\n".join(f"  {command}" for command in commands)
        output.say(f"\nMore of one: {NAME} runs diagnose {ending.failed_runs[0]}")
        output.say(f"Run what failed again with:\n{lines}")
    output.say(f"\n{ending.line}")
    say_unfinished(ending.unfinished, common, resume=ending.resume)
    board.is_reported = True


def say_unfinished(items: Sequence[Item], common: Common, *, resume: str | None = None) -> None:
    """Name operations that are not seen to be over, with the command that waits for them.

    Args:
        items: The operations.
        common: The options of the command.
        resume: The command that goes on with the whole batch; None without a journal.
    """
    refs = [item.ref for item in items if item.ref]
    if not refs:
        return
    unseen = [item for item in items if item.verdict is Verdict.ERROR or item.is_unseen]
    going_on = [item for item in items if item not in unseen]
    if going_on:
        warn(f"\nIn flight, and the service goes on:\n{_named(going_on)}")
    if unseen:
        warn(f"\nNot seen{_since(unseen)}, so it is not known how they go:\n{_named(unseen)}")
    warn(_how_to_wait(refs, common))
    if resume is not None:
        warn(f"Or go on with the whole batch, on this machine:\n  {resume}")


def _named(items: Sequence[Item]) -> str:
    names = str(details.in_flight(items[:NAMED_IN_FLIGHT]))
    more = len(items) - NAMED_IN_FLIGHT
    return f"{names}\n  and {more} more" if more > 0 else names


def _since(items: Sequence[Item]) -> str:
    """Return since when none of these was seen; empty where that is not known of any."""
    errors = [item.error for item in items if isinstance(item.error, WaitTimeoutError)]
    seen = [error.last_seen_at for error in errors if error.last_seen_at]
    return f" since {clock_time(max(seen))}" if seen else ""


def say_report(ending: Ending, common: Common) -> None:
    """Print the results of a batch that ended before."""
    output = common.output
    output.document(ending.document)
    output.details(lambda width: ending.failures(width=width))
    if flaky := ending.flaky:
        output.say(f"\nFlaky, passed after a failure:\n{flaky}")
    output.say(f"\n{ending.line}")


def seconds_of(items: Sequence[Item]) -> float:
    """Return for how long the runs of a batch took, from the first to the last, as far as known."""
    runs = [item.outcome for item in items if item.outcome is not None]
    begins = [at for run in runs if (at := getattr(run, "created_at", None))]
    ends = [at for run in runs if (at := getattr(run, "finished_at", None))]
    return (max(ends) - min(begins)).total_seconds() if begins and ends else 0.0


def say_stopped(ending: Ending, common: Common, *, events: bool = False) -> None:
    """Print the progress of a command that was stopped."""
    _say_document(ending, common.output, events=events)
    warn(f"Stopped: {ending.line if ending.items else 'nothing was dispatched yet'}")


def say_unanswered(board: Board) -> None:
    """Name dispatches that were sent and not answered."""
    if board.unanswered:
        urls = "\n".join(f"  POST {url}" for url in board.unanswered)
        warn(
            f"\nNot answered, so that nobody knows whether they took effect:\n{urls}\n"
            f"Look at '{NAME} runs list' or '{NAME} generation status' before you try again."
        )


def _how_to_wait(refs: Sequence[Ref], common: Common) -> str:
    them = "it" if len(refs) == 1 else "them"
    return f"Wait for {them} with:\n  {wait_command(refs, common)}"


def _say_document(ending: Ending, output: Output, *, events: bool) -> None:
    if not events:
        output.document(ending.document)
        return
    document = {name: each for name, each in ending.document.items() if name != "items"}
    output.event({"event": "end", **document})


def _after(gap: str, text: Text) -> Text:
    return Text.assemble(gap, text) if text else text


def _rank(word: str) -> int:
    """Return a word's place in the counts: success first, unknown words last."""
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)


def _exit_code(item: Item) -> ExitCode:
    if item.is_unseen:
        return ExitCode.UNREACHABLE
    match item.verdict:
        case Verdict.SUCCEEDED | Verdict.SKIPPED | Verdict.WAITING:
            return ExitCode.PASSED
        case Verdict.FAILED:
            return ExitCode.FAILED
        case Verdict.IN_FLIGHT:
            return ExitCode.IN_FLIGHT
        case Verdict.ERROR | Verdict.UNKNOWN:
            return exit_code_of(_error_of(item))


def _error_of(item: Item) -> VibeError:
    """Return why an item has no result: its error, or an outcome that nobody can read."""
    try:
        if item.error is None and item.outcome is not None:
            item.outcome.raise_for_status()
    except UndocumentedStatusError as error:
        return error
    assert item.error is not None
    return item.error


def _word(item: Item) -> str:
    """Return the service's own word for the result, else the verdict; `flaky` where it is that."""
    if item.is_flaky:
        return "flaky"
    if item.is_unseen:
        return _NOT_SEEN
    return escape(item.outcome.status or "over") if item.outcome else str(item.verdict)


def _typed(item: Item) -> str:
    """Return what to type for a feature: its name where that says which it is, else its id."""
    feature_id = item.outcome.feature_id if item.outcome else None
    name = item.feature_name
    is_safe = name and not name.isdecimal() and not set(name) & set("*?[") and name.isprintable()
    return name if is_safe or feature_id is None else str(feature_id)


def _attempts(item: Item) -> str:
    runs = [run for run in (*item.earlier, item.outcome) if isinstance(run, Run)]
    return ", ".join(escape(f"run {run.run_id} {run.status}") for run in runs)


def _errors(items: Iterable[Item]) -> list[Text]:
    """Return why items could not be dispatched or observed, each reason once."""
    errors = [item for item in items if item.verdict is Verdict.ERROR]
    by_reason: dict[str, list[Item]] = {}
    for item in errors:
        by_reason.setdefault(reason(_error_of(item)), []).append(item)
    parts = [
        Text.assemble((f"{plural(len(those), 'error')}: {why}", "bold red"), f"\n  {_names(those)}")
        for why, those in sorted(by_reason.items(), key=lambda each: -len(each[1]))
    ]
    hints = [hint for kind, hint in _HINTS if any(isinstance(item.error, kind) for item in errors)]
    return parts + [Text(hint) for hint in hints]


def _names(items: Sequence[Item]) -> str:
    names = ", ".join(escape(details.item_name(item)) for item in items[:NAMES_OF_AN_ERROR])
    more = len(items) - NAMES_OF_AN_ERROR
    return f"{names} and {more} more" if more > 0 else names
