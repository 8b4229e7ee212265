"""The results of the benchmarks: one JSON file for each in `results/`, and Markdown tables of them.

The commands write them, `report` reads them. A quick run has its own file, so that it never
replaces a full one. Each full one has the counters of the code that it was taken with, which
show whether the cost of an operation has changed since.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.machine import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Document", "count", "is_quick_asked", "progress", "read", "table", "write"]

Document: TypeAlias = dict[str, Any]

FOLDER = Path(__file__).parent / "results"


def is_quick_asked(description: str | None) -> bool:
    """Parse the command line; return whether `--quick` asks for a run of seconds."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="take seconds, and measure nothing")
    return bool(parser.parse_args().quick)


def write(benchmark: str, content: Document, *, is_quick: bool) -> Document:
    """Write a benchmark's result to its file, report the path, and return the whole document."""
    command = f"python -m benchmarks.{benchmark}" + (" --quick" if is_quick else "")
    counters = {} if is_quick else {"counters": count("counters")}
    origin = {"benchmark": benchmark, "command": command, **describe()}
    document = {**origin, **counters, **content}
    path = _path(benchmark, is_quick=is_quick)
    path.write_text(json.dumps(document, indent=1) + "\n")
    progress(f"\nWritten to {path}")
    return document


def count(what: str) -> Any:  # noqa: ANN401 - JSON
    """Return what a process of `counting` has counted: `counters`, `calls` or `walks`."""
    command = [sys.executable, "-m", "benchmarks.counting", what]
    # asyncio's debug mode makes calls of its own, and what traces each line allocates.
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE_"))}
    root = FOLDER.parent.parent
    return json.loads(subprocess.check_output(command, cwd=root, env=plain))  # noqa: S603


def read(benchmark: str, *, is_quick: bool = False) -> Document | None:
    """Return the result of a benchmark's last run; None if there is none."""
    path = _path(benchmark, is_quick=is_quick)
    return json.loads(path.read_text()) if path.exists() else None


def _path(benchmark: str, *, is_quick: bool) -> Path:
    return FOLDER / f"{benchmark}{'-quick' if is_quick else ''}.json"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column holds words, the others numbers."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def progress(text: str) -> None:
    """Report progress on standard error; standard output has only the tables."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
