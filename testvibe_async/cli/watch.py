"""A command that dispatches or waits, from its client to its exit code.

The order of it: the batch is opened, its progress shown until it has ended, and its outcome
concluded by `outputs`; however the command ends, that comes after the client has waited for the
dispatches under way, and before the ledger is closed.
"""

from __future__ import annotations

import asyncio
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve

from testvibe_async import (
    ConfigError,
    GenerationLog,
    GenerationRef,
    MemoryLedger,
    SqliteLedger,
    Verdict,
    VibeError,
)
from testvibe_async.cli.common import Connection, common, connected, require_settings
from testvibe_async.cli.exits import shown_elsewhere
from testvibe_async.cli.options import Files
from testvibe_async.cli.outputs import Outputs
from testvibe_async.cli.progress import Progress, reporting
from testvibe_async.cli.stop import MAX_OUTAGE_SECONDS, Stop, TimeLimit
from testvibe_async.cli.text import Item, reason, warn
from testvibe_async.runner.codes import ExitCode
from testvibe_async.runner.history import Batches, KeptBatch, Place, running
from testvibe_async.runner.ledgers import LimitedLedger
from testvibe_async.runner.outcome import Outcome
from testvibe_async.runner.quarantine import Quarantine
from testvibe_async.runner.selection import Selection, select
from testvibe_async.runner.words import counted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from testvibe_async import Client
    from testvibe_async.cli.progress import Source
    from testvibe_async.cli.render import Renderer
    from testvibe_async.runner.spec import BatchSpec


STOPPING = "Stopping: dispatches under way end first. {signal} again ends at once."

DISPATCH_SECONDS = 0.125
"""Seconds between two checks whether anything is left to dispatch, if nothing is waited for."""


class Watch:
    """The operations of one command, and the display of their progress."""

    connection: Connection
    """The client, once it is open."""

    limit: TimeLimit
    """The time that the command may take."""

    generations: LimitedLedger
    """The ledger of the client, which limits generations: to none, until someone allows some."""

    batches: Batches | None = None
    """The batches of the ledger file; None if nothing is kept."""

    _is_new = True
    """True if the command itself starts all of its operations, or waits for them."""

    _is_concluded = False
    """True once the results are printed."""

    def __init__(self, files: Files, stop: Stop) -> None:
        """Make it, before anything is known.

        Args:
            files: The files to write.
            stop: The signals that stop it.

        Raises:
            ConfigError: An entry of the quarantine is invalid.
        """
        given = common.get()
        self.progress: Progress = Progress()
        self.output: Renderer = given.output
        self.outputs: Outputs = Outputs(files, given.output)
        self.quarantine: Quarantine = Quarantine.read()
        """The failures that are expected here."""
        self._stop = stop
        # A service that ends with the command can be asked by no other command.
        place = given.place if given.api_key is None else None
        self.outcome: Outcome = Outcome(items=(), place=place, fails_on_flaky=files.fail_on_flaky)
        """The part of the outcome that is known before the end."""

    @property
    def place(self) -> Place:
        """The service and the project that the command is about."""
        return Place(self.connection.client.server, self.connection.project.id)

    def know(self, **facts: Any) -> None:  # noqa: ANN401 - fields of `Outcome`
        """Note facts of the outcome before the end."""
        self.outcome = evolve(self.outcome, **facts)

    async def open_ledger(self) -> None:
        """Keep what is dispatched in the ledger file; in memory if there is no place for a file.

        A crash would lose a batch in memory, which is no reason to refuse it: a note says so. A
        service that ends with the command has no file.
        """
        self.generations = LimitedLedger(MemoryLedger())
        self.progress.unanswered = self.generations.unanswered
        if self.outcome.place is None:
            return
        given = common.get()
        is_new = given.ledger is None  # Until the file is seen.
        try:
            ledger = SqliteLedger(given.ledger_path)
            is_new = not given.is_ledger_chosen and not ledger.path.exists()
            await ledger.open()
        except (ConfigError, OSError) as error:
            if not is_new:
                raise
            self.output.note(f"A crash would lose this batch, which is not kept: {reason(error)}")
        else:
            self.generations.ledger, self.batches = ledger, Batches(ledger)

    async def close_ledger(self) -> None:
        """Close the ledger file, if there is one."""
        if self.batches is not None:
            with self._noting_what_is_not_kept():
                await self.batches.ledger.aclose()

    @contextmanager
    def _noting_what_is_not_kept(self) -> Generator[None]:
        """Say once that the ledger lacks results, as on a full disk."""
        try:
            yield
        except ConfigError as error:
            if not self.outcome.causes:
                warn(f"Not all of the results are kept: {reason(error)}")
            self.know(causes=(ExitCode.USAGE,))

    async def select(self, spec: BatchSpec) -> Selection:
        """Return the features and configurations that are meant, and say what is left out."""
        async with self.limit.waiting_for("the list of features"):
            found = await select(
                *(self.connection.project, spec),
                max_outage=MAX_OUTAGE_SECONDS,
                all_word="--all",
            )
        if found.listing is not None:
            for sentence in self.quarantine.unmatched(found.listing):
                warn(sentence)
        if found.note and found.jobs:
            self.output.note(found.note)
        return found

    async def perform(
        self,
        spec: BatchSpec,
        jobs: Sequence[Item] | None,
        *,
        key: str,
        waits: bool = True,
    ) -> ExitCode:
        """Carry out a batch, print the results, and return the exit code.

        Args:
            spec: The description of the batch, which is kept with it.
            jobs: An item for each operation to dispatch; None for those that the batch has.
            key: The key of the batch.
            waits: True to wait for the dispatched operations.
        """
        spec = evolve(spec, quarantine=spec.quarantine or self.quarantine)
        self._is_new = jobs is not None
        self.know(spec=spec, is_waited_for=waits)
        batch = spec.start(self.connection.project, jobs, timeout=self.limit.remaining, key=key)
        ledger = None if self.batches is None else self.batches.ledger
        async with running(batch, ledger, self.place) as kept:
            if kept is not None:
                await self._note_kept(kept)
            await self.collect(batch, spec.kind)
        if ledger is not None:
            with self._noting_what_is_not_kept():
                await ledger.rows(key)  # It waits until all is written.
        return await self.conclude()

    async def _note_kept(self, batch: KeptBatch) -> None:
        """Name a batch that the ledger has now, and estimate from its history when it ends."""
        self.know(number=batch.number, is_resumable=True)
        if not self.outcome.is_waited_for:  # It is named at the end.
            return
        self.output.say(f"{batch}.")
        if self.output.has_estimate and self.batches is not None:
            # A log is read afterwards, and has no use for it.
            from testvibe_async.cli.estimate import estimate_of  # noqa: PLC0415

            self.progress.estimate = await estimate_of(batch, self.batches)

    async def collect(self, source: Source, what: str) -> None:
        """Show operations until all have ended, or are dispatched if the command waits for none.

        Args:
            source: The batch, or the operations that are awaited.
            what: What one of them is called, for the log of a CI system.
        """
        output, progress, waits = self.output, self.progress, self.outcome.is_waited_for
        title = counted(len(source.items), what)
        shown = output.live(progress, title) if waits else nullcontext()
        with shown, reporting(progress, output, during="" if waits else "Dispatching"):
            async with progress.following(source):
                try:
                    await (self._record(source) if waits else self._dispatch_all(source))
                except asyncio.CancelledError:
                    progress.contact.stop()
                    self.outputs.stop()
                    if progress.has_waiting and self._stop.signal is not None:
                        warn(STOPPING.format(signal=self._stop.name))
                    raise

    async def _dispatch_all(self, source: Source) -> None:
        """Wait until nothing is left to dispatch."""
        recording = asyncio.create_task(self._record(source))
        while self.progress.has_waiting and not recording.done():
            await asyncio.wait([recording], timeout=DISPATCH_SECONDS)
        recording.cancel()
        await asyncio.wait([recording])
        if not recording.cancelled():
            recording.result()

    async def _record(self, source: Source) -> None:
        async for item in source:
            self.progress.end(item)
            self.outputs.fetch(item, self.connection.client)

    async def conclude(self) -> ExitCode:
        """Write the reports, print the results of operations, and return the exit code."""
        outcome = await self._with_history(self._present())
        with anyio.move_on_after(self.limit.ending):
            logs = await _logs_of_failures(outcome.items, self.connection.client)
            outcome = evolve(outcome, logs=logs)
        self._is_concluded = True
        return await self.outputs.conclude(outcome, timeout=self.limit.ending)

    async def conclude_early(self, _kind: object, error: object, _traceback: object) -> None:
        """Write the reports and name the operations in flight if an error ends the command."""
        self.outputs.stop()
        if error is None or self._is_concluded:
            return
        outcome = evolve(self._present(), is_waited_for=True)
        if isinstance(error, asyncio.CancelledError):
            stop = self._stop.exit_code or ExitCode.INTERRUPTED
            outcome = evolve(outcome, causes={*outcome.causes, stop})
        with suppress(asyncio.CancelledError):  # Ctrl-C again does not keep the end from a person.
            outcome = await self._with_history(outcome)
        self.outputs.conclude_early(outcome, error if isinstance(error, VibeError) else None)

    def _present(self) -> Outcome:
        """Return the outcome as of now."""
        contact = self.progress.contact
        return evolve(
            self.outcome,
            items=self.progress.items,
            waited_seconds=self.progress.elapsed if self._is_new else 0.0,
            refusal=contact.refusal,
            failure=contact.failure and f"{self.limit.host}: {contact.failure}",
        )

    async def _with_history(self, outcome: Outcome) -> Outcome:
        """Return an outcome with the earlier batches that show which results are new."""
        if self.batches is not None and outcome.number is not None:
            with suppress(ConfigError):  # The results are not lost for it.
                items, number = outcome.items, outcome.number
                earlier = await self.batches.history_of(items, self.place, before=number)
                return evolve(outcome, history=earlier)
        return outcome


@asynccontextmanager
async def watching(
    *, files: Files = Files(), timeout: float | None = None
) -> AsyncGenerator[Watch]:
    """Open a client for operations, none of which is lost however the command ends.

    Args:
        files: The files to write.
        timeout: Seconds that the command may take; None for as long as it takes.
    """
    with shown_elsewhere(), Stop() as stop:
        watch = Watch(files, stop)
        watch.outputs.begin()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(watch.close_ledger)
            stack.push_async_exit(watch.conclude_early)
            server = require_settings().server
            assert server is not None
            watch.limit = TimeLimit(
                timeout, server=server.value, progress=watch.progress, output=watch.output
            )
            await watch.open_ledger()
            opened = connected(
                max_outage=MAX_OUTAGE_SECONDS,
                hooks=watch.progress.contact.hooks,
                ledger=watch.generations,
            )
            async with watch.limit.waiting_for("the list of projects"):
                watch.connection = await stack.enter_async_context(opened)
            yield watch


async def _logs_of_failures(items: Sequence[Item], client: Client) -> dict[str, GenerationLog]:
    """Read the logs of failed generations; an unreadable one is omitted."""
    failed = [
        item.ref
        for item in items
        if item.verdict is Verdict.FAILED and isinstance(item.ref, GenerationRef)
    ]
    reads = (client.attach(ref).log() for ref in failed)
    logs = zip(failed, await asyncio.gather(*reads, return_exceptions=True), strict=True)
    return {ref.request_id: log for ref, log in logs if isinstance(log, GenerationLog)}
