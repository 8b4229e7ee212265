"""Waiting for many operations in front of people, pipes and programs alike.

It decides which of the live table, the lines and the JSON events is shown meanwhile, and that
whatever stops a command before its time, what goes on at the service is named.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, nullcontext
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
from attrs import frozen

from testvibe_async import GenerationRef, Verdict, VibeError
from testvibe_async.cli import say
from testvibe_async.cli.board import Board
from testvibe_async.cli.common import Common, Connection, connected
from testvibe_async.cli.dispatch import dispatch_all
from testvibe_async.cli.ending import Ending
from testvibe_async.cli.interrupts import interruptible
from testvibe_async.cli.live import drawn, each_change, lines
from testvibe_async.cli.options import NO_FILES, Files

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Generator,
        Sequence,
    )
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from testvibe_async import Client, GenerationLog, Operation, Project
    from testvibe_async.cli.dispatch import Item
    from testvibe_async.cli.exits import ExitCode
    from testvibe_async.cli.output import Output
    from testvibe_async.cli.rows import Row

__all__ = ["Watch", "watching"]

STOPPING = "Stopping: dispatches under way end first. Ctrl-C again ends at once."


@frozen(kw_only=True)
class Watch:
    """The operations of one command: who looks at them, and where to tell of them."""

    board: Board
    connection: Connection
    common: Common
    has_events: bool = False
    """Whether `--json` is a line for each change; else it is one document at the end."""

    @property
    def project(self) -> Project:
        """The project that the command is about."""
        return self.connection.project

    async def dispatch(
        self, jobs: Sequence[Item], start: Callable[[Item], Awaitable[Operation[Any]]]
    ) -> ExitCode:
        """Start an operation for each job without waiting for any, and say which there are."""
        items = await dispatch_all(jobs, start)
        return say.dispatched(items, self.board, self.common).exit_code

    async def collect(self, ends: AbstractAsyncContextManager[AsyncIterator[Item]]) -> list[Item]:
        """Show operations until all are over, and return what became of them, as they ended.

        Args:
            ends: A batch, or what is like one.
        """
        items: list[Item] = []
        with _shown(self.board, self.connection.output, events=self.has_events):
            async with ends as coming:
                try:
                    async for item in coming:
                        self.board.settle(item)
                        items.append(item)
                except asyncio.CancelledError:
                    if self.board.standing.waiting and not _is_broken_off():
                        say.to_all(STOPPING)
                    raise
        return items

    async def conclude(self, items: Sequence[Item], files: Files = NO_FILES) -> ExitCode:
        """Say what became of operations, leave files, and return the exit code."""
        seconds = self.board.elapsed
        logs = await _logs_of_failures(items, self.connection.client)
        ending = Ending(items=items, asked=len(items), seconds=seconds, logs=logs)
        say.ended(ending, self.board, self.common, events=self.has_events)
        artifacts = await files.fetch(ending, self.connection)
        await files.write(ending, artifacts)
        return ending.exit_code


@asynccontextmanager
async def watching(common: Common, *, has_events: bool = False) -> AsyncGenerator[Watch]:
    """Open a client for operations that will be accounted for, whatever happens.

    Where Ctrl-C was pressed, what stands behind this goes on.

    Args:
        common: The options of the command.
        has_events: Whether `--json` is a line for each change.
    """
    board = Board(asyncio.get_running_loop().time)
    # Outside of the client: by its end it has waited for dispatches under way.
    with interruptible(), _accounted_for(board, common, has_events=has_events):
        async with connected(common, hooks=board.hooks) as connection:
            yield Watch(board=board, connection=connection, common=common, has_events=has_events)


@contextmanager
def _accounted_for(board: Board, common: Common, *, has_events: bool) -> Generator[None]:
    """Name what goes on at the service where a command is stopped before its time."""
    try:
        yield
    except BaseException as error:
        if board.is_told:
            raise
        if isinstance(error, asyncio.CancelledError):
            items, asked = board.items, board.standing.asked
            ending = Ending(items=items, asked=asked, seconds=board.elapsed)
            say.stopped(ending, common, events=has_events)
        say.unanswered(board)
        say.in_flight([row.ref for row in board.in_flight if row.ref], board, common)
        raise


async def _logs_of_failures(items: Sequence[Item], client: Client) -> dict[str, GenerationLog]:
    """Read why generations failed; a log that can't be read is left out."""
    failed = [
        item.ref
        for item in items
        if item.verdict is Verdict.FAILED and isinstance(item.ref, GenerationRef)
    ]

    async def read(ref: GenerationRef) -> GenerationLog | None:
        try:
            return await client.attach(ref).log()
        except VibeError:
            return None

    logs = await asyncio.gather(*map(read, failed))
    return {ref.request_id: log for ref, log in zip(failed, logs, strict=True) if log}


def _is_broken_off() -> bool:
    """Say whether `each_change` cancelled its body, as where nobody reads the output any more."""
    return anyio.current_effective_deadline() == -inf


def _shown(board: Board, output: Output, *, events: bool) -> AbstractContextManager[object]:
    if events and output.is_json:
        return each_change(board, lambda row: output.event(_event(row, board)))
    if output.is_json or output.is_quiet:
        return nullcontext()
    return (drawn if output.is_live else lines)(board, output.console)


def _event(row: Row, board: Board) -> dict[str, object]:
    return {
        "event": "change",
        "seconds": round(board.elapsed, 3),
        "feature": row.feature,
        "config": row.config,
        "phase": str(row.phase),
        "status": row.word,
        "ref": row.ref,
        "outcome": None if row.ended is None else row.snapshot,
        "error": row.error,
    }
