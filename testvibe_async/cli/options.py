"""The options of commands that wait, and the files that they leave.

It decides which options make sense together, whose artifacts are downloaded, and where they go.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from math import inf
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated

from attrs import frozen
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from testvibe_async import ConfigError, Run, VibeError
from testvibe_async.cli.downloads import download
from testvibe_async.cli.words import reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async.cli.common import Connection
    from testvibe_async.cli.ending import Ending

__all__ = ["NO_FILES", "SEVERAL", "Files", "Seconds", "needs"]

Seconds = Annotated[float, Parameter(validator=Number(gt=0, lt=inf))]
"""The type of an option that is a time."""

SEVERAL = Parameter(negative=(), show_default=False)
"""How an option is shown that may be repeated."""


@Parameter(name="*", group=Group("Files to leave", sort_key=0))
@frozen(kw_only=True)
class Files:
    """The options that name files to leave at the end."""

    report: Annotated[tuple[Path, ...], SEVERAL] = ()
    """Write a report: JUnit to .xml, CTRF to .json, Markdown to .md, a page to .html. May be
    repeated."""

    artifacts: Path | None = None
    """Download the artifacts of runs that failed to this folder, a folder for each run."""

    @property
    def typed(self) -> dict[str, object]:
        """The options by name, for `needs`."""
        return {"--report": self.report, "--artifacts": self.artifacts}

    def check(self) -> None:
        """Refuse reports that could not be written, before anything is dispatched.

        Raises:
            ConfigError: There is one, of no known format or in no place for it.
        """
        if not self.report:
            return
        from testvibe_async.reports import require_known_ending  # noqa: PLC0415 - when it is used

        for path in self.report:
            require_known_ending(path)
            _require_place(path)

    async def fetch(self, ending: Ending, connection: Connection) -> dict[int, list[Path]]:
        """Download artifacts, and return the files of each run; one that can't be had is noted."""
        if self.artifacts is None:
            return {}
        fetched: dict[int, list[Path]] = {}
        for item in ending.items:
            if isinstance(item.outcome, Run) and not item.outcome.is_success and item.ref:
                run_id, project = item.outcome.run_id, connection.client.project(item.ref.project)
                folder = self.artifacts / f"run-{run_id}"
                try:
                    fetched[run_id] = await download(
                        project, run_id, folder, output=connection.output
                    )
                except VibeError as error:
                    connection.output.note(f"artifacts of run {run_id}: {reason(error)}")
        return fetched

    async def write(self, ending: Ending, artifacts: Mapping[int, Sequence[Path]]) -> None:
        """Write the reports.

        Raises:
            OSError: One can't be written.
        """
        # Few commands leave a report, and its import takes as long as that of cyclopts.
        from testvibe_async.reports import write_report  # noqa: PLC0415

        # The service's own times: this machine's clock may differ, or have waited for a part alone.
        finished_at = datetime.now(UTC) if ending.in_flight else None
        for path in self.report:
            await asyncio.to_thread(
                write_report,
                path,
                ending.items,
                artifacts=artifacts,
                generation_logs=ending.logs,
                finished_at=finished_at,
            )


NO_FILES = Files()


def _require_place(path: Path) -> None:
    """Refuse a report in no folder that can be written to, or made."""
    folder = next(each for each in path.absolute().parents if each.exists())
    if path.is_dir():
        why = "it is a folder"
    elif not folder.is_dir():
        why = f"{folder} is no folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        why = f"{folder} can't be written to"
    else:
        return
    raise ConfigError(f"the report {path} can't be written: {why}")


def needs(option: str, others: Mapping[str, object]) -> None:
    """Refuse options that mean nothing without another.

    Args:
        option: The option that was not given, such as `--wait`.
        others: The values of the options that need it, by name.

    Raises:
        ConfigError: One of them was given.
    """
    for name, value in others.items():
        if value is not None and value != () and value is not False:
            raise ConfigError(f"{name} means nothing without {option}: add {option}")
