"""Waiting for many operations in front of people, pipes and programs alike.

It decides which of the live table, the lines and the JSON events is shown meanwhile, what Ctrl-C
and SIGTERM do, and that a command which is stopped early names what goes on at the service. What is
printed at the end is decided in `ending`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
from attrs import field, frozen

from testvibe_async import GenerationRef, Verdict, VibeError
from testvibe_async.cli.board import Board
from testvibe_async.cli.ci import grouped
from testvibe_async.cli.common import Common, Connection, connected
from testvibe_async.cli.ending import (
    Ending,
    say_dispatched,
    say_ended,
    say_nothing,
    say_stopped,
    say_unanswered,
    say_unfinished,
)
from testvibe_async.cli.exits import ENDING, ExitCode, told_otherwise
from testvibe_async.cli.jobs import dispatch_all
from testvibe_async.cli.journals import JournalOptions, kept, new_command
from testvibe_async.cli.leaving import Leaving
from testvibe_async.cli.live import each_change, lines, live_table
from testvibe_async.cli.log_tail import following_logs
from testvibe_async.cli.names import suggestions
from testvibe_async.cli.options import NO_FILES, Files
from testvibe_async.cli.output import warn
from testvibe_async.cli.words import plural

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
    from pathlib import Path

    from testvibe_async import Client, GenerationLog, Journal, Operation, Project
    from testvibe_async.cli.board import Row
    from testvibe_async.cli.jobs import Item
    from testvibe_async.cli.outage import Outage
    from testvibe_async.cli.output import Output

__all__ = ["Watch", "interruptible", "shown", "watching"]

STOPPING = "Stopping: dispatches under way end first. Ctrl-C again ends at once."


@frozen(kw_only=True)
class Watch:
    """The operations of one command, and where their progress is shown."""

    board: Board
    connection: Connection
    common: Common
    leaving: Leaving
    name: str = field(factory=new_command)
    """What tells this command from all others."""

    has_events: bool = False
    """Whether `--json` is a line for each change; else it is one document at the end."""

    @property
    def project(self) -> Project:
        """The project that the command is about."""
        return self.connection.project

    async def dispatch(
        self, jobs: Sequence[Item], start: Callable[[Item], Awaitable[Operation[Any]]]
    ) -> ExitCode:
        """Dispatch an operation for each job without waiting for any, and print them."""
        items = await dispatch_all(jobs, start)
        hints = await suggestions(self.project, items)
        return say_dispatched(items, self.board, self.common, hints=hints).exit_code

    def say_nothing(self, why: str) -> ExitCode:
        """Say in one line that there is nothing to do; with `--json` print an empty document."""
        return say_nothing(why, self.board, self.common, events=self.has_events)

    async def collect(
        self, completions: AbstractAsyncContextManager[AsyncIterator[Item]]
    ) -> list[Item]:
        """Show operations until all are over, and return their items in order of completion.

        Args:
            completions: A batch, or another context whose iterator yields items as they complete.
        """
        items: list[Item] = []
        client = self.connection.client
        output = self.connection.output
        with (
            grouped(plural(self.board.state.total, "operation"), output),
            shown(self.board, output, events=self.has_events),
        ):
            async with following_logs(self.board, client), completions as completed:
                try:
                    async for item in completed:
                        self.board.record(item)
                        self.leaving.fetch(item, client)
                        items.append(item)
                except asyncio.CancelledError:
                    if self.board.state.waiting and not _has_failed_to_show():
                        warn(STOPPING)
                    raise
        return items

    @asynccontextmanager
    async def journal(
        self, options: JournalOptions, number: int = 1
    ) -> AsyncGenerator[Journal | None]:
        """Open the journal of a new batch; None where there is to be none."""
        note = self.connection.output.note
        async with kept(options, note, command=self.name, number=number) as journal:
            self.leaving.journal = None if journal is None else journal.path
            yield journal

    async def conclude(self, items: Sequence[Item]) -> ExitCode:
        """Write the reports, print the results of operations, and return the exit code."""
        seconds = self.board.elapsed
        logs = await _logs_of_failures(items, self.connection.client)
        ending = Ending(
            items=items,
            seconds=seconds,
            place=self.common.place,
            logs=logs,
            resume=self.leaving.resume,
            hints=await suggestions(self.project, items) if self.connection.project_id else (),
        )
        try:
            await asyncio.to_thread(self.leaving.write, ending)
        finally:
            say_ended(ending, self.board, self.common, events=self.has_events)
        self.leaving.annotate(ending)
        self.leaving.note_paths()
        await self.leaving.finish(ending)
        return ending.exit_code


@asynccontextmanager
async def watching(
    common: Common,
    *,
    files: Files = NO_FILES,
    has_events: bool = False,
    journal: Path | None = None,
) -> AsyncGenerator[Watch]:
    """Open a client for operations, none of which is lost however the command ends.

    After Ctrl-C, execution continues after the `async with` block.

    Args:
        common: The options of the command.
        files: What to leave.
        has_events: Whether `--json` is a line for each change.
        journal: The file of the batch that is gone on with; None for none, or a new one.
    """
    leaving = Leaving(files, common.output)
    leaving.journal = journal
    board = Board(asyncio.get_running_loop().time)
    # Outside of the client: when that is closed, it has waited for dispatches under way.
    with (
        told_otherwise(common.verbose),
        interruptible() as stop,
        _in_flight_named(board, common, leaving, stop=stop, has_events=has_events),
    ):
        async with connected(common, hooks=board.hooks) as connection:
            yield Watch(
                board=board,
                connection=connection,
                common=common,
                leaving=leaving,
                has_events=has_events,
            )


def shown(board: Board, output: Output, *, events: bool = False) -> AbstractContextManager[object]:
    """Show a board while this is open, in the form that suits the output.

    Args:
        board: What to show.
        output: Where to show it: a live table on a terminal, lines in a pipe, else nothing.
        events: Whether `--json` is a line for each change.
    """
    if events and output.is_json:
        return each_change(
            board,
            lambda row: output.event(_event(row, board)),
            lambda outage: output.event(_outage_event(outage, board)),
        )
    if output.is_json or output.is_quiet:
        return nullcontext()
    return (live_table if output.is_live else lines)(board, output.console)


@contextmanager
def interruptible() -> Generator[Stop]:
    """Make Ctrl-C cancel the task that opens this; execution continues after the block.

    The first signal cancels the task, the second cancels all tasks, and the third has Python's own
    effect. SIGTERM, SIGHUP and SIGQUIT do the same, and exit after the block. A cancellation by
    something else is raised as usual. asyncio's own handling is not enough: its second Ctrl-C
    raises at any point of the program. Where the event loop takes no signals, as on Windows, they
    are left as they are.
    """
    stop = Stop()
    if not stop.install():
        yield stop
        return
    try:
        yield stop
    except asyncio.CancelledError:
        if stop.signal is None:
            raise
        stop.task.uncancel()
        if stop.signal != signal.SIGINT:
            sys.exit(stop.exit_code)
    finally:
        stop.restore()


class Stop:
    """The handlers of signals that stop a task."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.signal: signal.Signals | None = None
        """The first that came."""
        self._loop = asyncio.get_running_loop()
        self._before = {each: signal.getsignal(each) for each in (signal.SIGINT, *ENDING)}

    @property
    def exit_code(self) -> ExitCode | None:
        """The exit code of a command that a signal stopped; None where none came."""
        match self.signal:
            case None:
                return None
            case signal.SIGINT:
                return ExitCode.INTERRUPTED
            case number:
                return ExitCode(128 + number)

    def install(self) -> bool:
        """Handle signals from now on, and return whether the event loop can."""
        try:
            for each in self._before:
                self._loop.add_signal_handler(each, self._on_signal, each)
        except (NotImplementedError, RuntimeError, ValueError):
            return False
        return True

    def restore(self) -> None:
        """Put the handlers in place that were there before."""
        for each, handler in self._before.items():
            self._loop.remove_signal_handler(each)
            signal.signal(each, handler)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.signal is None:
            self.signal = number
            self.task.cancel()
            return
        self.restore()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()


@contextmanager
def _in_flight_named(
    board: Board, common: Common, leaving: Leaving, *, stop: Stop, has_events: bool
) -> Generator[None]:
    """Write the reports and name the operations in flight where a command is stopped early."""
    try:
        yield
    except BaseException as error:
        leaving.stop()
        if board.is_reported:
            raise
        ending = Ending(
            items=board.items,
            seconds=board.elapsed,
            place=common.place,
            stopped_by=stop.exit_code,
            resume=leaving.resume,
        )
        with suppress(OSError):  # What is in flight has to be named in any case.
            if ending.items:
                leaving.write(ending)
        if isinstance(error, asyncio.CancelledError):
            say_stopped(ending, common, events=has_events)
            if ending.items:
                leaving.note_paths()
                leaving.note_artifacts()
        say_unanswered(board)
        say_unfinished(ending.unfinished, common, resume=ending.resume)
        raise


async def _logs_of_failures(items: Sequence[Item], client: Client) -> dict[str, GenerationLog]:
    """Read the logs of failed generations; one that can't be read is left out."""
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


def _has_failed_to_show() -> bool:
    """Return whether `each_change` cancelled its body, as where the reader closed the pipe."""
    return anyio.current_effective_deadline() == -inf


def _event(row: Row, board: Board) -> dict[str, object]:
    return {
        "event": "change",
        "seconds": round(board.elapsed, 3),
        "feature": row.feature,
        "config": row.config,
        "phase": str(row.phase),
        "status": row.word,
        "log": row.note or None,
        "ref": row.ref,
        "outcome": None if row.ended is None else row.snapshot,
        "error": row.error,
    }


def _outage_event(outage: Outage, board: Board) -> dict[str, object]:
    return {
        "event": "reachable" if outage.is_over else "unreachable",
        "seconds": round(board.elapsed, 3),
        "outageSeconds": round(outage.seconds, 3),
        "lastSeenUtc": outage.seen_at,
        "notSeen": 0 if outage.is_over else outage.unseen,
        "message": str(outage),
    }
