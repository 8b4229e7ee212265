"""What went wrong, as a person reads it: failed tests first, then errors, then what is unknown.

It decides what belongs together: equal errors are shown once, with all that have them. How an error
itself looks is decided in `details`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from testvibe_async import (
    DispatchUnknownError,
    FeatureNotGeneratedError,
    Generation,
    GenerationInProgressError,
    Run,
    Verdict,
    WaitTimeoutError,
)
from testvibe_async._util import escape
from testvibe_async.cli.details import end_of, error_lines, log_details, text_of
from testvibe_async.cli.ending.commands import check_command
from testvibe_async.cli.ending.ending import error_of, word_of
from testvibe_async.cli.jobs import item_name
from testvibe_async.cli.words import plural, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from testvibe_async import VibeError
    from testvibe_async.cli.details import Line
    from testvibe_async.cli.ending.ending import Ending
    from testvibe_async.cli.jobs import Item

__all__ = ["failures_text", "flaky"]

NAMES_OF_AN_ERROR = 5
"""How many features with the same error are named."""

LOG_LINES = 3
"""How much of a failed generation's log is shown, of each section."""

_HINTS: tuple[tuple[type[VibeError], str], ...] = (
    (FeatureNotGeneratedError, "To generate first what has no tests: --on-conflict generate"),
    (GenerationInProgressError, "To join the generation in flight: --on-conflict attach"),
)


def failures_text(ending: Ending, *, width: int | None) -> Text:
    """Return what went wrong, failed tests first; empty where nothing did.

    Args:
        ending: The results.
        width: Cells that a line may take; None for lines as long as they are.
    """
    failed = [item for item in ending.items if item.verdict is Verdict.FAILED]
    runs = [item for item in failed if isinstance(item.outcome, Run)]
    parts = [
        *_failed_tests(runs, width),
        *(_failed_generation(item, ending, width) for item in failed if item not in runs),
        *_errors(ending.items),
    ]
    hints = [Text("\n").join(map(Text, ending.hints))] if ending.hints else []
    return Text("\n\n").join([*parts, *hints, *_unknown(ending)])


def flaky(ending: Ending) -> str:
    """Return what passed after an attempt that failed, one a line; empty where nothing did."""
    items = [item for item in ending.items if item.is_flaky]
    return "\n".join(f"  {escape(item_name(item))}: {_attempts(item)}" for item in items)


def _failed_tests(items: Iterable[Item], width: int | None) -> list[Text]:
    """Return a line for each failed test of runs, those with equal errors together.

    The whole error is beneath the first of them.
    """
    from testvibe_async.reports import essence  # noqa: PLC0415 - needed where something failed

    groups: dict[str, list[tuple[str, str]]] = {}
    for name, error in (failure for item in items for failure in _failures_of(item)):
        groups.setdefault(essence(error), []).append((name, error))
    ranked = sorted(groups.values(), key=len, reverse=True)
    return [text_of(_group(group, width)) for group in ranked]


def _failures_of(item: Item) -> Iterator[tuple[str, str]]:
    """Yield the name and the error of each failed test of a run."""
    run = item.outcome
    assert isinstance(run, Run)
    attempt = f" (attempt {len(item.earlier) + 1})" if item.earlier else ""
    where = f"{item_name(item)}{attempt}, run {run.run_id}"
    for test in run.failures:
        yield f"{where}: {test.name}", test.error or "no error given"
    if not run.failures:
        log = "\n".join(end_of(run.log))
        yield where, f"no failed test is reported; the end of the log:\n{log}"


def _group(failures: Sequence[tuple[str, str]], width: int | None) -> list[Line]:
    (first, error), *others = failures
    lines: list[Line] = [(escape(first), "bold red"), *error_lines(error, width=width)]
    if others:
        lines.append((f"  The same error in {len(others)} more:", "bold"))
        lines += [(f"    {escape(name)}", "red") for name, _ in others]
    return lines


def _failed_generation(item: Item, ending: Ending, width: int | None) -> Text:
    head = Text(f"{escape(item_name(item))}, generation: {word_of(item)}", "bold")
    generation = item.outcome
    assert isinstance(generation, Generation)
    log = ending.logs.get(generation.request_id or "")
    if log is None:
        return head
    return Text("\n").join([head, log_details(log, limit=LOG_LINES, width=width)])


def _errors(items: Iterable[Item]) -> list[Text]:
    """Return why items could not be dispatched or observed, each reason once."""
    errors = [item for item in items if item.verdict is Verdict.ERROR or _is_kept_from_us(item)]
    by_reason: dict[str, list[Item]] = {}
    for item in errors:
        by_reason.setdefault(reason(error_of(item)), []).append(item)
    parts = [
        Text.assemble((f"{plural(len(those), 'error')}: {why}", "bold red"), f"\n  {_names(those)}")
        for why, those in sorted(by_reason.items(), key=lambda each: -len(each[1]))
    ]
    hints = [hint for kind, hint in _HINTS if any(isinstance(item.error, kind) for item in errors)]
    return parts + [Text(hint) for hint in hints]


def _is_kept_from_us(item: Item) -> bool:
    """Return whether an operation is in flight that the key may not see any more."""
    is_late = item.error is None or isinstance(item.error, WaitTimeoutError)
    return item.verdict is Verdict.IN_FLIGHT and not is_late


def _unknown(ending: Ending) -> list[Text]:
    """Return what may have been dispatched, and the commands that show whether it was."""
    unknown = [
        (item, item.error) for item in ending.items if isinstance(item.error, DispatchUnknownError)
    ]
    if not unknown:
        return []
    commands = [check_command(error, ending.place) for _, error in unknown]
    lines = [f"  {escape(each)}" for each in commands[:NAMES_OF_AN_ERROR]]
    if len(commands) > NAMES_OF_AN_ERROR:
        lines.append(f"  and {len(commands) - NAMES_OF_AN_ERROR} more")
    decide = ""
    if ending.resume is not None:
        decide = f"\nand then, for what it was: {ending.resume} --unknown resend, drop, or adopt ID"
    by_reason: dict[str, list[Item]] = {}
    for item, error in unknown:
        by_reason.setdefault(reason(error), []).append(item)
    return [
        Text.assemble(
            *(
                part
                for why, those in by_reason.items()
                for part in ((_names(those), "bold"), ("\n  unknown: ", "magenta"), why, "\n")
            ),
            "Before you start it again, see whether it did with:\n",
            "\n".join(lines),
            decide,
        )
    ]


def _names(items: Sequence[Item]) -> str:
    names = ", ".join(escape(item_name(item)) for item in items[:NAMES_OF_AN_ERROR])
    more = len(items) - NAMES_OF_AN_ERROR
    return f"{names} and {more} more" if more > 0 else names


def _attempts(item: Item) -> str:
    runs = [run for run in (*item.earlier, item.outcome) if isinstance(run, Run)]
    return ", ".join(escape(f"run {run.run_id} {run.status}") for run in runs)
