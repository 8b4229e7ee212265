"""The files of a command: reports, artifacts of failed runs, and what a GitHub job shows.

Decides when each is written. Artifacts are fetched while other runs are in flight, several runs at
once. The reports are written before the results are printed, however the command ends, and once
more when the artifacts are there. What a report contains is decided in `testvibe_async.reports`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Unpack

import anyio
from attrs import evolve

from testvibe_async import BatchItem, ConfigError, Run, VibeError
from testvibe_async.cli.text import Item, reason, warn
from testvibe_async.runner.codes import ExitCode
from testvibe_async.runner.words import NAME, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import Client
    from testvibe_async.cli.options import Files
    from testvibe_async.cli.render import Renderer
    from testvibe_async.reports import ReportOptions
    from testvibe_async.runner.outcome import Outcome

SUMMARY_BYTES = 1_000_000
"""Maximum bytes of a summary; GitHub refuses one from 1 MiB on."""

RUNS_AT_ONCE = 4
"""Of how many runs the artifacts are fetched at once."""


class Outputs:
    """The files that one command leaves."""

    def __init__(self, files: Files, output: Renderer) -> None:
        """Make it.

        Args:
            files: The files that were requested.
            output: Output for notes on files that were written or not available.
        """
        self.files: Files = files
        """The files that were requested."""
        self.output: Renderer = output
        """The output for notes."""
        self.unwritten: set[Path] = set()
        """The reports that could not be written."""
        self.fetched: dict[int, list[Path]] = {}
        """The existing files of each run, by its id."""
        self._slots = asyncio.Semaphore(RUNS_AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        self._written: set[Path] = set()
        """The outputs that take no second report: pipes, devices, and the summary of a CI step."""

    def fetch(self, item: Item, client: Client) -> None:
        """Begin to fetch the artifacts of an item's runs that failed, if that was asked for."""
        if self.files.artifacts is None or item.ref is None:
            return
        for run in item.attempts:
            if isinstance(run, Run) and not run.is_success:
                work = self._fetch(client, item.ref.project, run.run_id)
                self._tasks.append(asyncio.create_task(work))

    def begin(self) -> None:
        """Replace earlier reports by ones that say that the batch is not over.

        So a command that is killed leaves no report of an earlier success. What is written into a
        pipe or a device gets only the results.

        Raises:
            ConfigError: One can't be written, or artifacts can't be downloaded.
        """
        if self.files.artifacts is not None:
            _require_folder(self.files.artifacts)
        for path, error in self._report([_NOT_OVER], is_over=False).items():
            raise ConfigError(f"the report {path} can't be written: {_cause(error)}") from error

    def write(self, outcome: Outcome) -> None:
        """Write the reports with the results so far; each that can't be written is named once."""
        options = self._options(outcome)
        self._write_summary(outcome.items, options)
        errors = self._report(outcome.items, is_over=True, **options)
        for path, error in errors.items():
            if path not in self.unwritten:
                warn(f"The report {path} is not written: {_cause(error)}")
        self.unwritten = set(errors)

    def _report(
        self, items: Sequence[Item], *, is_over: bool, **options: Unpack[ReportOptions]
    ) -> dict[Path, OSError | ConfigError]:
        """Write the reports, into pipes and devices once, at the end; return the errors."""
        if not self.files.report:
            return {}
        # Few commands write a report, and the import takes its time.
        from testvibe_async.reports.files import stream_at, write_reports  # noqa: PLC0415

        streams = {path for _, path in self.files.targets if stream_at(path)}
        left_out = self._written if is_over else streams
        targets = [each for each in self.files.targets if each[1] not in left_out]
        errors = write_reports(targets, items, **options)
        if is_over:
            self._written |= streams - errors.keys()
        return errors

    def _write_summary(self, items: Sequence[Item], options: ReportOptions) -> None:
        """Add the results to the summary of a CI step, once, unless a report goes there."""
        path = Path(os.environ.get("GITHUB_STEP_SUMMARY", ""))
        if not path.name or path in self._written | {p for _, p in self.files.targets}:
            return
        from testvibe_async.reports import to_markdown  # noqa: PLC0415 - see `_report`

        self._written.add(path)
        try:
            with path.open("a", encoding="utf-8") as file:
                room = max(SUMMARY_BYTES - file.tell(), 0)
                file.write(to_markdown(items, max_bytes=room, **options))
        except OSError as error:
            warn(f"The summary of the step can't be written: {path}: {error.strerror}")

    async def conclude(self, outcome: Outcome, *, timeout: float | None = None) -> ExitCode:
        """Write the reports, print the results, fetch the artifacts, and return the exit code.

        Args:
            outcome: The results. Of a command that did not wait, they are only printed.
            timeout: Seconds that artifacts may still take; None for as long as it takes.
        """
        if not outcome.is_waited_for:
            self.output.finished(outcome)
            return outcome.exit_code
        self._publish(outcome)
        if self._tasks:
            try:
                with anyio.move_on_after(timeout):
                    await asyncio.gather(*self._tasks)
            finally:
                self.stop()
            self._note_artifacts()
            if any(self.fetched.values()):
                self.write(outcome)
        return evolve(outcome, is_reported=not self.unwritten).exit_code

    def conclude_early(self, outcome: Outcome, cause: VibeError | None) -> None:
        """Write the reports and name the operations in flight if an error ends the command.

        Args:
            outcome: The results so far.
            cause: The error; None for a signal, or an error that is not of the SDK.
        """
        self.stop()
        self._publish(outcome, cause=cause, is_cut=not outcome.is_stopped)
        self._note_artifacts()

    def _publish(
        self, outcome: Outcome, *, cause: VibeError | None = None, is_cut: bool = False
    ) -> None:
        """Write the reports, print the results, annotate failures, and name the reports."""
        # Without an item the reports of an earlier job would stay, perhaps those of a success.
        known = outcome if outcome.items else evolve(outcome, items=[_the_batch(cause)])
        self.write(known)
        outcome = evolve(outcome, is_reported=not self.unwritten)
        self.output.finished(outcome, is_cut=is_cut)
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from testvibe_async.reports.files import to_annotations  # noqa: PLC0415 - as above

            lines = to_annotations(known.items, **self._options(known))
            is_red = known.exit_code not in {ExitCode.PASSED, ExitCode.USAGE}
            if is_red and not lines.startswith("::error"):  # It is red without a failure.
                lines = f"::error::{known.line.replace('%', '%25')}\n{lines}"
            self.output.data(lines)
        for _, path in self.files.targets:
            if path not in self.unwritten:
                self.output.note(f"Report: {path}")

    def _note_artifacts(self) -> None:
        """Print the folder of the artifacts, if there are any, and the number still missing."""
        if number := sum(map(len, self.fetched.values())):
            self.output.note(f"Artifacts: {self.files.artifacts} ({counted(number, 'file')})")
        if more := sum(not task.done() or task.cancelled() for task in self._tasks):
            self.output.note(
                f"Artifacts of {counted(more, 'run')} are not there yet: "
                f"{NAME} runs download ID DIR"
            )

    def stop(self) -> None:
        """Fetch no more."""
        for task in self._tasks:
            task.cancel()

    async def _fetch(self, client: Client, project: str, run_id: int) -> None:
        """Fetch the artifacts of a run; a failure is only noted."""
        assert self.files.artifacts is not None
        folder = self.files.artifacts / f"run-{run_id}"
        async with self._slots:
            try:
                found = await client.project(project).download_artifacts(run_id, folder)
            except (VibeError, OSError) as error:
                self.output.note(f"artifacts of run {run_id}: {reason(error)}")
            else:
                self.fetched[run_id] = found

    def _options(self, outcome: Outcome) -> ReportOptions:
        return {
            "artifacts": self.fetched,
            "generation_logs": outcome.logs,
            "left_out": outcome.spec.left_out,
            "history": outcome.history,
        }


def _the_batch(error: VibeError | None) -> Item:
    """Return an item for reports that represents a batch without known items."""
    return BatchItem(feature="The batch", error=error)


_NOT_OVER = _the_batch(ConfigError("not finished: its command is still running, or was killed"))
"""The item of a report that is written at the start."""


def _cause(error: OSError | ConfigError) -> str:
    """Return why a report can't be written."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _require_folder(path: Path) -> None:
    """Refuse a folder that can neither be written to nor made; nothing is left in it."""
    folder = next(each for each in (path, *path.absolute().parents) if each.exists())
    try:
        TemporaryDirectory(dir=folder).cleanup()
    except OSError as error:
        why = f"the artifacts can't be downloaded: {folder}: {error.strerror}"
        raise ConfigError(why) from error
