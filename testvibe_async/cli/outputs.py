"""The outputs of a command: reports, artifacts of failed runs, and annotations of a GitHub job.

Decides when each is written, and which workflow commands GitHub Actions receives
(https://docs.github.com/actions/reference/workflow-commands); other CI systems read reports.
Artifacts are fetched while other runs are in flight, several runs at once. The reports are written
before the results are printed, however the command ends, and once more when the artifacts are
there. What a report contains is decided in `testvibe_async.reports`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, Unpack

import anyio

from testvibe_async import BatchItem, ConfigError, Run, Verdict, VibeError
from testvibe_async._core.util import escape
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.output import Output, warn
from testvibe_async.cli.words import NAME, Item, item_name, item_reason, reason
from testvibe_async.runner.outcome import counted

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from testvibe_async import Client
    from testvibe_async.cli.options import Files
    from testvibe_async.cli.result import Result
    from testvibe_async.reports import ReportOptions

SUMMARY_BYTES = 1_000_000
"""Maximum bytes of a summary; GitHub refuses one from 1 MiB on."""

RUNS_AT_ONCE = 4
"""Of how many runs the artifacts are fetched at once."""


class Outputs:
    """The files that one command leaves."""

    def __init__(self, files: Files, output: Output) -> None:
        """Make it.

        Args:
            files: The files that were requested.
            output: Output for notes on files that were written or not available.
        """
        self.files: Files = files
        """The files that were requested."""
        self.output: Output = output
        """The output for notes."""
        self._slots = asyncio.Semaphore(RUNS_AT_ONCE)
        self._is_summarized = False
        self.unwritten: set[Path] = set()
        """The reports that could not be written."""
        self._sent: set[Path] = set()
        """Reports that went into a pipe or a device, which get none twice."""
        self._tasks: list[asyncio.Task[None]] = []
        self.fetched: dict[int, list[Path]] = {}
        """The existing files of each run, by its id."""

    def fetch(self, item: Item, client: Client) -> None:
        """Begin to fetch the artifacts of an item's runs that failed, if that was asked for."""
        if self.files.artifacts is None or item.ref is None:
            return
        for run in (*item.earlier, item.outcome):
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
        errors = self._report([_NOT_OVER], is_over=False)
        for path, error in errors.items():
            raise ConfigError(f"the report {path} can't be written: {_cause(error)}") from error

    def write(self, result: Result) -> None:
        """Write the reports with the results so far; each that can't be written is named once."""
        self._write_summary(result)
        errors = self._report(result.items, is_over=True, **self._options(result))
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
        left_out = self._sent if is_over else streams
        targets = [each for each in self.files.targets if each[1] not in left_out]
        errors = write_reports(targets, items, **options)
        if is_over:
            self._sent |= streams - errors.keys()
        return errors

    def announce(self, result: Result) -> None:
        """Annotate each failure, in a job of GitHub, and print the paths of the reports."""
        if is_github() and not self.output.is_json:
            for line in failure_commands(result):
                self.output.command(line)
        for _, path in self.files.targets:
            if path not in self.unwritten:
                self.output.note(f"Report: {path}")

    def _write_summary(self, result: Result) -> None:
        """Add the results to the summary of a CI step, once, unless a report goes there."""
        path = Path(os.environ.get("GITHUB_STEP_SUMMARY", ""))
        if not path.name or self._is_summarized or path in (p for _, p in self.files.targets):
            return
        from testvibe_async.reports import to_markdown  # noqa: PLC0415 - see `write`

        self._is_summarized = True
        try:
            with path.open("a", encoding="utf-8") as file:
                room = max(SUMMARY_BYTES - file.tell(), 0)
                file.write(to_markdown(result.items, max_bytes=room, **self._options(result)))
        except OSError as error:
            warn(f"The summary of the step can't be written: {path}: {error.strerror}")

    def note_artifacts(self) -> None:
        """Print the folder of the artifacts, if there are any, and the number still missing."""
        if number := sum(map(len, self.fetched.values())):
            self.output.note(f"Artifacts: {self.files.artifacts} ({counted(number, 'file')})")
        if more := sum(not task.done() or task.cancelled() for task in self._tasks):
            self.output.note(
                f"Artifacts of {counted(more, 'run')} are not there yet: "
                f"{NAME} runs download ID DIR"
            )

    async def finish(self, result: Result, *, timeout: float | None) -> None:
        """Wait for the artifacts, and write the reports again if there are any.

        Args:
            result: The results.
            timeout: Seconds to wait; None for as long as it takes.
        """
        if not self._tasks:
            return
        try:
            with anyio.move_on_after(timeout):
                await asyncio.gather(*self._tasks)
        finally:
            self.stop()
        self.note_artifacts()
        if any(self.fetched.values()):
            await asyncio.to_thread(self.write, result)

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

    def _options(self, result: Result) -> ReportOptions:
        started_at, finished_at = _times(result)
        return {
            "artifacts": self.fetched,
            "generation_logs": result.logs,
            "left_out": result.left_out,
            "started_at": started_at,
            "finished_at": finished_at,
        }


def the_batch(error: VibeError | None) -> Item:
    """Return an item for reports that represents a batch without known items."""
    return BatchItem(feature="The batch", error=error)


_NOT_OVER = the_batch(ConfigError("not finished: its command is still running, or was killed"))
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


def _times(result: Result) -> tuple[datetime | None, datetime | None]:
    """Return the begin and the end of a batch, each None for the service's own.

    This machine's clock is taken only where the service's says nothing: the two may differ, and the
    command may have started to wait late.
    """
    if not result.unfinished:
        return None, None
    now = datetime.now(UTC)
    is_dated = any(item.outcome or (item.ref and item.ref.dispatched_at) for item in result.items)
    return None if is_dated else now - timedelta(seconds=result.seconds), now


MOST_ANNOTATIONS = 10
"""Maximum number of annotated failures; GitHub shows no more for a step."""

MESSAGE_LINES = 12
"""Maximum lines of an error in an annotation."""


def is_github() -> bool:
    """Return whether this is a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


@contextmanager
def grouped(title: str, output: Output) -> Generator[None]:
    """Fold the lines that are printed meanwhile, in a log of GitHub."""
    if not is_github() or output.is_json or output.is_quiet:
        yield
        return
    output.command(f"::group::{_data(title)}")
    try:
        yield
    finally:
        output.command("::endgroup::")


def failure_commands(result: Result) -> list[str]:
    """Return a command for each failure, which GitHub shows beside the job.

    If the batch is red without a failure, as one that is in flight, the counts are an annotation.
    """
    found = [each for item in result.items for each in _annotations_of(item)]
    if not found and result.exit_code not in {ExitCode.PASSED, ExitCode.USAGE}:
        found = [f"::error::{_data(escape(result.last_line))}"]
    more = len(found) - MOST_ANNOTATIONS
    if more > 0:
        found[MOST_ANNOTATIONS:] = [f"::notice::{counted(more, 'failure')} more: see the log"]
    flaky = [_flaky(item) for item in result.items if item.is_flaky]
    return [*found, *flaky[:MOST_ANNOTATIONS]]


def _flaky(item: Item) -> str:
    """Return a warning on what passed after a failure."""
    run = item.earlier[-1]
    tests = run.failures if isinstance(run, Run) else ()
    message = "flaky: it failed, and passed when it ran again"
    return _annotation("warning", item, message, test=tests[0].name if tests else None)


def _annotations_of(item: Item) -> Iterator[str]:
    if item.verdict is Verdict.FAILED and isinstance(item.outcome, Run) and item.outcome.failures:
        for test in item.outcome.failures:
            yield _annotation("error", item, test.error or "no error given", test=test.name)
    elif item.verdict in {Verdict.FAILED, Verdict.ERROR, Verdict.UNKNOWN} or item.is_unseen:
        yield _annotation("error", item, item_reason(item))


def _annotation(
    kind: Literal["error", "warning"], item: Item, message: str, *, test: str | None = None
) -> str:
    title = escape(f"{item_name(item)}: {test}" if test else item_name(item))
    title = _data(title).replace(":", "%3A").replace(",", "%2C")
    lines = [escape(line).rstrip() for line in message.splitlines()]
    text = "\n".join([line for line in lines if line][:MESSAGE_LINES])
    return f"::{kind} title={title}::{_data(text)}"


def _data(text: str) -> str:
    """Return a text as the data of a command, in which nothing else is one."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
