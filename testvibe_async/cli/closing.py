"""The end of a command's output: failures, counts, and the next command.

Failed tests come first, then errors, then unknown outcomes. Equal errors are shown once, with the
names of all features that have them; `details` decides how an error itself looks. Results go to
standard output. The command that waits for operations in flight is a note on standard error, which
`--quiet` does not hide.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve
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
from testvibe_async.cli.display import sight_of, table_of
from testvibe_async.cli.output import warn
from testvibe_async.cli.result import (
    check_command,
    error_of,
    is_of_generation,
    rerun_commands,
)
from testvibe_async.cli.rows import word_of
from testvibe_async.cli.words import NAME, clock_time, item_name, plural, reason
from testvibe_async.runner.stability import stability_of
from testvibe_async.runner.waits import wait_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from testvibe_async import VibeError
    from testvibe_async.cli.common import Common
    from testvibe_async.cli.details import Line
    from testvibe_async.cli.exits import ExitCode
    from testvibe_async.cli.output import Output
    from testvibe_async.cli.outputs import Outputs
    from testvibe_async.cli.progress import Progress
    from testvibe_async.cli.result import Result
    from testvibe_async.cli.words import Item

__all__ = ["conclude", "failures_text", "named", "say_nothing", "say_unfinished", "show"]

NAMED_IN_FLIGHT = 10
"""Maximum number of operations in flight that are named; the command to wait for them has all."""

LINES_BESIDE_TABLE = 8
"""Number of a terminal's lines kept free of a table that stays on screen."""

NAMES_OF_AN_ERROR = 5
"""Maximum number of features named for one error."""

LOG_LINES = 3
"""Maximum lines shown of each section of a failed generation's log."""

_HINTS: tuple[tuple[type[VibeError], str], ...] = (
    (FeatureNotGeneratedError, "To generate first what has no tests: --on-conflict generate"),
    (GenerationInProgressError, "To join the generation in flight: --on-conflict attach"),
)

T = TypeVar("T")


def failures_text(result: Result, *, width: int | None) -> Text:
    """Return the failures, failed tests first; empty if there are none.

    Args:
        result: The results.
        width: Cells that a line may take; None for lines as long as they are.
    """
    failed = [item for item in result.items if item.verdict is Verdict.FAILED]
    runs = [item for item in failed if isinstance(item.outcome, Run)]
    parts = [
        *_failed_tests(runs, width),
        *(_failed_generation(item, result, width) for item in failed if item not in runs),
        *_errors(result.items),
    ]
    return Text("\n\n").join([*parts, *_unknown(result)])


def _grouped(pairs: Iterable[tuple[str, T]]) -> list[tuple[str, list[T]]]:
    """Return values grouped by equal keys, in the order of the keys."""
    groups: dict[str, list[T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return list(groups.items())


def _size(group: tuple[str, Sequence[object]]) -> int:
    return len(group[1])


def _failed_tests(items: Iterable[Item], width: int | None) -> list[Text]:
    """Return a line for each failed test of runs, those with equal errors together.

    The whole error is beneath the first of them.
    """
    from testvibe_async.reports import essence  # noqa: PLC0415 - needed where something failed

    failures = [failure for item in items for failure in _failures_of(item)]
    groups = _grouped((essence(error), (name, error)) for name, error in failures)
    groups.sort(key=_size, reverse=True)
    return [text_of(_group(group, width)) for _, group in groups]


def _failures_of(item: Item) -> Iterator[tuple[str, str]]:
    """Yield the name and the error of each failed test of a run."""
    run = item.outcome
    assert isinstance(run, Run)
    attempt = f" (attempt {len(item.earlier) + 1})" if item.earlier else ""
    where = f"{item_name(item)}{attempt}, run {run.run_id}"
    for test in run.failures:
        yield f"{where}: {test.name}", test.error or "no error given"
    if item.quarantine:  # It has expired, or passed.
        yield where, str(item.quarantine)
    elif not run.failures:
        log = "\n".join(end_of(run.log))
        yield where, f"no failed test is reported; the end of the log:\n{log}"


def _group(failures: Sequence[tuple[str, str]], width: int | None) -> list[Line]:
    (first, error), *others = failures
    lines: list[Line] = [(escape(first), "bold red"), *error_lines(error, width=width)]
    if others:
        lines.append((f"  The same error in {len(others)} more:", "bold"))
        lines += [(f"    {escape(name)}", "red") for name, _ in others]
    return lines


def _failed_generation(item: Item, result: Result, width: int | None) -> Text:
    head = Text(f"{escape(item_name(item))}, generation: {word_of(item)}", "bold")
    generation = item.outcome
    assert isinstance(generation, Generation)
    log = result.logs.get(generation.request_id or "")
    if log is None:
        return head
    return Text("\n").join([head, log_details(log, limit=LOG_LINES, width=width)])


def _errors(items: Iterable[Item]) -> list[Text]:
    """Return why items could not be dispatched or observed, each reason once."""
    errors = [item for item in items if item.verdict is Verdict.ERROR or _is_kept_from_us(item)]
    groups = _grouped((reason(error_of(item)), item) for item in errors)
    parts = [
        Text.assemble((f"{plural(len(those), 'error')}: {why}", "bold red"), f"\n  {_names(those)}")
        for why, those in sorted(groups, key=_size, reverse=True)
    ]
    hints = [hint for kind, hint in _HINTS if any(isinstance(item.error, kind) for item in errors)]
    return parts + [Text(hint) for hint in hints]


def _is_kept_from_us(item: Item) -> bool:
    """Return whether an operation is in flight that the key may not see any more."""
    is_late = item.error is None or isinstance(item.error, WaitTimeoutError)
    return item.verdict is Verdict.IN_FLIGHT and not is_late


def _unknown(result: Result) -> list[Text]:
    """Return the unknown dispatches, and the commands that check them at the service."""
    unknown = [item for item in result.items if isinstance(item.error, DispatchUnknownError)]
    if not unknown:
        return []
    text = Text()
    for why, items in _grouped((reason(error_of(item)), item) for item in unknown):
        text.append(_names(items), "bold").append("\n  unknown: ", "magenta").append(f"{why}\n")
    commands = [f"  {escape(check_command(item, result.place))}" for item in unknown]
    text.append("Before you start it again, see whether it did with:\n")
    text.append("\n".join(_first(commands, NAMES_OF_AN_ERROR)))
    if result.resume is not None:
        # A generation has no id that a person could name.
        adopts = not all(map(is_of_generation, unknown))
        decisions = "resend, drop, or adopt ID" if adopts else "resend or drop"
        text.append(f"\nand then, for what it was: {result.resume} --unknown {decisions}")
    return [text]


def _names(items: Sequence[Item]) -> str:
    names = ", ".join(escape(item_name(item)) for item in items[:NAMES_OF_AN_ERROR])
    more = len(items) - NAMES_OF_AN_ERROR
    return f"{names} and {more} more" if more > 0 else names


def _first(lines: Sequence[str], most: int) -> list[str]:
    """Return the first lines, and how many more there are."""
    more = [f"  and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more]


def named(items: Sequence[Item]) -> str:
    """Return the first of the items with their refs, one a line."""
    lines = [escape(f"  {item.latest_ref}  {item_name(item)}") for item in items]
    return "\n".join(_first(lines, NAMED_IN_FLIGHT))


async def conclude(  # noqa: PLR0913 - each by name
    result: Result,
    outputs: Outputs,
    common: Common,
    *,
    progress: Progress | None = None,
    has_events: bool = False,
    timeout: float | None = None,
) -> ExitCode:
    """Write the reports, print the results, fetch the artifacts, and return the exit code.

    Args:
        result: The results.
        outputs: The files to write.
        common: The options of the command.
        progress: The progress that was shown; None if none was.
        has_events: True if `--json` is a line for each change.
        timeout: Seconds that artifacts may still take; None for as long as it takes.
    """
    try:
        await asyncio.to_thread(outputs.write, result)
    finally:
        show(result, common, progress=progress, has_events=has_events)
    outputs.annotate(result)
    outputs.note_paths()
    await outputs.finish(result, timeout=timeout)
    return result.exit_code


def show(
    result: Result, common: Common, *, progress: Progress | None = None, has_events: bool = False
) -> None:
    """Print the results: failures, counts, and operations still in flight.

    Args:
        result: The results.
        common: The options of the command.
        progress: The progress that was shown; None if none was.
        has_events: True if `--json` is a line for each change.
    """
    output = common.output
    _say_document(result, output, has_events=has_events)
    if not result.is_waited_for:
        _say_dispatched(result, output)
    elif result.stopped_by is not None:
        # What did not end is no failure.
        known = [each for each in result.items if each.verdict in {Verdict.FAILED, Verdict.UNKNOWN}]
        _say_failures(evolve(result, items=known), output)
        if known:
            output.say("")
        warn(f"Stopped: {result.line if result.items else 'nothing was dispatched yet'}")
    else:
        if progress is not None and output.is_live:
            _keep_table(progress, output)
        has_failures = _say_failures(result, output)
        _say_flaky(result, output)
        _say_stability(result, output)
        _say_rerun(result, output)
        is_first = result.headline is not None and not has_failures
        output.say(result.last_line if is_first else f"\n{result.last_line}")
    say_unfinished(result, common)


def say_nothing(why: str, result: Result, common: Common, *, has_events: bool = False) -> None:
    """Print why there is nothing to do; with `--json`, an empty document."""
    _say_document(result, common.output, has_events=has_events)
    warn(why) if result.exit_code else common.output.note(why)


def say_unfinished(result: Result, common: Common) -> None:
    """Name operations that were not observed to be over, with the commands that wait for them.

    Operations that were just dispatched are named as results, and the commands are a note.
    """
    items = result.unfinished
    if not items:
        if result.is_left and result.resume and result.is_waited_for:
            warn(f"Resume the batch, on this machine, with:\n  {result.resume}")
        return
    if not result.is_waited_for:
        if not common.output.is_json:
            common.output.note(f"\n{_how_to_wait(result, common)}")
        return
    unseen = [item for item in items if item.verdict is Verdict.ERROR or item.is_unseen]
    running = [item for item in items if item not in unseen]
    if running:
        warn(f"\nStill running at the service:\n{named(running)}")
    if unseen:
        warn(f"\nNot seen{_since(unseen)}, so it is not known how they go:\n{named(unseen)}")
    warn(_how_to_wait(result, common))


def _say_dispatched(result: Result, output: Output) -> None:
    """Print which operations were dispatched, and on standard error which were not."""
    dispatched = [item for item in result.items if item.latest_ref]
    rows = [(item.feature_name, item.config, item.latest_ref) for item in dispatched]
    if rows:
        output.table(("Feature", "Config", "Operation"), rows)
    if text := failures_text(result, width=None):
        warn(str(text))


def _say_failures(result: Result, output: Output) -> bool:
    """Print the failures, and return whether there are any."""
    text = failures_text(result, width=output.width)
    output.details(lambda _: Text.assemble("" if output.is_quiet else "\n", text) if text else text)
    return bool(text)


def _keep_table(progress: Progress, output: Output) -> None:
    """Print the final table if the terminal has enough lines for all of it."""
    sight = evolve(sight_of(progress), outage=None)
    if len(sight.rows) + LINES_BESIDE_TABLE <= output.console.height:
        output.console.print(table_of(sight, width=output.console.width))


def _since(items: Sequence[Item]) -> str:
    """Return the time since which none of these was observed; empty if unknown of any."""
    errors = [item.error for item in items if isinstance(item.error, WaitTimeoutError)]
    seen = [error.last_seen_at for error in errors if error.last_seen_at]
    return f" since {clock_time(max(seen))}" if seen else ""


def _say_flaky(result: Result, output: Output) -> None:
    lines: list[str] = []
    for item in result.items:
        if item.is_flaky:
            runs = [
                f"run {run.run_id} {run.status}" for run in item.attempts if isinstance(run, Run)
            ]
            lines.append(escape(f"  {item_name(item)}: {', '.join(runs)}"))
    if lines:
        output.say("\n".join(["\nFlaky, passed after a failure:", *lines]))


def _say_stability(result: Result, output: Output) -> None:
    """Print the features in quarantine, and the stability of repeated runs."""
    lines = [
        f"  {item_name(each)}: {each.quarantine}"
        for each in result.items
        if each.quarantine and each.verdict is not Verdict.FAILED
    ]
    if lines:
        output.say("\n".join(["\nIn quarantine:", *map(escape, dict.fromkeys(lines))]))
    if result.repeat > 1:
        lines = [f"{each.name}: {each}" for each in stability_of(result.items)]
        output.say("\n".join(["", *map(escape, lines)]))


def _say_rerun(result: Result, output: Output) -> None:
    commands = rerun_commands(result.items, place=result.place, journal=result.journal)
    if commands:
        lines = "\n".join(f"  {command}" for command in commands)
        which = "it" if len(result.failed_runs) == 1 else "one"
        output.say(f"\nMore of {which}: {NAME} runs diagnose {result.failed_runs[0]}")
        output.say(f"Run what failed again with:\n{lines}")


def _how_to_wait(result: Result, common: Common) -> str:
    """Return the commands that wait: for the whole batch, or only for operations in flight."""
    refs = [item.latest_ref for item in result.unfinished if item.latest_ref]
    command = wait_command(refs, *(["--allow-http"] if common.allow_http else []))
    if result.resume is None:
        return f"Wait for {'it' if len(refs) == 1 else 'them'} with:\n  {command}"
    return (
        f"Resume the batch, on this machine, with:\n  {result.resume}\n"
        f"Or only wait, on any machine, with:\n  {command}"
    )


def _say_document(result: Result, output: Output, *, has_events: bool) -> None:
    if not has_events:
        output.document(result.document)
        return
    document = {name: each for name, each in result.document.items() if name != "items"}
    output.event({"event": "end", **document})
