"""The runs that a session leaves in flight, and how to wait for them.

The workers of pytest-xdist each note what they dispatched, and what they saw finish; the controller
combines that. pytest loads this module at every start, so it imports nothing of this package
before there are such runs.
"""

from __future__ import annotations

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
    runs = config.stash.setdefault(_RUNS, {})
    in_flight = [run for run, is_finished in runs.items() if not is_finished]
    if not in_flight:
        return []
    from testvibe_async import RunRef  # noqa: PLC0415 - see above
    from testvibe_async.runner.outcome import wait_command  # noqa: PLC0415 - see above

    places: dict[tuple[str, str], list[RunRef]] = {}
    for server, project, run_id in in_flight:
        ref = RunRef(server=server, project=project, run_id=run_id)
        places.setdefault((server, project), []).append(ref)
    count = len(in_flight)
    what, them = ("this", "it") if count == 1 else (f"these {count}", "them")
    return [
        f"Nothing was cancelled: {what} may still be running. To wait for {them}:",
        *(f"  {wait_command(refs)}" for refs in places.values()),
    ]
