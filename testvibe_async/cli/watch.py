"""A command that dispatches or waits, from its client to its exit code.

Decides the order: what is meant is asked for within the time limit, credits are allowed, the batch
is carried out while its progress is shown, and however that ends, reports are written and what
continues at the service is named. How all of it looks is decided in `display` and `closing`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve, field, frozen

from testvibe_async import BatchItem, GenerationRef, Verdict, VibeError
from testvibe_async.cli import completers
from testvibe_async.cli.batches import kept
from testvibe_async.cli.ci import grouped
from testvibe_async.cli.closing import conclude, say_nothing, say_unfinished, show
from testvibe_async.cli.common import Common, Connection, connected, require_settings
from testvibe_async.cli.display import FRAME_SECONDS, showing
from testvibe_async.cli.exits import ExitCode, shown_elsewhere, worst_of
from testvibe_async.cli.options import NO_FILES, Files
from testvibe_async.cli.output import warn
from testvibe_async.cli.outputs import Outputs
from testvibe_async.cli.progress import Progress
from testvibe_async.cli.result import Result, result_of
from testvibe_async.cli.stop import MAX_OUTAGE_SECONDS, Stop, TimeLimit, interruptible
from testvibe_async.cli.words import item_name, plural
from testvibe_async.runner.batches import Place
from testvibe_async.runner.forecast import forecast
from testvibe_async.runner.generation_limit import LIMITED, GenerationLimit, with_limit_named
from testvibe_async.runner.quarantine import Quarantine
from testvibe_async.runner.selection import select
from testvibe_async.runner.stability import stop_if_decided

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from testvibe_async import Client, GenerationLog, Journal, Project
    from testvibe_async.cli.batches import JournalOptions
    from testvibe_async.cli.options import Consent
    from testvibe_async.cli.words import Item
    from testvibe_async.runner.batches import Batch
    from testvibe_async.runner.forecast import Forecast
    from testvibe_async.runner.selection import Selection
    from testvibe_async.runner.spec import BatchSpec

__all__ = ["Watch", "Work", "watching"]

STOPPING = "Stopping: dispatches under way end first. {signal} again ends at once."


@frozen(kw_only=True)
class Work:
    """The features that a command dispatches."""

    spec: BatchSpec
    jobs: Sequence[Item]
    """An item for each operation; none if there is nothing to do."""

    has_tests: Mapping[int | str, bool] = field(factory=dict["int | str", bool])
    """True or False for each feature of the jobs; missing if it is unknown."""

    why_nothing: str = ""
    """The reason why there is nothing to do; empty if there is something."""

    question: str | None = None
    """The question asked before generations are dispatched, with {} for the number of features;
    None if they were requested by name."""

    first: str = ""
    """A note on work that precedes the last dispatch, also without --wait; empty for none."""

    parent: int | None = None
    """The number of the batch whose failures run again."""

    before: ExitCode = ExitCode.PASSED
    """The exit code for the unfinished items of that batch."""


class Watch:
    """The operations of one command, and the display of their progress."""

    connection: Connection
    """The client, once it is open."""

    limit: TimeLimit
    """The time that the command may take."""

    def __init__(self, common: Common, files: Files, stop: Stop, *, has_events: bool) -> None:
        """Make it, before anything is known.

        Args:
            common: The options of the command.
            files: The files to write.
            stop: The signals and the limit that stop it.
            has_events: True if `--json` is a line for each change; otherwise it is one document.

        Raises:
            ConfigError: An entry of the quarantine is invalid.
        """
        self.progress: Progress = Progress()
        self.generations: GenerationLimit = GenerationLimit()
        """Limit on generations to dispatch: none, until someone allows some."""
        self.outputs: Outputs = Outputs(files, common.output)
        self.quarantine: Quarantine = Quarantine.read()
        """The failures that are expected here."""
        self._common, self._stop, self._has_events = common, stop, has_events
        self._facts: dict[str, Any] = {}
        """Fields of the result that are known before it."""

    @property
    def client(self) -> Client:
        """The client."""
        return self.connection.client

    @property
    def project(self) -> Project:
        """The project that the command is about."""
        return self.connection.project

    @property
    def place(self) -> Place:
        """The service and the project that the command is about."""
        return Place(self.client.server, self.project.id)

    async def select(self, spec: BatchSpec) -> Selection:
        """Return the features and configurations that are meant, and keep all names for Tab."""
        found = await self.limit.ask(
            "the lists of features and configurations"
            if spec.kind == "run"
            else "the list of features",
            lambda: select(
                *(self.project, spec),
                max_outage=MAX_OUTAGE_SECONDS,
                checks_names=True,
                all_word="--all",
            ),
        )
        if found.listing is not None:
            for sentence in self.quarantine.unmatched(found.listing):
                warn(sentence)
        names = {"features": found.names, "configs": found.config_names}
        if any(names.values()):
            completers.keep(**{kind: each for kind, each in names.items() if each})
        return found

    async def dispatch(
        self,
        work: Work,
        *,
        consent: Consent,
        journal: JournalOptions,
        dry_run: bool,
        waits: bool,
    ) -> ExitCode:
        """Carry out a new batch, print the results, and return the exit code.

        Args:
            work: The features to dispatch.
            consent: The generations that are allowed.
            journal: The file of the batch's journal.
            dry_run: True to print only which features would be dispatched.
            waits: True to wait for the dispatched operations.
        """
        spec, jobs, output = work.spec, work.jobs, self.connection.output
        if not jobs:
            result = self._result((), before=work.before)
            say_nothing(work.why_nothing, result, self._common, has_events=self._has_events)
            return result.exit_code
        if dry_run:
            plan = forecast(
                *(spec, spec.repeated(jobs)),
                has_tests=work.has_tests,
                max_generations=consent.max_generations,
            )
            return self._say_plan(spec, plan)
        if spec.may_generate:
            number = len(forecast(spec, jobs, has_tests=work.has_tests).generated)
            question = work.question and work.question.format(plural(number, "feature"))
            await consent.allow(self.generations, number, question=question)
        if not waits:
            spec = evolve(spec, max_in_flight=len(jobs))
            output.note(work.first) if work.first else None
        typed = {
            "batch": spec.to_dict(),
            "files": self.outputs.files.kept,
            "project": self.connection.project_name,
        }
        kept_in = kept(
            *(journal, output, spec.kind, self.place),
            typed=typed,
            parent=work.parent,
            is_named=waits,
        )
        async with kept_in as opened:
            return await self.perform(spec, jobs, opened, before=work.before, waits=waits)

    def _say_plan(self, spec: BatchSpec, plan: Forecast) -> ExitCode:
        """Print the dispatches that would be made, and their possible cost."""
        output, jobs = self.connection.output, plan.dispatched
        output.document([{"feature": job.feature_name, "config": job.config} for job in jobs])
        output.table(("Feature", "Config"), [(job.feature_name, job.config) for job in jobs])
        costs = ", and each costs credits" if spec.kind == "generation" else ""
        if spec.kind == "run" and spec.may_generate:
            number = plural(len(plan.generated), "generation")
            costs = f", after {number} at most, which cost credits" if plan.generated else ""
        output.note(f"{plural(len(jobs), spec.kind)} would be dispatched{costs}.")
        ends = {
            "refused, without tests": (plan.refused, ExitCode.REFUSED),
            LIMITED: (plan.limited, ExitCode.IN_FLIGHT),
        }
        for word, (items, _) in ends.items():
            if items:
                output.note(f"{len(items)} {word}: {', '.join(map(item_name, items))}.")
        return worst_of(code for items, code in ends.values() if items)

    async def perform(  # noqa: PLR0913 - each by name
        self,
        spec: BatchSpec,
        jobs: Sequence[Item],
        journal: Journal | None,
        *,
        before: ExitCode = ExitCode.PASSED,
        waits: bool = True,
        is_resumed: bool = False,
    ) -> ExitCode:
        """Carry out a batch, print the results, and return the exit code.

        Args:
            spec: The description of the batch.
            jobs: An item for each operation.
            journal: The file of the batch's journal; None for no journal.
            before: The exit code for the unfinished items of an earlier batch.
            waits: True to wait for the dispatched operations.
            is_resumed: True if the journal has the batch.
        """
        self.outputs.journal = None if journal is None else journal.path
        expected = jobs if is_resumed else spec.repeated(jobs)
        self.progress.expect(self.client, expected, spec.kind)
        batch = spec.start(
            self.project,
            None if is_resumed else jobs,
            timeout=self.limit.remaining,
            journal=journal,
            quarantine=self.quarantine,
        )
        self.progress.follow(lambda: batch.items)
        self._facts = {"before": before, "max_failures": spec.max_failures, "repeat": spec.repeat}
        if waits:
            await self.collect(batch, lambda: stop_if_decided(spec, batch))
            return await self.conclude()
        async with batch:
            recording = asyncio.create_task(self._record(batch))
            while not recording.done() and self.progress.has_waiting:  # noqa: ASYNC110 - a batch has no event for it
                await asyncio.sleep(FRAME_SECONDS)
            recording.cancel()
            await asyncio.wait([recording])
        result = self._result(self.progress.items, is_waited_for=False)
        show(result, self._common)
        self.progress.is_reported = True
        return result.exit_code

    async def collect(
        self,
        completions: AbstractAsyncContextManager[AsyncIterator[Item]],
        after_each: Callable[[], object] = tuple,
    ) -> None:
        """Show operations until all are over.

        Args:
            completions: A batch, or another context whose iterator yields items as they complete.
            after_each: Called after each item.
        """
        output = self.connection.output
        with (
            grouped(plural(len(self.progress.rows()), self.progress.noun), output),
            showing(self.progress, output, has_events=self._has_events),
        ):
            async with self.progress.following_logs(), completions as completed:
                try:
                    await self._record(completed, after_each)
                except asyncio.CancelledError:
                    self.progress.contact.stop()
                    if self.progress.has_waiting and not _has_failed_to_show():
                        warn(STOPPING.format(signal=self._stop.name))
                    raise
                finally:
                    self.progress.rows()  # The last look, while the client is open.

    async def _record(
        self, completed: AsyncIterator[Item], after_each: Callable[[], object] = tuple
    ) -> None:
        async for each in completed:
            item = self.quarantine.mark(with_limit_named(each))
            self.progress.record(item)
            self.outputs.fetch(item, self.client)
            after_each()

    async def conclude(self, durable: Batch | None = None) -> ExitCode:
        """Write the reports, print the results of operations, and return the exit code.

        Args:
            durable: The durable batch that was followed, as last read; None for a batch of this
                command, or other operations.
        """
        items = self.progress.items
        if durable is not None:
            known = result_of(durable, self._common)
            self._facts = {"facts": known.facts, "headline": known.headline}
        logs = await self.limit.last(_logs_of_failures(items, self.client), {})
        try:
            return await conclude(
                self._result(items, logs=logs),
                self.outputs,
                self._common,
                progress=self.progress,
                has_events=self._has_events,
                timeout=self.limit.ending,
            )
        finally:
            self.progress.is_reported = True

    def conclude_early(self, error: BaseException) -> None:
        """Write the reports and name the operations in flight if an error ends the command."""
        self.outputs.stop()
        if self.progress.is_reported:
            return
        cause = error if isinstance(error, VibeError) else None
        is_stopped = isinstance(error, asyncio.CancelledError)
        stopped_by = (self._stop.exit_code or ExitCode.INTERRUPTED) if is_stopped else None
        result = self._result(self.progress.items, stopped_by=stopped_by)
        # Without an item the reports of an earlier job would stay, perhaps those of a success.
        known = evolve(result, items=result.items or [BatchItem(feature="The batch", error=cause)])
        with suppress(OSError):  # What is in flight has to be named in any case.
            self.outputs.write(known)
        if is_stopped:
            show(result, self._common, has_events=self._has_events)
        elif cause is not None:
            self.outputs.annotate(known)
        if cause is not None or (is_stopped and result.items):
            self.outputs.note_paths()
        if is_stopped:
            self.outputs.note_artifacts()
        else:
            say_unfinished(result, self._common)

    def _result(self, items: Sequence[Item], **facts: Any) -> Result:  # noqa: ANN401 - its own
        return Result(
            items=items,
            seconds=self.progress.elapsed,
            place=self._common.place,
            fails_on_flaky=self.outputs.files.fail_on_flaky,
            journal=self.outputs.journal,
            **self._facts | facts,
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
        files: The files to write.
        timeout: Seconds that the command may take; None for as long as it takes.
        has_events: True if `--json` is a line for each change.
        journal: The file of the batch that is resumed; None for none, or a new one.
    """
    with ExitStack() as around:
        around.enter_context(shown_elsewhere(common.verbose))
        watch = Watch(common, files, around.enter_context(interruptible()), has_events=has_events)
        watch.outputs.journal = journal
        try:
            server = require_settings(common).server
            assert server is not None
            watch.limit = TimeLimit(timeout, server=server.value, note=common.output.note)
            watch.progress.contact.on_outage = watch.limit.note_outage
            async with AsyncExitStack() as stack:
                watch.connection = await watch.limit.ask(
                    "the list of projects",
                    lambda: stack.enter_async_context(
                        connected(
                            common,
                            max_outage=MAX_OUTAGE_SECONDS,
                            hooks=watch.progress.hooks,
                            recorder=watch.generations,
                        )
                    ),
                )
                yield watch
        except BaseException as error:
            # The client is closed, so it has waited for dispatches under way.
            watch.conclude_early(error)
            raise


async def _logs_of_failures(items: Sequence[Item], client: Client) -> dict[str, GenerationLog]:
    """Read the logs of failed generations; an unreadable one is omitted."""
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
    """Return True if `showing` cancelled its body, such as after the reader closed the pipe."""
    return anyio.current_effective_deadline() == -inf
