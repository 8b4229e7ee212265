"""The end of a command's output: failures, counts, and the next command.

Failed tests come first, then errors, then unknown outcomes. Equal errors are shown once, with the
names of all that have them; `details` decides how an error itself looks. Results go to standard
output. The command that waits for operations in flight is a note on standard error, which `--quiet`
does not hide.
"""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING

from attrs import evolve
from rich.text import Text

from testvibe_async import Run, Verdict, VibeError, errors
from testvibe_async._core.util import escape
from testvibe_async.cli.details import Line, end_of, error_lines, first_of, text_of
from testvibe_async.cli.output import Output, warn
from testvibe_async.cli.outputs import Outputs, the_batch
from testvibe_async.cli.words import NAME, Item, clock_time, is_lost, item_name, item_reason
from testvibe_async.runner.stability import stability_of
from testvibe_async.runner.waits import wait_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from testvibe_async.cli.common import Common
    from testvibe_async.cli.exits import ExitCode
    from testvibe_async.cli.result import Result


NAMED = 10
"""Maximum number of features or operations named in a list; a command to wait has all."""

_HINTS: dict[type[VibeError], tuple[str, str]] = {
    errors.FeatureNotGeneratedError: ("generate what has no tests", "generate"),
    errors.GenerationInProgressError: ("join that generation", "generate --on-conflict attach"),
}
"""The aim that may help with a refusal, and the command that does it to a feature."""


def failures_text(result: Result, *, width: int | None) -> Text:
    """Return the failures, failed tests first; empty if there are none.

    Args:
        result: The results.
        width: Cells that a line may take; None for lines of any length.
    """
    failed = [item for item in result.items if item.verdict is Verdict.FAILED]
    # An operation in flight may be one that the key may not see any more.
    without = [
        item
        for item in result.items
        if item.verdict is Verdict.ERROR or (item.verdict is Verdict.IN_FLIGHT and is_lost(item))
    ]
    unknown = [item for item in result.items if isinstance(item.error, errors.DispatchUnknownError)]
    parts: list[Text | str] = [
        *_grouped((each for item in failed for each in _failures_of(item, result)), width),
        *_grouped(_reasons(without), width, most=NAMED),
        *_hints(without, result),
    ]
    if unknown:
        groups = _grouped(_reasons(unknown, prefix="unknown: "), width, most=NAMED)
        parts.append(Text("\n").join([*groups, Text(_how_to_decide(unknown, result))]))
    return Text("\n\n").join(Text(each) if isinstance(each, str) else each for each in parts)


def _hints(without: Sequence[Item], result: Result) -> Iterator[str]:
    """Yield the commands that help."""
    for kind, (aim, command) in _HINTS.items():
        refused = [each for each in without if type(each.error) is kind]
        if refused:
            features = dict.fromkeys(str(each.feature) for each in refused)
            names = features if len(features) <= NAMED else ["FEATURE"]
            words = [*command.split(), *result.place, *_positional(names)]
            yield f"To {aim}: {NAME} {shlex.join(words)}"


def _positional(names: Iterable[str]) -> list[str]:
    """Return names as words of a command, so that none is read as an option."""
    names = list(names)
    return ["--", *names] if any(name.startswith("-") for name in names) else names


def _failures_of(item: Item, result: Result) -> Iterator[tuple[str, str]]:
    """Yield a name and an error for each failed test of an operation, or for itself."""
    from testvibe_async.reports.entries import Entry  # noqa: PLC0415 - needed where something failed

    entry = Entry(item=item, logs=result.logs)
    attempt = f" (attempt {entry.attempt})" if item.earlier else ""
    where = f"{item_name(item)}{attempt}, {entry.operation}"
    for test in getattr(item.outcome, "failures", ()):
        yield f"{where}: {test.name}", test.error or "no error given"
    whole = [case for case in entry.failures if case.is_operation]
    for case in whole:
        yield where, "\n".join([case.error, *end_of(case.log)])
    if item.quarantine and not whole:  # It has expired, or passed.
        yield where, str(item.quarantine)


def _reasons(items: Iterable[Item], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name of each item and the reason why it has no outcome."""
    return ((item_name(item), f"{prefix}{item_reason(item)}") for item in items)


def _grouped(
    failures: Iterable[tuple[str, str]], width: int | None, *, most: int | None = None
) -> list[Text]:
    """Return the error of each name, equal errors once, the most frequent first.

    Args:
        failures: The names, each with its error.
        width: Cells that a line may take; None for lines of any length.
        most: Maximum number of names for an error; None for all.
    """
    from testvibe_async.reports.text import essence  # noqa: PLC0415 - needed where something failed

    groups: dict[str, list[tuple[str, str]]] = {}
    for name, error in failures:
        groups.setdefault(essence(error), []).append((name, error))
    texts: list[Text] = []
    for (first, error), *others in sorted(groups.values(), key=len, reverse=True):
        lines: list[Line] = [(escape(first), "bold red")]
        lines += error_lines(error, width=width) if error else []
        if others:
            lines.append((f"  The same error in {len(others)} more:", "bold"))
            names = [f"    {escape(name)}" for name, _ in others]
            lines += [(line, "red") for line in first_of(names, most or len(names))]
        texts.append(text_of(lines))
    return texts


def _how_to_decide(unknown: Sequence[Item], result: Result) -> str:
    """Return the commands that check unknown dispatches at the service, and that decide them."""
    commands = [f"  {escape(result.check_command(item))}" for item in unknown]
    lines = ["Before you start it again, see whether it did with:", *first_of(commands, NAMED)]
    if result.resume is not None:
        decisions = {"resend": "it did not start", "adopt ID": "it is run ID", "drop": "leave it"}
        if result.spec.kind != "run":
            del decisions["adopt ID"]  # A person names only a run by its id.
        lines.append("Then decide:")
        lines += [f"  {result.resume} --unknown {x:<8}  # {why}" for x, why in decisions.items()]
    return "\n".join(lines)


def named(items: Sequence[Item]) -> str:
    """Return the first of the items with their refs, one a line."""
    lines = [escape(f"  {item.ref}  {item_name(item)}") for item in items]
    return "\n".join(first_of(lines, NAMED))


async def conclude(result: Result, outputs: Outputs, *, timeout: float | None = None) -> ExitCode:
    """Write the reports, print the results, fetch the artifacts, and return the exit code.

    The files are about what the exit code is about: of a rerun, the batch that it reran.

    Args:
        result: The results. Of a command that did not wait, they are only printed.
        outputs: The files to write, and the output of the command.
        timeout: Seconds that artifacts may still take; None for as long as it takes.
    """
    if not result.is_waited_for:
        _show(result, outputs.output)
        return result.exit_code
    await asyncio.to_thread(outputs.write, result.whole)
    result = evolve(result, is_reported=not outputs.unwritten)
    _show(result, outputs.output)
    outputs.announce(result.whole)
    await outputs.finish(result.whole, timeout=timeout)
    return evolve(result, is_reported=not outputs.unwritten).exit_code


def conclude_early(result: Result, outputs: Outputs, cause: VibeError | None) -> None:
    """Write the reports and name the operations in flight if an error ends the command.

    Args:
        result: The results so far.
        outputs: The files to write, and the output of the command.
        cause: The error; None for a signal, or an error that is not of the SDK.
    """
    # Without an item the reports of an earlier job would stay, perhaps those of a success.
    known = result.whole if result.items else evolve(result, items=[the_batch(cause)])
    outputs.write(known)
    (_say_unfinished if result.stopped_by is None else _show)(result, outputs.output)
    outputs.announce(known)
    outputs.note_artifacts()


def _show(result: Result, output: Output) -> None:
    """Print the results: failures, counts, and operations still in flight."""
    _say_document(result, output)
    if not result.is_waited_for:
        _say_dispatched(result, output)
    elif result.stopped_by is not None:
        # What did not end is no failure.
        known = [each for each in result.items if each.verdict in {Verdict.FAILED, Verdict.UNKNOWN}]
        if _say_failures(evolve(result, items=known), output):
            output.say("")
        warn(f"Stopped. {result.last_line if result.items else 'Nothing was dispatched yet.'}")
    else:
        is_explained = _say_failures(result, output)
        _say_remarks(result, output)
        _say_next(result, output)
        output.say(f"\n{result.last_line}")
        if output.is_quiet and result.exit_code and not is_explained:
            warn(f"{result.last_line}. {result.still_red}".rstrip(" ."))
    if result.parent is not None:
        _say_whole(result, output)
    _say_unfinished(result, output)


def say_nothing(why: str, result: Result, common: Common) -> ExitCode:
    """Print why there is nothing to do, with `--json` an empty document; return the exit code."""
    _say_document(result, common.output)
    warn(why) if result.exit_code else common.output.note(why)
    if result.parent is not None:
        _say_whole(result, common.output)
    return result.exit_code


def _say_unfinished(result: Result, output: Output) -> None:
    """Name operations that were not observed to be over, with the commands that wait for them.

    Operations that were just dispatched are named as results, and the commands are a note.
    """
    items = result.unfinished
    if not items:
        if result.is_left and result.resume:
            warn(f"Resume the batch, on this machine, with:\n  {result.resume}")
    elif not result.is_waited_for:
        if not output.is_json:
            output.note(f"\n{_how_to_wait(result)}")
    else:
        unseen = [item for item in items if item.verdict is Verdict.ERROR or item.is_unseen]
        running = [item for item in items if item not in unseen]
        if running:
            warn(f"\nStill running at the service:\n{named(running)}")
        if unseen:
            warn(f"\nNot seen{_since(unseen)}, results unknown:\n{named(unseen)}")
        if result.is_service_kept:
            warn(_how_to_wait(result))


def _say_dispatched(result: Result, output: Output) -> None:
    """Print which operations were dispatched, and on standard error which were not."""
    rows = [(each.feature_name, each.config, each.ref) for each in result.items]
    if rows := [row for row in rows if row[2] is not None]:
        output.table(("Feature", "Config", "Operation"), rows)
    if text := failures_text(result, width=None):
        warn(str(text))


def _say_failures(result: Result, output: Output) -> bool:
    """Print the failures, and return whether there are any."""
    text = failures_text(result, width=output.width)
    output.details(lambda _: Text.assemble("" if output.is_quiet else "\n", text) if text else text)
    return bool(text)


def _since(items: Sequence[Item]) -> str:
    """Return the time since which none of these was observed; empty if unknown of any."""
    waits = [item.error for item in items if isinstance(item.error, errors.WaitTimeoutError)]
    seen = [error.last_seen_at for error in waits if error.last_seen_at]
    return f" since {clock_time(max(seen))}" if seen else ""


def _say_remarks(result: Result, output: Output) -> None:
    """Print what is flaky or in quarantine, and the stability of repeated runs."""
    flaky, excused = list[str](), list[str]()
    for item in result.items:
        if item.is_flaky:
            runs = [run for run in item.attempts if isinstance(run, Run)]
            words = ", ".join(f"run {run.run_id} {run.status}" for run in runs)
            flaky.append(f"{item_name(item)}: {words}")
        if item.quarantine and item.verdict is not Verdict.FAILED:
            excused.append(f"{item_name(item)}: {item.quarantine}")
    for title, lines in {"Flaky, passed after a failure": flaky, "In quarantine": excused}.items():
        if lines:
            output.say(
                "\n".join([f"\n{title}:", *(f"  {escape(line)}" for line in dict.fromkeys(lines))])
            )
    if result.spec.repeat > 1:
        lines = [escape(f"{each.name}: {each}") for each in stability_of(result.items)]
        text = Text("\n".join([*([] if output.is_quiet else [""]), *lines]))
        output.details(lambda _: text)  # It is the result, with `--quiet` too.


def _say_next(result: Result, output: Output) -> None:
    """Print the commands that describe the failures, and the one that runs them again."""
    failed = [item for item in result.items if item.verdict is Verdict.FAILED]
    runs = [item.outcome.run_id for item in failed if isinstance(item.outcome, Run)]
    if runs and result.is_service_kept:
        which = "it" if len(runs) == 1 else "the first failure"
        words = [NAME, "runs", "diagnose", str(runs[0]), *result.place]
        output.say(f"\nTo diagnose {which}: {shlex.join(words)}")
        if result.rerun is not None:
            output.say(f"To rerun what failed:\n  {result.rerun}")
    elif failed and result.is_service_kept:
        words = [NAME, "generation", "log", *result.place, *_positional([str(failed[0].feature)])]
        output.say(f"\nTo read why: {shlex.join(words)}")


def _say_whole(result: Result, output: Output) -> None:
    """Print the state of the batch that a rerun reran, which decides the exit code."""
    whole = result.whole
    assert whole.stored is not None
    is_own_left = result.unfinished or result.is_left  # The rerun is resumed first.
    is_over = is_own_left or whole.stored.is_over
    next_step = "" if is_over else f"Resume it with {whole.resume}"
    facts = f"{whole.stored}: {whole.counts}.", whole.still_red, next_step
    say = warn if whole.exit_code else output.note
    say(" ".join(filter(None, facts)))


def _how_to_wait(result: Result) -> str:
    """Return the commands that wait: for the whole batch, or only for operations in flight."""
    refs = [item.ref for item in result.unfinished if item.ref]
    command = wait_command(refs, *(each for each in result.place if each == "--allow-http"))
    if result.resume is None:
        return f"Wait for {'it' if len(refs) == 1 else 'them'} with:\n  {command}"
    return (
        f"Resume the batch, on this machine, with:\n  {result.resume}\n"
        f"Or only wait, on any machine, with:\n  {command}"
    )


def _say_document(result: Result, output: Output) -> None:
    document = result.document
    if output.has_lines:
        if result.is_waited_for:  # Of the others there were events.
            document["items"] = [each for each in document["items"] if each["ref"] is None]
        document = {"event": "end", **document}
    output.document(document)
