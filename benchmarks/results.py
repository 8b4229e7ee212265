"""The results of the benchmarks: one JSON file for each in `results/`, and Markdown tables of them.

The commands write them, `report` reads them. Each has the counters of the code that it was taken
with, which show whether the cost of an operation has changed since. A quick run writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from benchmarks.machine import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Document", "count", "measure", "progress", "read", "table", "write"]

Document: TypeAlias = dict[str, Any]

FOLDER = Path(__file__).parent / "results"


class Run(Protocol):
    """Runs a benchmark, quickly or not, and returns its result."""

    def __call__(self, *, is_quick: bool) -> Document:
        """Run it."""
        ...


def measure(
    benchmark: str,
    description: str | None,
    run: Run,
    show: Callable[[Document], str],
) -> None:
    """Run a benchmark's command: print its table, and write its result unless it was quick.

    Args:
        benchmark: The benchmark's name.
        description: The help of the command.
        run: Runs it.
        show: Returns a result as tables.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="take seconds, and write nothing")
    is_quick: bool = parser.parse_args().quick
    content = run(is_quick=is_quick)
    sys.stdout.write(f"{show(content)}\n")
    if not is_quick:
        write(benchmark, content)


def write(benchmark: str, content: Document) -> Document:
    """Write a benchmark's result to its file, report the path, and return the whole document."""
    origin = {"benchmark": benchmark, "command": f"python -m benchmarks.{benchmark}", **describe()}
    document = {**origin, "counters": count("counters"), **content}
    path = FOLDER / f"{benchmark}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    progress(f"\nWritten to {path}")
    return document


def count(what: str) -> Any:  # noqa: ANN401 - JSON
    """Return what a process of `counting` has counted: `counters` or `walks`."""
    command = [sys.executable, "-m", "benchmarks.counting", what]
    # asyncio's debug mode makes calls of its own, and what traces each line allocates.
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE_"))}
    root = FOLDER.parent.parent
    return json.loads(subprocess.check_output(command, cwd=root, env=plain))  # noqa: S603


def read(benchmark: str) -> Document | None:
    """Return the result of a benchmark's last run; None if there is none."""
    path = FOLDER / f"{benchmark}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a Markdown table; the first column holds words, the others numbers.

    Args:
        columns: The format of each column's cells, such as `{cpu:.2f}`, by its heading.
        rows: The values of each row, by the names in these formats.
    """
    cells = [[form.format_map(row) for form in columns.values()] for row in rows]
    heading, *lines = (f"| {' | '.join(line)} |" for line in ([*columns], *cells))
    return "\n".join([heading, f"|---{'|---:' * (len(columns) - 1)}|", *lines])


def progress(text: str) -> None:
    """Report progress on standard error; standard output has only the tables."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
