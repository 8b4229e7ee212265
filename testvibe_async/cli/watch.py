"""Waiting for many operations in front of people, pipes and programs alike.

It decides which of the live table, the lines and the JSON events is shown meanwhile, and that a
command which is stopped early names what goes on at the service. What is printed at the end is
decided in `ending`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from math import inf
from typing import TYPE_CHECKING

import anyio
from attrs import evolve, frozen

from testvibe_async import BatchItem, GenerationRef, Ref, RunRef, Verdict, VibeError
from testvibe_async.cli import cache
from testvibe_async.cli.board import Board, following_logs, live_table
from testvibe_async.cli.ci import grouped
from testvibe_async.cli.common import Common, Connection, connected, require_settings
from testvibe_async.cli.ending import (
    Ending,
    say_dispatched,
    say_ended,
    say_nothing,
    say_stopped,
    say_unanswered,
    say_unfinished,
)
from testvibe_async.cli.exits import ExitCode, told_otherwise
from testvibe_async.cli.jobs import dispatch_all, in_order
from testvibe_async.cli.journals import JournalOptions, kept, tell_of_cut_off
from testvibe_async.cli.leaving import Leaving
from testvibe_async.cli.limit import MAX_OUTAGE_SECONDS, TimeLimit
from testvibe_async.cli.lines import events as each_event
from testvibe_async.cli.lines import lines
from testvibe_async.cli.names import suggestions
from testvibe_async.cli.options import NO_FILES, Files
from testvibe_async.cli.output import warn
from testvibe_async.cli.stop import Stop, interruptible
from testvibe_async.cli.words import plural
from testvibe_async.runner.batches import Place
from testvibe_async.runner.generation_limit import GenerationLimit, with_limit_named
from testvibe_async.runner.selection import select

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Generator,
        Sequence,
    )
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from pathlib import Path

    from testvibe_async import Client, Feature, GenerationLog, Journal, Project
    from testvibe_async.cli.jobs import Item
    from testvibe_async.cli.output import Output
    from testvibe_async.runner.selection import Selection
    from testvibe_async.runner.spec import BatchSpec

__all__ = ["Watch", "shown", "watching"]

_REFS: dict[str, type[Ref]] = {"run": RunRef, "generation": GenerationRef}

STOPPING = "Stopping: dispatches under way end first. {signal} again ends at once."


@frozen(kw_only=True)
class Watch:
    """The operations of one command, and where their progress is shown."""

    board: Board
    connection: Connection
    common: Common
    leaving: Leaving
    limit: TimeLimit
    """The time that it may take."""

    stop: Stop
    """What stops it."""

    generations: GenerationLimit
    """How many generations it may dispatch: none, until somebody allows some."""

    has_events: bool = False
    """Whether `--json` is a line for each change; else it is one document at the end."""

    @property
    def project(self) -> Project:
        """The project that the command is about."""
        return self.connection.project

    @property
    def place(self) -> Place:
        """The service and the project that the command is about."""
        return Place(self.connection.client.server, self.project.id)

    async def select(self, spec: BatchSpec, what: str) -> Selection:
        """Return the features and configurations that are meant, and keep all names for Tab.

        Args:
            spec: What was typed.
            what: What is asked for, while there is no answer.
        """
        found = await self.limit.ask(
            what, lambda: select(self.project, spec, max_outage=MAX_OUTAGE_SECONDS)
        )
        names = {"features": found.names, "configs": found.config_names}
        if any(names.values()):
            cache.keep(self.project.id, **{kind: each for kind, each in names.items() if each})
        return found

    async def dispatch(self, spec: BatchSpec, jobs: Sequence[Item]) -> ExitCode:
        """Dispatch an operation for each job without waiting for any, and print them."""
        await tell_of_cut_off()
        self.board.expect(jobs, _REFS[spec.kind])
        items = await dispatch_all(
            jobs, lambda job: spec.dispatch(self.project, job.feature, job.config)
        )
        hints = await suggestions(self.project, items)
        return say_dispatched(items, self.board, self.common, hints=hints).exit_code

    def say_nothing(self, why: str, *, before: ExitCode = ExitCode.PASSED) -> ExitCode:
        """Say in one line that there is nothing to do; with `--json` print an empty document.

        Args:
            why: The line.
            before: The exit code that what an earlier batch left calls for.
        """
        ending = Ending(items=(), seconds=self.board.elapsed, before=before)
        return say_nothing(why, ending, self.board, self.common, events=self.has_events)

    async def perform(  # noqa: PLR0913 - each by name
        self,
        spec: BatchSpec,
        jobs: Sequence[Item],
        features: Sequence[str | Feature | Item] | None,
        configs: Sequence[str | None] | None = None,
        *,
        journal: Journal | None,
        before: ExitCode = ExitCode.PASSED,
    ) -> ExitCode:
        """Carry out a batch to its end, print the results, and return the exit code.

        Args:
            spec: What it is to do.
            jobs: What it dispatches, for the progress.
            features: See `BatchSpec.start`; so are the configurations and the journal.
            configs: The configurations.
            journal: Where it is kept.
            before: The exit code that what an earlier batch left calls for.
        """
        self.board.expect(jobs, _REFS[spec.kind])
        batch = spec.start(
            self.project, features, configs, timeout=self.limit.left, journal=journal
        )
        return await self.conclude(in_order(await self.collect(batch), jobs), before=before)

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
            grouped(plural(self.board.state.total, self.board.noun), output),
            shown(self.board, output, events=self.has_events),
        ):
            async with following_logs(self.board, client), completions as completed:
                try:
                    async for each in completed:
                        item = with_limit_named(each)
                        self.board.record(item)
                        self.leaving.fetch(item, client)
                        items.append(self.board.as_seen(item))
                except asyncio.CancelledError:
                    if self.board.state.waiting and not _has_failed_to_show():
                        warn(STOPPING.format(signal=self.stop.name))
                    raise
        return items

    @asynccontextmanager
    async def journal(
        self,
        options: JournalOptions,
        spec: BatchSpec,
        *,
        parent: int | None = None,
    ) -> AsyncGenerator[Journal | None]:
        """Open the journal of a new batch; None where there is to be none.

        Args:
            options: What was asked for.
            spec: What the batch is to do, which it keeps for `resume`.
            parent: The number of the batch whose failures it runs again.
        """
        typed = {
            "batch": spec.to_dict(),
            "files": self.leaving.files.kept,
            "project": self.connection.project_name,
        }
        output = self.connection.output
        async with kept(
            options, output, kind=spec.kind, typed=typed, here=self.place, parent=parent
        ) as journal:
            self.leaving.journal = None if journal is None else journal.path
            yield journal

    async def conclude(
        self, items: Sequence[Item], *, before: ExitCode = ExitCode.PASSED
    ) -> ExitCode:
        """Write the reports, print the results of operations, and return the exit code.

        Args:
            items: The results.
            before: The exit code that what an earlier batch left calls for.
        """
        seconds = self.board.elapsed
        hints: list[str] = []
        if self.connection.project_id is not None:
            hints = await self.limit.last(suggestions(self.project, items), hints)
        logs = await self.limit.last(_logs_of_failures(items, self.connection.client), {})
        ending = Ending(
            items=items,
            seconds=seconds,
            place=self.common.place,
            logs=logs,
            before=before,
            fails_on_flaky=self.leaving.files.fail_on_flaky,
            journal=self.leaving.journal,
            hints=hints,
        )
        try:
            await asyncio.to_thread(self.leaving.write, ending)
        finally:
            say_ended(ending, self.board, self.common, events=self.has_events)
        self.leaving.annotate(ending)
        self.leaving.note_paths()
        await self.leaving.finish(ending, timeout=self.limit.ending)
        return ending.exit_code


@asynccontextmanager
async def watching(
    common: Common,
    *,
    files: Files = NO_FILES,
    timeout: float | None = None,
    has_events: bool = False,
    journal: Path | None = None,
) -> AsyncGenerator[Watch]:
    """Open a client for operations, none of which is lost however the command ends.

    After Ctrl-C, execution continues after the `async with` block.

    Args:
        common: The options of the command.
        files: What to leave.
        timeout: Seconds that the command may take; None for as long as it takes.
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
        server = require_settings(common).server
        assert server is not None
        limit = TimeLimit(timeout, server=server.value, note=common.output.note)
        board.on_outage = limit.note_outage
        generations = GenerationLimit()
        async with AsyncExitStack() as stack:
            connection = await limit.ask(
                "the list of projects",
                lambda: stack.enter_async_context(
                    connected(common, hooks=board.hooks, recorder=generations)
                ),
            )
            yield Watch(
                board=board,
                connection=connection,
                common=common,
                leaving=leaving,
                limit=limit,
                stop=stop,
                generations=generations,
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
        return each_event(board, output)
    if output.is_json or output.is_quiet:
        return nullcontext()
    return (live_table if output.is_live else lines)(board, output.console)


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
            journal=leaving.journal,
        )
        known = ending if ending.items else evolve(ending, items=[_never_begun(error)])
        with suppress(OSError):  # What is in flight has to be named in any case.
            leaving.write(known)
        if isinstance(error, VibeError):
            leaving.annotate(known)
            leaving.note_paths()
        if isinstance(error, asyncio.CancelledError):
            say_stopped(ending, common, events=has_events)
            if ending.items:
                leaving.note_paths()
                leaving.note_artifacts()
        say_unanswered(board)
        say_unfinished(ending, common)
        raise


def _never_begun(error: BaseException) -> Item:
    """Return the item of reports on a command that ended before it knew what there was to do.

    Without it the reports of an earlier job would stay, and may well be those of a success.
    """
    return BatchItem(feature="The batch", error=error if isinstance(error, VibeError) else None)


async def _logs_of_failures(items: Sequence[Item], client: Client) -> dict[str, GenerationLog]:
    """Read the logs of failed generations; one that can't be read is left out."""
    failed = [
        item.latest_ref
        for item in items
        if item.verdict is Verdict.FAILED and isinstance(item.latest_ref, GenerationRef)
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
