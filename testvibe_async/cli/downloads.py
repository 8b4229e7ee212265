"""Downloading a run's artifacts in front of people.

It decides how the progress is shown: as bars on a terminal, as the path of each file in a pipe.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from testvibe_async.cli.words import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator
    from pathlib import Path

    from rich.console import Console
    from rich.progress import TaskID

    from testvibe_async import DownloadProgress, Project
    from testvibe_async.cli.output import Output

__all__ = ["download"]


async def download(
    project: Project,
    run_id: int,
    directory: Path,
    *,
    output: Output,
    kinds: Collection[str] | None = None,
) -> list[Path]:
    """Download the files that a run left, and return where they are.

    Args:
        project: The run's.
        run_id: The run.
        directory: Where to put them.
        output: Where to show how far it is.
        kinds: Such as `{"trace"}`; None for all.
    """
    with _shown(output) as tell:
        return await project.download_artifacts(run_id, directory, kinds=kinds, on_progress=tell)


@contextmanager
def _shown(output: Output) -> Generator[Callable[[DownloadProgress], object] | None]:
    """Give a function that shows how far a download is."""
    if output.is_live:
        with _bars(output.console) as tell:
            yield tell
        return
    yield None


@contextmanager
def _bars(console: Console) -> Generator[Callable[[DownloadProgress], object]]:
    """Show a bar for each file, for as long as this is open."""
    tasks: dict[Path, TaskID] = {}
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    )

    def tell(how_far: DownloadProgress) -> None:
        path = how_far.artifact.path
        if how_far.path not in tasks:
            tasks[how_far.path] = progress.add_task(clean(path), total=None)
        progress.update(
            tasks[how_far.path],
            completed=how_far.done_bytes,
            total=how_far.done_bytes if how_far.is_finished else how_far.total_bytes,
            visible=not how_far.is_finished,
        )

    with progress:
        yield tell
