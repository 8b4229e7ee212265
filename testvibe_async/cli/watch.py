"""A command that dispatches or waits, from its client to its exit code.

It decides the order: what is meant is asked for within the time limit, the batch is carried out
while its progress is shown, and however that ends, reports are written and what continues at the
service is named. How all of it looks is decided in `display` and `closing`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve, frozen

from testvibe_async import BatchItem, Feature, GenerationRef, Verdict, VibeError
from testvibe_async.cli import completers
from testvibe_async.cli.batches import JournalOptions, kept
from testvibe_async.cli.ci import grouped
from testvibe_async.cli.closing import (
    conclude,
    say_dispatched,
    say_ended,
    say_nothing,
    say_unfinished,
)
from testvibe_async.cli.common import Common, Connection, connected, require_settings
from testvibe_async.cli.display import FRAME_SECONDS, showing
from testvibe_async.cli.exits import ExitCode, told_otherwise
from testvibe_async.cli.names import suggestions
from testvibe_async.cli.options import NO_FILES, Files
from testvibe_async.cli.output import warn
from testvibe_async.cli.outputs import Outputs
from testvibe_async.cli.progress import Progress
from testvibe_async.cli.result import Result
from testvibe_async.cli.stop import MAX_OUTAGE_SECONDS, Stop, TimeLimit, interruptible
from testvibe_async.cli.words import plural
from testvibe_async.runner.batches import Place
from testvibe_async.runner.generation_limit import GenerationLimit, with_limit_named
from testvibe_async.runner.selection import select

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from testvibe_async import Batch, Client, GenerationLog, Journal, Project
    from testvibe_async.cli.words import Item
    from testvibe_async.runner.selection import Selection
    from testvibe_async.runner.spec import BatchSpec

__all__ = ["Watch", "jobs_of", "watching"]

STOPPING = "Stopping: dispatches under way end first. {signal} again ends at once."


def jobs_of(
    features: Iterable[str | Feature], configs: Sequence[str | None] = (None,)
) -> list[Item]:
    """Return a job for each feature and configuration: an item without ref and outcome."""
    return [
        BatchItem(feature=feature.id, name=feature.name, config=config)
        if isinstance(feature, Feature)
        else BatchItem(feature=feature, config=config)
        for feature in features
        for config in configs
    ]


@frozen(kw_only=True)
class Watch:
    """The operations of one command, and where their progress is shown."""

    progress: Progress
    connection: Connection
    common: Common
    outputs: Outputs
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
            completers.keep(self.project.id, **{kind: each for kind, each in names.items() if each})
        return found

    def say_nothing(self, why: str, *, before: ExitCode = ExitCode.PASSED) -> ExitCode:
        """Say in one line that there is nothing to do; with `--json` print an empty document.

        Args:
            why: The line.
            before: The exit code that what an earlier batch left calls for.
        """
        result = Result(items=(), seconds=self.progress.elapsed, before=before)
        say_nothing(why, result, self.common, has_events=self.has_events)
        self.progress.is_reported = True
        return result.exit_code

    def say_plan(self, spec: BatchSpec, jobs: Sequence[Item]) -> ExitCode:
        """Print what would be dispatched, and what it may cost."""
        output = self.connection.output
        output.document([{"feature": job.feature_name, "config": job.config} for job in jobs])
        output.table(("Feature", "Config"), [(job.feature_name, job.config) for job in jobs])
        costs = ", and each costs credits" if spec.kind == "generation" else ""
        if spec.kind == "run" and spec.may_generate:
            costs = f", after {plural(len(jobs), 'generation')} at most, which cost credits"
        output.note(f"{plural(len(jobs), spec.kind)} would be dispatched{costs}.")
        return ExitCode.PASSED

    async def perform(  # noqa: PLR0913 - each by name
        self,
        spec: BatchSpec,
        jobs: Sequence[Item],
        features: Sequence[str | Feature | Item] | None,
        configs: Sequence[str | None] | None = None,
        *,
        journal: Journal | None,
        before: ExitCode = ExitCode.PASSED,
        waits: bool = True,
    ) -> ExitCode:
        """Carry out a batch, print the results, and return the exit code.

        Args:
            spec: What it is to do.
            jobs: What it dispatches, for the progress.
            features: See `BatchSpec.start`; so are the configurations and the journal.
            configs: The configurations.
            journal: Where it is kept.
            before: The exit code that what an earlier batch left calls for.
            waits: Whether to wait for what is dispatched.
        """
        self.progress.expect(self.connection.client, jobs, spec.kind)
        batch = spec.start(
            self.project, features, configs, timeout=self.limit.left, journal=journal
        )
        self.progress.follow(lambda: batch.items)
        if waits:
            return await self.conclude(await self.collect(batch), before=before)
        await self._dispatch(batch)
        items = self.progress.items
        result = evolve(
            self._result(items),
            is_waited_for=False,
            hints=await suggestions(self.project, items),
        )
        say_dispatched(result, self.common)
        self.progress.is_reported = True
        return result.exit_code

    async def _dispatch(self, batch: Batch[Any]) -> None:
        """Stay with a batch until all of it is dispatched or refused."""

        async def record() -> None:
            async for item in batch:
                self.progress.record(with_limit_named(item))

        async with batch:
            recording = asyncio.create_task(record())
            try:
                while not recording.done() and self.progress.has_waiting:  # noqa: ASYNC110 - a batch has no event for it
                    await asyncio.sleep(FRAME_SECONDS)
                if recording.done():
                    await recording
            finally:
                recording.cancel()
                await asyncio.wait([recording])

    async def collect(
        self, completions: AbstractAsyncContextManager[AsyncIterator[Item]]
    ) -> list[Item]:
        """Show operations until all are over, and return their items in the order asked.

        Args:
            completions: A batch, or another context whose iterator yields items as they complete.
        """
        client, output = self.connection.client, self.connection.output
        with (
            grouped(plural(len(self.progress.rows()), self.progress.noun), output),
            showing(self.progress, output, has_events=self.has_events),
        ):
            async with self.progress.following_logs(), completions as completed:
                try:
                    async for each in completed:
                        item = with_limit_named(each)
                        self.progress.record(item)
                        self.outputs.fetch(item, client)
                except asyncio.CancelledError:
                    if self.progress.has_waiting and not _has_failed_to_show():
                        warn(STOPPING.format(signal=self.stop.name))
                    raise
                finally:
                    self.progress.rows()  # The last look, while the client is open.
        return self.progress.items

    @asynccontextmanager
    async def journal(
        self,
        options: JournalOptions,
        spec: BatchSpec,
        *,
        parent: int | None = None,
        waits: bool = True,
    ) -> AsyncGenerator[Journal | None]:
        """Open the journal of a new batch; None where there is to be none.

        Args:
            options: What was asked for.
            spec: What the batch is to do, which it keeps for `resume`.
            parent: The number of the batch whose failures it runs again.
            waits: Whether the command waits for the batch.
        """
        typed = {
            "batch": spec.to_dict(),
            "files": self.outputs.files.kept,
            "project": self.connection.project_name,
        }
        output = self.connection.output
        async with kept(
            options,
            output,
            is_named=waits,
            kind=spec.kind,
            typed=typed,
            here=self.place,
            parent=parent,
        ) as journal:
            self.outputs.journal = None if journal is None else journal.path
            yield journal

    async def conclude(
        self, items: Sequence[Item], *, before: ExitCode = ExitCode.PASSED
    ) -> ExitCode:
        """Write the reports, print the results of operations, and return the exit code.

        Args:
            items: The results.
            before: The exit code that what an earlier batch left calls for.
        """
        result = evolve(self._result(items), before=before)
        hints: list[str] = []
        if self.connection.project_id is not None:
            hints = await self.limit.last(suggestions(self.project, items), hints)
        logs = await self.limit.last(_logs_of_failures(items, self.connection.client), {})
        try:
            return await conclude(
                evolve(result, hints=hints, logs=logs),
                self.outputs,
                self.common,
                progress=self.progress,
                has_events=self.has_events,
                timeout=self.limit.ending,
            )
        finally:
            self.progress.is_reported = True

    def _result(self, items: Sequence[Item]) -> Result:
        return Result(
            items=items,
            seconds=self.progress.elapsed,
            place=self.common.place,
            fails_on_flaky=self.outputs.files.fail_on_flaky,
            journal=self.outputs.journal,
        )


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
        journal: The file of the batch that is resumed; None for none, or a new one.
    """
    outputs, progress = Outputs(files, common.output), Progress()
    outputs.journal = journal
    # Outside of the client: when that is closed, it has waited for dispatches under way.
    with (
        told_otherwise(common.verbose),
        interruptible() as stop,
        _in_flight_named(progress, common, outputs, stop=stop, has_events=has_events),
    ):
        server = require_settings(common).server
        assert server is not None
        limit = TimeLimit(timeout, server=server.value, note=common.output.note)
        progress.contact.on_outage = limit.note_outage
        generations = GenerationLimit()
        async with AsyncExitStack() as stack:
            connection = await limit.ask(
                "the list of projects",
                lambda: stack.enter_async_context(
                    connected(
                        common,
                        max_outage=MAX_OUTAGE_SECONDS,
                        hooks=progress.hooks,
                        recorder=generations,
                    )
                ),
            )
            yield Watch(
                progress=progress,
                connection=connection,
                common=common,
                outputs=outputs,
                limit=limit,
                stop=stop,
                generations=generations,
                has_events=has_events,
            )


@contextmanager
def _in_flight_named(
    progress: Progress, common: Common, outputs: Outputs, *, stop: Stop, has_events: bool
) -> Generator[None]:
    """Write the reports and name the operations in flight where a command is stopped early."""
    try:
        yield
    except BaseException as error:
        outputs.stop()
        if progress.is_reported:
            raise
        result = Result(
            items=progress.items,
            seconds=progress.elapsed,
            place=common.place,
            stopped_by=stop.exit_code,
            journal=outputs.journal,
        )
        # Without an item the reports of an earlier job would stay, perhaps those of a success.
        cause = error if isinstance(error, VibeError) else None
        known = result.items or [BatchItem(feature="The batch", error=cause)]
        with suppress(OSError):  # What is in flight has to be named in any case.
            outputs.write(evolve(result, items=known))
        if cause is not None:
            outputs.annotate(evolve(result, items=known))
            outputs.note_paths()
        if not isinstance(error, asyncio.CancelledError):
            say_unfinished(result, common)
            raise
        say_ended(result, common, has_events=has_events, is_stopped=True)
        if result.items:
            outputs.note_paths()
            outputs.note_artifacts()
        raise


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
    """Return whether `showing` cancelled its body, as where the reader closed the pipe."""
    return anyio.current_effective_deadline() == -inf
