"""`testvibe-async runs`, `open` and `generation`: what any client dispatched.

`generation` is about a feature's latest generation.

Decides which call of the service each command makes, and which file of a run says most. How a run
looks is decided in `details`.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import webbrowser
from contextlib import nullcontext
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING

import platformdirs
from cyclopts import App
from cyclopts.types import PositiveInt  # noqa: TC002 - likewise

from testvibe_async import ConfigError
from testvibe_async.cli import completion, details
from testvibe_async.cli.common import Common, connected
from testvibe_async.cli.completion import FeatureName, RunId  # noqa: TC001 - cyclopts reads the annotations at run time
from testvibe_async.cli.names import suggesting
from testvibe_async.cli.words import NAME, tests_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testvibe_async import Artifact
    from testvibe_async.cli.common import Connection
    from testvibe_async.cli.output import Output


_ORDER = ("report", "trace", "video", "screenshot")
"""The kinds of files, the most informative first."""

_SHOWN = {".html", ".htm", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".webm", ".mp4"}
"""Suffixes of files that a browser shows.

Others may be programs, which some systems start when opened.
"""

_PLAYER = "npx"
"""The program that starts Playwright's trace viewer."""

app: App = App(
    name="runs",
    help="List runs, show one, and download its artifacts.",
    synonym=(
        *("artifacts", "debug", "diagnose", "download", "explain", "why"),
        *("list", "log", "logs", "show", "status", "view"),
    ),
)


@app.command(name="list", synonym="ls")
async def list_(
    *,
    feature: FeatureName | None = None,
    limit: PositiveInt | None = None,
    common: Common = Common(),
) -> None:
    """List runs, the newest first.

    For example:

        testvibe-async runs list --limit 10
        testvibe-async runs list --feature Checkout --json | jq '.[0].runId'

    Args:
        feature: Only runs of this feature: its id, or its name.
        limit: Maximum number of runs; by default as many as the service gives.
        common: The options of every command.
    """
    async with connected(common) as connection, suggesting(connection, feature):
        found = await connection.project.list_runs(feature=feature, limit=limit)
    completion.keep(runs=[run.run_id for run in found])
    connection.output.rows(
        found,
        ("Run", "Feature", "Config", "Status", "Tests", "Created"),
        lambda run: (
            *(run.run_id, run.feature_name, run.config, run.status),
            *(tests_of(run), run.created_at),
        ),
    )


@app.command(synonym=("get", "view"))
async def show(run: RunId, /, *, common: Common = Common()) -> None:
    """Show a run: its tests, their errors, its artifacts, and the end of its log.

    For example:

        testvibe-async runs show 214
        testvibe-async runs show 214 --json | jq -r '.tests[] | select(.status == "failed").name'

    Args:
        run: The run's id.
        common: The options of every command.
    """
    async with connected(common) as connection:
        found = await connection.project.get_run(run)
    connection.output.show(found, lambda width: details.run_details(found, width=width))


@app.command(synonym=("explain", "log", "logs", "why"))
async def diagnose(run: RunId, /, *, sources: bool = False, common: Common = Common()) -> None:
    """Show why a run failed: whole errors, the end of its log, and the sources if asked to.

    For example:

        testvibe-async runs diagnose 214
        testvibe-async runs diagnose 214 --sources | less

    Args:
        run: The run's id.
        sources: Show the tests' sources and the feature's Gherkin too; --json always has them.
        common: The options of every command.
    """
    async with connected(common) as connection:
        found = await connection.project.diagnose_run(run)
    connection.output.show(
        found, lambda width: details.diagnosis_details(found, with_sources=sources, width=width)
    )


@app.command
async def artifacts(run: RunId, /, *, common: Common = Common()) -> None:
    """List the files that a run left.

    With --json their links are shown too, which soon expire.

    For example:

        testvibe-async runs artifacts 214

    Args:
        run: The run's id.
        common: The options of every command.
    """
    async with connected(common) as connection:
        found = await connection.project.get_run_artifacts(run)
    connection.output.rows(
        found,
        ("Kind", "Size", "Path"),
        lambda each: (each.kind, details.size(each.size_bytes), each.path),
    )
    if not found:
        connection.output.note(f"Run {run} has left no files, or none yet.")


@app.command
async def download(
    run: RunId, directory: Path, *, kind: tuple[str, ...] = (), common: Common = Common()
) -> None:
    """Download the files that a run left.

    For example:

        testvibe-async runs download 214 artifacts/214
        testvibe-async runs download 214 traces --kind trace --kind screenshot

    Args:
        run: The run's id.
        directory: Folder for the files; it is created if there are any.
        kind: Only files of this kind: trace, screenshot, video or report. May be repeated.
        common: The options of every command.
    """
    async with connected(common) as connection:
        output = connection.output
        if kind:
            _check_kinds(await connection.project.get_run_artifacts(run), run, kind)
        paths = await _download(connection, run, directory, kinds=set(kind) or None)
    output.document(paths)
    for path in paths:
        output.say(str(path))
    if not paths:
        output.note(f"Run {run} has left no files, or none yet.")


async def _download(
    connection: Connection, run: int, directory: Path, *, kinds: set[str] | None
) -> list[Path]:
    """Download the artifacts of a run, shown on a terminal, and return their paths.

    Args:
        connection: Has the run's project.
        run: The run.
        directory: Folder for the files.
        kinds: Such as `{"trace"}`; None for all.
    """
    output = connection.output
    status = output.console.status(f"Downloading the files of run {run}", spinner="line")
    with status if output.is_live else nullcontext():
        return await connection.project.download_artifacts(run, directory, kinds=kinds)


def _check_kinds(artifacts: Iterable[Artifact], run: int, wanted: Sequence[str]) -> None:
    """Name the kinds of files that a run has, if it has any, but none of those that are wanted.

    Raises:
        ConfigError: It has files of other kinds alone.
    """
    there = {each.kind for each in artifacts}
    if there and not there & {*wanted}:
        raise ConfigError(
            f"run {run} has no files of kind {' or '.join(wanted)}; it has "
            f"{', '.join(sorted(there))}"
        )


async def open_run(run: RunId, /, *, kind: str | None = None, common: Common = Common()) -> None:
    """Open the report of a run, or its trace.

    The file is downloaded first. Where no program can be started, as on a machine without a screen,
    the command that opens it is printed instead. Only pages, pictures and videos are opened, and
    traces by Playwright's viewer.

    For example:

        testvibe-async open 214
        testvibe-async open 214 --kind trace

    Args:
        run: The run's id.
        kind: The file to open: report, trace, video or screenshot; by default the first that
            exists.
        common: The options of every command.
    """
    async with connected(common) as connection:
        output = connection.output
        found = _best_kind(await connection.project.get_run_artifacts(run), run, kind)
        folder = platformdirs.user_cache_path(NAME) / f"run-{run}"
        files = await _download(connection, run, folder, kinds={found})
    path = _file_to_open(files)
    command = [_PLAYER, "playwright", "show-trace", str(path)] if found == "trace" else None
    output.document({"kind": found, "path": path, "command": command and shlex.join(command)})
    await _show(path, command, output)


def _best_kind(artifacts: Sequence[Artifact], run: int, wanted: str | None = None) -> str:
    """Return the most informative kind of file, or the one that is wanted.

    Raises:
        ConfigError: The run has no files, or none of that kind.
    """
    if not artifacts:
        raise ConfigError(f"run {run} has left no files, or none yet: see runs show {run}")
    if wanted is not None:
        _check_kinds(artifacts, run, [wanted])
        return wanted
    kinds = [artifact.kind for artifact in artifacts]
    return next((kind for kind in _ORDER if kind in kinds), kinds[0])


def _file_to_open(files: Sequence[Path]) -> Path:
    """Return the page of a report, which may have files beside it; else the first file."""
    pages = [path for path in files if path.suffix.lower() in {".html", ".htm"}]
    return next((path for path in pages if path.name == "index.html"), [*pages, *files][0])


async def _show(path: Path, command: Sequence[str] | None, output: Output) -> None:
    """Open a file, or print how to open it if that fails."""
    if not output.is_live:
        output.say(str(path) if command is None else shlex.join(command))
    elif command is None and path.suffix.lower() not in _SHOWN:
        output.say(f"{path} is downloaded, and not opened: a browser shows no such files.")
    elif command is None:
        is_open = webbrowser.open(path.as_uri())
        output.say(f"{path} is open in the browser." if is_open else f"Open {path} in a browser.")
    elif shutil.which(_PLAYER) is None:
        output.say(f"Install Node.js, then open it with:\n  {shlex.join(command)}")
    else:
        output.say(shlex.join(command))
        process = await asyncio.create_subprocess_exec(*command)
        await process.wait()


generation: App = App(
    name="generation",
    help="Show the status of a feature's latest generation, or cancel it.",
    synonym=("abort", "kill", "log", "logs", "status", "stop"),
)


@generation.command
async def status(feature: FeatureName, /, *, common: Common = Common()) -> None:
    """Show the state of a feature's latest generation, section by section.

    For example:

        testvibe-async generation status Checkout
        testvibe-async generation status Checkout --json | jq -r .featureStatus

    Args:
        feature: Its id, or its name in any case.
        common: The options of every command.
    """
    async with connected(common) as connection, suggesting(connection, feature):
        found = await connection.project.get_generation_status(feature)
    connection.output.show(found, lambda _: details.generation_details(found))


@generation.command
async def log(
    feature: FeatureName, /, *, lines: PositiveInt | None = None, common: Common = Common()
) -> None:
    """Show the log of a feature's latest generation, each section's reason first.

    For example:

        testvibe-async generation log Checkout
        testvibe-async generation log Checkout --lines 5

    Args:
        feature: Its id, or its name in any case.
        lines: Number of lines of each section, from its end; all by default.
        common: The options of every command.
    """
    async with connected(common) as connection, suggesting(connection, feature):
        found = await connection.project.get_generation_log(feature)
    connection.output.show(
        found, lambda width: details.log_details(found, limit=lines, width=width)
    )


@generation.command
async def cancel(feature: FeatureName, /, *, common: Common = Common()) -> None:
    """Cancel a feature's generation, dispatched by any client.

    For example:

        testvibe-async generation cancel Checkout

    Args:
        feature: Its id, or its name in any case.
        common: The options of every command.
    """
    async with connected(common) as connection, suggesting(connection, feature):
        await connection.project.cancel_generation(feature)
    connection.output.result({"ok": True}, f"The generation of {feature} is cancelled.")
