"""What a command that dispatched many operations says when it is over.

It decides what goes to standard output and what to standard error: what became of them is the
result; how to pick up those that go on is a note, which even `--quiet` lets through.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.text import Text

from testvibe_async.cli import details
from testvibe_async.cli.ending import Ending
from testvibe_async.cli.output import clean_lines
from testvibe_async.cli.refs import wait_command
from testvibe_async.cli.sentences import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from testvibe_async import Ref
    from testvibe_async.cli.board import Board
    from testvibe_async.cli.common import Common
    from testvibe_async.cli.dispatch import Item
    from testvibe_async.cli.output import Output

__all__ = ["dispatched", "ended", "in_flight", "stopped", "story", "to_all", "unanswered"]

NAMED_IN_FLIGHT = 10
"""How many operations that go on are named; the command that waits for them has all."""

LINES_BESIDE_BOARD = 8
"""How many lines of a terminal are kept free of a table that stays."""


def dispatched(items: Sequence[Item], board: Board, common: Common) -> Ending:
    """Say which operations were dispatched, which were not, and how to wait for the others."""
    output = common.output
    ending = Ending(items=items, asked=len(items), seconds=board.elapsed, is_waited_for=False)
    output.document(ending.document)
    rows = [(item.feature_name, item.config, item.ref) for item in items if item.ref]
    if rows:
        output.table(("Feature", "Config", "Operation"), rows)
    if errors := ending.story(width=None):
        to_all(str(errors))
    if ending.in_flight and not output.is_json and not output.is_quiet:
        them = "it" if len(ending.in_flight) == 1 else "them"
        output.note(f"\nWait for {them} with:\n  {wait_command(ending.in_flight, common)}")
    board.is_told = True
    return ending


def ended(ending: Ending, board: Board, common: Common, *, events: bool = False) -> None:
    """Say what became of all of it: what went wrong, what it adds up to, and what goes on."""
    output = common.output
    _say_document(ending, output, events=events)
    if output.is_live and len(board.rows) + LINES_BESIDE_BOARD <= output.console.height:
        output.console.print(board.draw(output.console.width))
    gap = "" if output.is_quiet else "\n"
    story(lambda width: _after(gap, ending.story(width=width)), output)
    if failed := ending.failed_runs:
        output.say(f"\nMore of one: {NAME} runs diagnose {failed[0]}")
    output.say(f"\n{ending.line}")
    in_flight(ending.in_flight, board, common)
    board.is_told = True


def story(tell: Callable[[int | None], Text], output: Output) -> None:
    """Say something that takes many lines, and was asked for.

    Args:
        tell: Returns it for lines of so many cells; of None for lines as long as they are.
        output: Where to say it.
    """
    console = output.console
    text = tell(console.width if console.is_terminal else None)
    if text and not output.is_json:
        console.print(text, soft_wrap=True)


def in_flight(refs: Sequence[Ref], board: Board, common: Common) -> None:
    """Name operations that go on, with the command that waits for them."""
    if not refs:
        return
    keys = {ref.key for ref in refs}
    rows = [row for row in board.rows if row.ref and row.ref.key in keys]
    names = str(details.in_flight(rows[:NAMED_IN_FLIGHT]))
    if len(rows) > NAMED_IN_FLIGHT:
        names += f"\n  and {len(rows) - NAMED_IN_FLIGHT} more"
    to_all(
        f"\nIn flight, and the service goes on:\n{names}\n"
        f"Wait for {'it' if len(rows) == 1 else 'them'} with:\n  {wait_command(refs, common)}"
    )


def stopped(ending: Ending, common: Common, *, events: bool = False) -> None:
    """Say how far a command came that was stopped."""
    _say_document(ending, common.output, events=events)
    how_far = ending.line if ending.asked else "nothing was dispatched yet"
    to_all(f"Stopped: {how_far}")


def unanswered(board: Board) -> None:
    """Name dispatches that were sent and not answered."""
    if board.unanswered:
        urls = "\n".join(f"  POST {url}" for url in board.unanswered)
        to_all(
            f"\nNot answered, so that nobody knows whether they took effect:\n{urls}\n"
            f"Look at '{NAME} runs list' or '{NAME} generation status' before you try again."
        )


def _say_document(ending: Ending, output: Output, *, events: bool) -> None:
    if not events:
        output.document(ending.document)
        return
    document = {name: each for name, each in ending.document.items() if name != "items"}
    output.event({"event": "end", **document})


def to_all(text: str) -> None:
    """Write to standard error, whatever was said of quiet."""
    sys.stderr.write(clean_lines(text) + "\n")


def _after(gap: str, text: Text) -> Text:
    return Text.assemble(gap, text) if text else text
