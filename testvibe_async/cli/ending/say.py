"""What a command prints at its end, in which order, and where.

The results go to standard output. How to wait for operations in flight is a note on standard error,
which `--quiet` does not hide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve
from rich.text import Text

from testvibe_async import BatchItem, Verdict, WaitTimeoutError
from testvibe_async._util import escape
from testvibe_async.cli import board as boards
from testvibe_async.cli.ending.commands import rerun_commands, wait_command
from testvibe_async.cli.ending.ending import Ending
from testvibe_async.cli.ending.failures import failures_text, flaky
from testvibe_async.cli.jobs import item_name
from testvibe_async.cli.output import warn
from testvibe_async.cli.words import NAME, clock_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testvibe_async import Ref
    from testvibe_async.cli.board import Board, Row
    from testvibe_async.cli.common import Common
    from testvibe_async.cli.exits import ExitCode
    from testvibe_async.cli.jobs import Item
    from testvibe_async.cli.output import Output

__all__ = [
    "named_in_flight",
    "say_dispatched",
    "say_ended",
    "say_nothing",
    "say_report",
    "say_stopped",
    "say_unanswered",
    "say_unfinished",
]

NAMED_IN_FLIGHT = 10
"""How many operations in flight are named; the command that waits for them has all."""

LINES_BESIDE_BOARD = 8
"""How many lines of a terminal are kept free of a table that stays."""


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
    rows = [(item.feature_name, item.config, item.latest_ref) for item in items if item.latest_ref]
    if rows:
        output.table(("Feature", "Config", "Operation"), rows)
    if text := failures_text(ending, width=None):
        warn(str(text))
    refs = [item.latest_ref for item in ending.unfinished if item.latest_ref]
    if refs and not output.is_json and not output.is_quiet:
        output.note(f"\n{_how_to_wait(refs, common)}")
    board.is_reported = True
    return ending


def say_nothing(
    why: str, ending: Ending, board: Board, common: Common, *, events: bool = False
) -> ExitCode:
    """Print why there is nothing to do, and return the exit code."""
    _say_document(ending, common.output, events=events)
    warn(why) if ending.exit_code else common.output.note(why)
    board.is_reported = True
    return ending.exit_code


def say_ended(ending: Ending, board: Board, common: Common, *, events: bool = False) -> None:
    """Print the results: what went wrong, the counts, and what is still in flight."""
    output = common.output
    _say_document(ending, output, events=events)
    if output.is_live and len(board.rows) + LINES_BESIDE_BOARD <= output.console.height:
        unseen = {item.latest_ref for item in ending.items if item.is_unseen and item.latest_ref}
        output.console.print(
            boards.table_of(board.state.at_end(unseen), width=output.console.width)
        )
    gap = "" if output.is_quiet else "\n"
    output.details(lambda width: _after(gap, failures_text(ending, width=width)))
    _say_flaky(ending, output)
    commands = rerun_commands(ending.items, place=ending.place, journal=ending.journal)
    if commands:
        lines = "\n".join(f"  {command}" for command in commands)
        which = "it" if len(ending.failed_runs) == 1 else "one"
        output.say(f"\nMore of {which}: {NAME} runs diagnose {ending.failed_runs[0]}")
        output.say(f"Run what failed again with:\n{lines}")
    output.say(f"\n{ending.last_line}")
    say_unfinished(ending, common)
    board.is_reported = True


def say_unfinished(ending: Ending, common: Common) -> None:
    """Name operations that are not seen to be over, with the command that waits for them."""
    items = ending.unfinished
    refs = [item.latest_ref for item in items if item.latest_ref]
    if not refs:
        return
    unseen = [item for item in items if item.verdict is Verdict.ERROR or item.is_unseen]
    going_on = [item for item in items if item not in unseen]
    if going_on:
        warn(f"\nIn flight, and the service goes on:\n{_named(going_on)}")
    if unseen:
        warn(f"\nNot seen{_since(unseen)}, so it is not known how they go:\n{_named(unseen)}")
    if ending.resume is None:
        warn(_how_to_wait(refs, common))
        return
    # First, as `wait` records nothing in the batch: its runs would stay in flight there.
    warn(f"Resume the batch, on this machine, with:\n  {ending.resume}")
    warn(f"Or only wait, on any machine, with:\n  {wait_command(refs, common)}")


def _named(items: Sequence[Item]) -> str:
    names = str(named_in_flight(items[:NAMED_IN_FLIGHT]))
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
    output.details(lambda width: failures_text(ending, width=width))
    _say_flaky(ending, output)
    output.say(f"\n{ending.last_line}")


def say_stopped(ending: Ending, common: Common, *, events: bool = False) -> None:
    """Print the progress of a command that was stopped, with what had failed by then."""
    _say_document(ending, common.output, events=events)
    failed = evolve(ending, items=[i for i in ending.items if i.verdict is Verdict.FAILED])
    common.output.details(lambda width: _after("\n", failures_text(failed, width=width)))
    if failed.items:
        common.output.say("")
    warn(f"Stopped: {ending.line if ending.items else 'nothing was dispatched yet'}")


def say_unanswered(board: Board) -> None:
    """Name dispatches that were sent and not answered."""
    if board.unanswered:
        urls = "\n".join(f"  POST {url}" for url in board.unanswered)
        warn(
            f"\nNot answered, so that nobody knows whether they took effect:\n{urls}\n"
            f"Look at '{NAME} runs list' or '{NAME} generation status' before you try again."
        )


def _say_flaky(ending: Ending, output: Output) -> None:
    if text := flaky(ending):
        output.say(f"\nFlaky, passed after a failure:\n{text}")


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


def named_in_flight(operations: Iterable[Row | Item], *, width: int | None = None) -> Text:
    """Return the names of operations that are not over, one a line.

    Args:
        operations: The operations.
        width: Cells that a line may take; None for lines as long as they are.
    """
    lines = [Text(escape(f"  {each.ref}  {_operation_name(each)}")) for each in operations]
    if width is not None:
        for each in lines:
            each.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines)


def _operation_name(operation: Row | Item) -> str:
    return item_name(operation) if isinstance(operation, BatchItem) else operation.name
