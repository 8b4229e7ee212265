"""`testvibe-async open`: the report or the trace of a run, in the program that shows it.

It decides which file of a run says most, and says the command where it can't start the program.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import webbrowser
from typing import TYPE_CHECKING

import platformdirs

from testvibe_async import ConfigError
from testvibe_async.cli.common import COMMON, Common, connected
from testvibe_async.cli.completers import RunId  # noqa: TC001 - cyclopts reads the annotations at run time
from testvibe_async.cli.options import download_artifacts
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from testvibe_async import Artifact
    from testvibe_async.cli.output import Output

__all__ = ["open_run"]

_ORDER = ("report", "trace", "video", "screenshot")
"""The kinds of files, those that say most first."""

_SHOWN = {".html", ".htm", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".webm", ".mp4"}
"""What a browser shows. Other files may be programs, which some systems start when they are opened.
"""

_PLAYER = "npx"
"""What starts Playwright's trace viewer."""


async def open_run(run: RunId, /, *, kind: str | None = None, common: Common = COMMON) -> None:
    """Open the report of a run, or its trace.

    The file is downloaded first. Where no program can be started, as on a machine without a screen,
    the command that opens it is printed instead. Only pages, pictures and videos are opened, and
    traces by Playwright's viewer.

    For example:

        testvibe-async open 214
        testvibe-async open 214 --kind trace

    Args:
        run: The run's id.
        kind: What to open: report, trace, video or screenshot; the first of these that is there.
        common: The options of every command.
    """
    async with connected(common) as connection:
        output = connection.output
        found = _best_kind(await connection.project.get_run_artifacts(run), run, kind)
        folder = platformdirs.user_cache_path(NAME) / f"run-{run}"
        files = await download_artifacts(
            connection.project, run, folder, output=output, kinds={found}
        )
    path = _file_to_open(files)
    command = [_PLAYER, "playwright", "show-trace", str(path)] if found == "trace" else None
    output.document({"kind": found, "path": path, "command": command and shlex.join(command)})
    await _show(path, command, output)


def _best_kind(artifacts: Iterable[Artifact], run: int, wanted: str | None = None) -> str:
    """Return the kind of the files that say most, or that is wanted.

    Raises:
        ConfigError: The run has no files, or none of that kind.
    """
    kinds = [artifact.kind for artifact in artifacts]
    if not kinds:
        raise ConfigError(f"run {run} has left no files, or none yet: see runs show {run}")
    if wanted is not None and wanted not in kinds:
        there = ", ".join(sorted(set(kinds)))
        raise ConfigError(f"run {run} has no files of kind {wanted}; it has {there}")
    if wanted is not None:
        return wanted
    return next((kind for kind in _ORDER if kind in kinds), kinds[0])


def _file_to_open(files: Sequence[Path]) -> Path:
    """Return the page of a report, which may have files beside it; else the first file."""
    pages = [path for path in files if path.suffix.lower() in {".html", ".htm"}]
    return next((path for path in pages if path.name == "index.html"), [*pages, *files][0])


async def _show(path: Path, command: Sequence[str] | None, output: Output) -> None:
    """Open a file; say how where that does not work."""
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
