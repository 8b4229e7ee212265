"""What is known of a command's operations, and how it reaches the terminal while it changes.

A `Board` listens to a client through its hooks, and decides nothing; `shown` draws it, as a live
table on a terminal and line by line elsewhere. How it looks is `view`'s to say.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import evolve
from rich.live import Live

from testvibe_async import GenerationRef, Hooks, Phase, RunRef
from testvibe_async.cli import view
from testvibe_async.cli.view import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from rich.console import Console, Group
    from rich.text import Text

    from testvibe_async import (
        Dispatched,
        Feature,
        Ref,
        RequestFinished,
        StatusChanged,
        Transition,
    )

__all__ = ["Board", "shown"]

FRAMES_A_SECOND = 8


class Board:
    """The operations of one client, each as it was last seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Make an empty board.

        Args:
            clock: Returns the present, in seconds, such as the event loop's `time`.
        """
        self._clock = clock
        self._began = clock()
        self._names: dict[int | None, str] = {}
        self._rows: dict[tuple[object, ...], Row] = {}
        self.requests = 0
        """How many requests were answered, or failed."""

        self.on_change: Callable[[Row], object] = lambda _row: None
        """Called with each row whose phase or status changed."""

    @property
    def hooks(self) -> Hooks:
        """What to make the client with, so that it tells this board."""
        return Hooks(
            on_dispatched=self._dispatched, on_transition=self._changed, on_request=self._asked
        )

    @property
    def rows(self) -> list[Row]:
        """The operations, in the order in which they were dispatched."""
        return list(self._rows.values())

    @property
    def elapsed(self) -> float:
        """Seconds since this board was made."""
        return self._clock() - self._began

    def name(self, features: Iterable[Feature]) -> None:
        """Learn the names of features: a dispatch tells of their ids alone."""
        self._names.update((feature.id, feature.name) for feature in features)

    def update(self, ref: Ref, change: Transition[object]) -> None:
        """Take in how an operation stands."""
        before = self._rows.get(ref.key) or self._add(ref)
        is_over = change.phase is Phase.FINISHED
        row = self._rows[ref.key] = evolve(
            before,
            phase=change.phase,
            status=change.status,
            snapshot=change.snapshot,
            ended=before.ended or self._clock() if is_over else None,
        )
        if (row.phase, row.word) != (before.phase, before.word):
            self.on_change(row)

    def draw(self, width: int, height: int | None = None) -> Group:
        """Return the board as it looks now; see `view.board`."""
        return view.board(self.rows, now=self._clock(), width=width, height=height)

    def _add(self, ref: Ref) -> Row:
        feature_id = ref.feature_id if isinstance(ref, RunRef | GenerationRef) else None
        feature = self._names.get(feature_id, f"feature {feature_id}")
        row = self._rows[ref.key] = Row(ref=ref, feature=feature, began=self._clock())
        return row

    def _dispatched(self, event: Dispatched) -> None:
        self.on_change(self._add(event.ref))

    def _changed(self, event: StatusChanged) -> None:
        self.update(event.ref, event.transition)

    def _asked(self, _event: RequestFinished) -> None:
        self.requests += 1


@contextmanager
def shown(board: Board, console: Console, *, live: bool) -> Generator[None]:
    """Show a board for as long as this is open, and the whole of it at the end.

    Left by an error it leaves nothing drawn, so that what is said next stands on clear ground.

    Args:
        board: What to show.
        console: Where.
        live: Whether to draw it anew several times a second; else each change is a line.
    """
    if not live:
        with _lines(board, console):
            yield
        return
    with Live(
        # One line is left free: the cursor goes there at the end.
        get_renderable=lambda: board.draw(console.width, console.height - 1),
        console=console,
        refresh_per_second=FRAMES_A_SECOND,
        transient=True,
    ):
        yield
    console.print(board.draw(console.width))


@contextmanager
def _lines(board: Board, console: Console) -> Generator[None]:
    """Print each change as a line.

    Not within the hook but right after it: where nobody reads on, printing raises, and that must
    end the command rather than the client's work on one answer.
    """
    lines: deque[Text] = deque()
    loop = asyncio.get_running_loop()

    def print_all() -> None:
        while lines:
            console.print(lines.popleft(), soft_wrap=True)

    def take_down(row: Row) -> None:
        lines.append(view.line(row, board.elapsed))
        loop.call_soon(print_all)

    board.on_change = take_down
    try:
        yield
    finally:
        print_all()
