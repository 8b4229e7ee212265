"""The end of a command's output, as blocks of text: failures, counts, and the next commands. Pure.

Failed tests come first, then errors, then unknown outcomes. Equal errors are shown once, with the
names of all that have them; `details` decides how an error itself looks. `render` decides which
blocks are printed where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import evolve
from rich.text import Text

from testvibe_async import Run, Verdict, errors
from testvibe_async._core.util import escape
from testvibe_async.cli.details import Line, end_of, error_lines, first_of, text_of
from testvibe_async.cli.text import Item, item_reason
from testvibe_async.reports.entries import Entry
from testvibe_async.reports.text import essence, likeness
from testvibe_async.runner.trends import stability_of
from testvibe_async.runner.words import clock_time, item_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from testvibe_async.runner.outcome import Outcome


NAMED = 10
"""Maximum number of features or operations named in a list; a command to wait has all."""

Level: TypeAlias = Literal["result", "remark", "note", "warning"]
"""The level of a block: a result for every person, a remark or a note (on standard error) that
`--quiet` omits, or a warning on standard error for everybody."""

Block: TypeAlias = tuple[Level, Text]


def blocks(outcome: Outcome, *, width: int | None, is_cut: bool = False) -> list[Block]:
    """Return all that is to be said of an outcome, in order; no text is empty.

    Args:
        outcome: The outcome.
        width: Cells that a line may take; None for lines of any length.
        is_cut: True if an error ends the command, which is reported by itself.
    """
    said: list[tuple[Level, Text | str]]
    if is_cut:
        said = [("result", "\n".join(outcome.news)), *_unfinished(outcome)]
    elif not outcome.is_waited_for:
        failures = failures_text(outcome, width=None)
        said = [("warning", failures), *_steps(outcome, "warning"), *_unfinished(outcome)]
    else:
        said = [*_results(outcome, width), *_unfinished(outcome)]
    return [(level, Text.assemble(text)) for level, text in said if text]


def _results(outcome: Outcome, width: int | None) -> Iterator[tuple[Level, Text | str]]:
    """Yield what is new, what failed, and last how many there are of each result."""
    yield "result", "\n".join(outcome.news)
    if outcome.is_stopped:
        # What did not end is no failure.
        known = {Verdict.FAILED, Verdict.UNKNOWN}
        failed = [each for each in outcome.items if each.verdict in known]
        yield "result", failures_text(evolve(outcome, items=failed), width=width)
        line = outcome.line if outcome.items else "Nothing was dispatched yet."
        yield "warning", f"Stopped. {line}"
        return
    yield "result", failures_text(outcome, width=width)
    yield "remark", _remarks(outcome.items)
    if outcome.spec.repeat > 1:  # It is the result, with `--quiet` too.
        yield "result", "\n".join(escape(f"{e.name}: {e}") for e in stability_of(outcome.items))
    yield from _steps(outcome, "remark")
    if outcome.items or outcome.number:
        yield "remark", outcome.line


def _unfinished(outcome: Outcome) -> Iterator[tuple[Level, str]]:
    """Yield the operations that were not observed to be over, and the commands that settle them."""
    level: Level = "warning" if outcome.is_waited_for else "note"
    if outcome.is_waited_for:
        items = outcome.unfinished
        unseen = [item for item in items if item.verdict is Verdict.ERROR or item.is_unseen]
        if running := [item for item in items if item not in unseen]:
            yield level, f"Still running at the service:\n{named(running)}"
        if unseen:
            yield level, f"Not seen{_since(unseen)}, results unknown:\n{named(unseen)}"
    yield from _steps(outcome, level, is_pending=True)


def _steps(
    outcome: Outcome, level: Level, *, is_pending: bool = False
) -> Iterator[tuple[Level, str]]:
    """Yield the commands that may follow, or those that settle what is left."""
    for step in outcome.steps:
        if step.is_pending is is_pending:
            commands = first_of([f"  {escape(each)}" for each in step.commands], NAMED)
            yield level, "\n".join([f"To {step.aim}:", *commands])


def named(items: Sequence[Item]) -> str:
    """Return the first of the items with their refs, one a line."""
    lines = [escape(f"  {item.ref}  {item_name(item)}") for item in items]
    return "\n".join(first_of(lines, NAMED))


def _since(items: Sequence[Item]) -> str:
    """Return the time since which none of these was observed; empty if unknown of any."""
    waits = [item.error for item in items if isinstance(item.error, errors.WaitTimeoutError)]
    seen = [error.last_seen_at for error in waits if error.last_seen_at]
    return f" since {clock_time(max(seen))}" if seen else ""


def _remarks(items: Sequence[Item]) -> str:
    """Return what is flaky or in quarantine."""
    flaky, excused = list[str](), list[str]()
    for item in items:
        if item.is_flaky:
            runs = [run for run in item.attempts if isinstance(run, Run)]
            words = ", ".join(f"run {run.run_id} {run.status}" for run in runs)
            flaky.append(f"{item_name(item)}: {words}")
        if item.quarantine and item.verdict is not Verdict.FAILED:
            excused.append(f"{item_name(item)}: {item.quarantine}")
    sections = {"Flaky, passed after a failure": flaky, "In quarantine": excused}
    return "\n\n".join(
        "\n".join([f"{title}:", *(f"  {escape(line)}" for line in dict.fromkeys(lines))])
        for title, lines in sections.items()
        if lines
    )


def failures_text(outcome: Outcome, *, width: int | None) -> Text:
    """Return the failures, failed tests first; empty if there are none.

    Args:
        outcome: The outcome.
        width: Cells that a line may take; None for lines of any length.
    """
    failed = [item for item in outcome.items if item.verdict is Verdict.FAILED]
    unknown = [item for item in outcome.items if item.verdict is Verdict.UNKNOWN]
    bad = [item for item in outcome.items if item.is_bad]
    others = [item for item in bad if item.verdict not in {Verdict.FAILED, Verdict.UNKNOWN}]
    texts = [
        *_grouped((each for item in failed for each in _failures_of(item, outcome)), width),
        *_grouped(_reasons(others), width, most=NAMED),
        *_grouped(_reasons(unknown, prefix="unknown: "), width, most=NAMED),
    ]
    return Text("\n\n").join(texts)


def _failures_of(item: Item, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Yield a name and an error for each failed test of an operation, or for itself."""
    entry = Entry(item=item, logs=outcome.logs)
    attempt = f" (attempt {entry.attempt})" if item.earlier else ""
    where = f"{item_name(item)}{attempt}, {entry.operation}"
    for test in getattr(item.outcome, "failures", ()):
        yield f"{where}: {test.name}", test.error or "no error given"
    whole = [case for case in entry.failures if case.is_operation]
    for case in whole:
        yield where, "\n".join([case.error, *end_of(entry.log_of(case))])
    if item.quarantine and not whole:  # It has expired, or passed.
        yield where, str(item.quarantine)


def _reasons(items: Iterable[Item], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name of each item and the reason why it has no outcome."""
    return ((item_name(item), f"{prefix}{item_reason(item)}") for item in items)


def _grouped(
    failures: Iterable[tuple[str, str]], width: int | None, *, most: int | None = None
) -> Iterator[Text]:
    """Yield the error of each name, like errors once, the most frequent first.

    Args:
        failures: The names, each with its error.
        width: Cells that a line may take; None for lines of any length.
        most: Maximum number of names for an error; None for all.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, error in failures:
        groups.setdefault(likeness(error), []).append((name, error))
    for (first, error), *others in sorted(groups.values(), key=len, reverse=True):
        lines: list[Line] = [(escape(first), "bold red")]
        lines += error_lines(error, width=width) if error else []
        if others:
            is_same = all(essence(each) == essence(error) for _, each in others)
            like = "The same error" if is_same else "A like error, with another locator or URL,"
            lines.append((f"  {like} in {len(others)} more:", "bold"))
            names = [f"    {escape(name)}" for name, _ in others]
            lines += [(line, "red") for line in first_of(names, most or len(names))]
        yield text_of(lines)
