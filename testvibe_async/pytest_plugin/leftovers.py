"""The runs that a session leaves in flight, and how to wait for them.

The workers of pytest-xdist each note what they dispatched, and what they saw finish; the controller
combines that. pytest loads this module at every start, so it imports nothing of this package.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

SeenRuns: TypeAlias = "dict[tuple[str, str, int], bool]"
"""By server, project and id: the runs that were dispatched, and True for those that finished."""

WORKER_OUTPUT = "testvibe_runs"
"""The key of a pytest-xdist worker's output for its runs."""

_RUNS = pytest.StashKey[SeenRuns]()


def note_runs(config: pytest.Config, seen: Mapping[tuple[str, str, int], bool]) -> None:
    """Add the runs of a process to those of the session."""
    runs = config.stash.setdefault(_RUNS, {})
    for run, is_finished in seen.items():
        runs[run] = is_finished or runs.get(run, False)


def describe_runs(config: pytest.Config) -> list[str]:
    """Return lines that count the runs in flight, and say how to wait for them; none without."""
    in_flight: dict[tuple[str, str], list[str]] = {}
    for (*place, run_id), is_finished in config.stash.setdefault(_RUNS, {}).items():
        if not is_finished:
            in_flight.setdefault((place[0], place[1]), []).append(str(run_id))
    if not in_flight:
        return []
    count = sum(map(len, in_flight.values()))
    what, them = ("this", "it") if count == 1 else (f"these {count}", "them")
    lines = [f"Nothing was cancelled: {what} may still be running. To wait for {them}:"]
    for (server, project), ids in in_flight.items():
        words = ["testvibe-async", "wait", *ids, "--project", project, "--server", server]
        lines.append(f"  {shlex.join(words)}")
    return lines
