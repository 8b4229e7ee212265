"""The table of tolerance: what a user sees where the service differs, on each surface.

A cell is for one way to differ and one surface. `test_tolerance` plays every cell, and checks it
against what the emulator really did. `python -m tests.surfaces.tolerance.tolerance` plays them as
well, and prints them as Markdown, with the number of polls.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from attrs import Factory, frozen

from tests.support.dialects import DIALECTS, Dialect
from tests.surfaces.tolerance.tolerance_stage import POLLS, Surface

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PRINTS_TO", "RIGHT", "SERVICES", "TABLE", "Cell", "Service", "as_markdown", "row"]

PRINTS_TO = "TOLERANCE_TABLE"
"""The variable with the path of the file that the played table is written to."""

DOCUMENTED_ALONE = Dialect(assumed_routes="404")


@frozen
class Service:
    """A service that differs."""

    dialect: Dialect = Factory(Dialect)
    has_lists: bool = True
    """False if it has neither runs nor features as a list."""
    names_features: bool = True
    """False if the rows of its list of features have no names."""


SERVICES: Mapping[str, Service] = {
    "as-documented": Service(),
    **{name: Service(dialect) for name, dialect in DIALECTS.items()},
    "lists-missing": Service(DOCUMENTED_ALONE, has_lists=False),
    "names-missing": Service(names_features=False),
}
"""Every named dialect, and what no dialect has."""


@frozen
class Cell:
    """What a user sees. Without words the results are right, and there is nothing else."""

    says: str = ""
    """A regular expression of what is said besides, or in place of the results."""

    code: int | None = None
    """The exit code, if it is a command and the results are not right."""

    is_right: bool = True
    """True if the results are those of the service as documented, in spite of what is said."""

    def __str__(self) -> str:
        """Return it as the table shows it."""
        if not self.says:
            return "right"
        words = self.says.replace("\\", "")
        return f"right, warns: {words}" if self.is_right else words


RIGHT = Cell()


def warns(says: str) -> Cell:
    """Make a cell with right results and a warning."""
    return Cell(says)


def fails(says: str, code: int | None = None) -> Cell:
    """Make a cell with an error; verdicts that are given all the same are checked too."""
    return Cell(says, code, is_right=False)


@frozen(kw_only=True)
class row:  # noqa: N801 - it reads as the literal that it is
    """The cells of one service, by surface."""

    handles: Cell = RIGHT
    batch: Cell = RIGHT
    named: Cell = RIGHT
    run_all: Cell = RIGHT
    run: Cell = RIGHT
    generate: Cell = RIGHT
    features: Cell = RIGHT
    pytest: Cell = RIGHT
    tools_all: Cell = RIGHT
    tools_one: Cell = RIGHT

    def cell(self, surface: Surface) -> Cell:
        """Return the cell of a surface."""
        cell: Cell = getattr(self, surface.name.lower())
        return cell


_NOT_ALL = (
    r"the list of features is incomplete: the service says that there are .*name the features"
)
_PYTEST_NAMES = r"To name features: --testvibe-select NAME"
_UNKNOWN_END = r"undocumented status,? 'ready'"
_UNKNOWN_STATUS = r"an undocumented status \('ready'\), and none .* is meant: name the features"
_TIME = r"Utc can't be read and is left out: expected a time such as"
_DURATION = r"Test\.durationMs can't be read and is left out: expected a number"
_ELSEWHERE = r"redirects to /\S+, which is not followed, as the key would go along"
_LOGIN = r"expected JSON, got a web page titled 'Sign in'"
_NO_LIST = r"this service has no list of features: then name them"

_CUT = row(
    batch=fails(_NOT_ALL),
    run_all=fails(_NOT_ALL, 5),
    features=warns(_NOT_ALL),
    pytest=fails(_PYTEST_NAMES, 2),
    tools_all=fails(_NOT_ALL),
)
_ALWAYS_ELSEWHERE = row(
    handles=fails(_ELSEWHERE),
    batch=fails(_ELSEWHERE),
    named=fails(_ELSEWHERE),
    run_all=fails(_ELSEWHERE, 3),
    run=fails(_ELSEWHERE, 3),
    generate=fails(_ELSEWHERE, 3),
    features=fails(_ELSEWHERE, 3),
    pytest=fails(_ELSEWHERE, 2),
    tools_all=fails(_ELSEWHERE),
    tools_one=fails(_ELSEWHERE),
)

TABLE: Mapping[str, row] = {
    "as-documented": row(),
    # Lists.
    "paged-by-link": row(),
    "paged-by-cursor": row(),
    "paged-by-next-link": row(),
    "cut-with-has-more": _CUT,
    "cut-with-total": _CUT,
    "oldest-first": row(),
    "limit-refused": row(),
    "names-missing": row(),
    # Words.
    "title-case": row(),
    "upper-case": row(),
    "other-end-words": row(
        handles=fails(_UNKNOWN_END),
        batch=fails(_UNKNOWN_STATUS),
        named=fails(_UNKNOWN_END),
        run_all=fails(_UNKNOWN_STATUS, 2),
        run=fails(r"undocumented status,? 'timed_out'", 5),
        generate=fails(_UNKNOWN_END, 5),
        pytest=fails(r"ready: over with an undocumented status", 1),
        tools_all=fails(_UNKNOWN_STATUS),
        tools_one=fails(r"is over with an undocumented status, 'ready'"),
    ),
    # Ids, and the answer to a dispatch.
    "ids-as-text": row(),
    "request-id-as-number": row(),
    "dispatch-in-data": row(),
    "dispatch-by-kind": row(),
    "dispatch-without-feature-id": row(),
    "dispatch-200": row(),
    "dispatch-lag": row(),
    "mutation-204": row(),
    # Times, and fields of another type.
    "times-with-seven-digits": row(),
    "times-with-offset": row(),
    "times-without-zone": row(),
    "times-in-epoch-seconds": row(),
    "times-in-epoch-milliseconds": row(),
    "times-as-date-call": row(),
    "times-empty": row(
        handles=warns(_TIME),
        batch=warns(_TIME),
        named=warns(_TIME),
        run_all=warns(_TIME),
        run=warns(_TIME),
        generate=warns(_TIME),
        features=warns(_TIME),
        pytest=warns(_TIME),
        tools_all=warns(_TIME),
        tools_one=warns(_TIME),
    ),
    "odd-fields": row(
        handles=warns(_DURATION),
        batch=warns(_DURATION),
        named=warns(_DURATION),
        run_all=warns(_DURATION),
        run=warns(_DURATION),
        generate=warns(r"runnerStarted can't be read and is left out: expected true or false"),
        pytest=warns(_DURATION),
        tools_all=warns(_DURATION),
        tools_one=warns(_DURATION),
    ),
    # Errors and limits.
    "errors-as-problem": row(),
    "errors-of-iis": row(),
    "errors-of-nginx": row(),
    "errors-nested": row(),
    "errors-as-text": row(),
    "errors-capitalized": row(),
    "rate-limit-403-retry-after": row(
        batch=warns(r"Paused seconds=1"),
        run_all=warns(r"the service asked for a pause of \d+ s"),
        tools_all=warns(r"Paused seconds=1"),
    ),
    "rate-limit-403-code": row(
        batch=warns(r"Paused seconds=1"),
        run_all=warns(r"the service asked for a pause of \d+ s"),
        tools_all=warns(r"Paused seconds=1"),
    ),
    # The web server before the service.
    "json-body-required": row(),
    "path-prefix": row(),
    "slashes-decoded": row(
        named=fails(r"some servers take the / in a name for a part of the path: use the id instead")
    ),
    "slash-added": _ALWAYS_ELSEWHERE,
    "login-page": row(
        handles=fails(_LOGIN),
        batch=fails(_LOGIN),
        named=fails(_LOGIN),
        run_all=fails(_LOGIN, 5),
        run=fails(_LOGIN, 5),
        generate=fails(_LOGIN, 5),
        features=fails(_LOGIN, 5),
        pytest=fails(_LOGIN, 2),
        tools_all=fails(_LOGIN),
        tools_one=fails(_LOGIN),
    ),
    "login-redirect": _ALWAYS_ELSEWHERE,
    "documented-routes-404": row(),
    "documented-routes-404-page": row(),
    "documented-routes-405": row(),
    "lists-missing": row(
        batch=fails(_NO_LIST),
        run_all=fails(_NO_LIST, 3),
        features=fails(_NO_LIST, 3),
        pytest=fails(_PYTEST_NAMES, 2),
        tools_all=fails(r"list_projects shows which .*; run_features takes names"),
    ),
    # Encodings.
    "gzip": row(),
    "byte-order-mark": row(),
    "text-plain": row(),
}
"""What is seen, by the service and the surface."""


def as_markdown() -> str:
    """Return the table as Markdown, with the number of polls of each cell that was played."""
    lines = [
        "| service | " + " | ".join(Surface) + " |",
        "|---" * (1 + len(Surface)) + "|",
        *(
            f"| {name} | " + " | ".join(_shown(name, each, row) for each in Surface) + " |"
            for name, row in TABLE.items()
        ),
    ]
    return "\n".join(lines)


def _shown(name: str, surface: Surface, row: row) -> str:
    cell = row.cell(surface)
    code = "" if cell.code is None else f" (exit {cell.code})"
    polls = POLLS.get((name, surface))
    took = "" if polls is None else f" · {polls}"
    return f"{cell}{code}{took}"


def main() -> int:
    """Play the table and print it; return pytest's exit code."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "table.md"
        # In a process of its own: here is loaded already what pytest wants to load by itself.
        played = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:xdist",
                "tests/surfaces/tolerance/test_tolerance.py",
            ],
            env={**os.environ, PRINTS_TO: str(file)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        sys.stdout.write(played.stdout if played.returncode else file.read_text())
    return played.returncode


if __name__ == "__main__":
    sys.exit(main())
