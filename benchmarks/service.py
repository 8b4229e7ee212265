"""The service's process: `python -m benchmarks.service SPEC`, started by `trial`.

It serves the emulator until its standard input ends, and takes one command a line, each answered
with one line of JSON: `reset` sets all counts to 0; `report` returns how often each operation was
requested since, and when exactly each run ended, by `time.monotonic`, a clock that all processes
share on Linux.

It must not be the bottleneck: requests are counted and not kept, and the garbage collector rarely
runs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import Any

from benchmarks.spec import Load, Spec
from testvibe_async.testing import Emulator, Outcome, Scenario

__all__: list[str] = []

FEATURES = 50
WARM_UP = "Warm-up"
WARM_UP_SECONDS = 0.1
GHERKIN = """Feature: {name}

  Scenario: Valid user signs in
    Given the site is open
    When the user signs in
    Then the account page shows

  Scenario: Wrong password is refused
    Given the site is open
    When the user signs in with a wrong password
    Then an error shows

  Scenario: Locked-out user sees why
    Given the site is open
    When a locked-out user signs in
    Then an error shows
"""


class Control:
    """The commands that the trial sends to the service's process."""

    def __init__(self, emulator: Emulator, features: list[int], warm_up: int) -> None:
        self._emulator = emulator
        self._features = features
        self._warm_up = warm_up
        self._counts: dict[str, int] = {}
        self._cpu = 0.0
        self._runs_before = 0

    def describe(self) -> dict[str, Any]:
        """Return where the service is and what it can run."""
        return {
            "url": self._emulator.url,
            "api_key": self._emulator.api_key,
            "project": self._emulator.project_id,
            "features": self._features,
            "warm_up": self._warm_up,
        }

    def reset(self) -> dict[str, Any]:
        """Set all counts to 0."""
        self._counts = self._count()
        self._runs_before = len(self._emulator.runs)
        self._cpu = time.process_time()
        return {}

    def report(self) -> dict[str, Any]:
        """Return what happened since the last reset."""
        cpu = time.process_time() - self._cpu
        zero = time.monotonic() - self._emulator.now()
        runs = list(self._emulator.runs.values())[self._runs_before :]
        return {
            "requests": {name: n - self._counts[name] for name, n in self._count().items()},
            "cpu": cpu,
            "most_in_flight": self._emulator.max_active_runs,
            "runs": [[run.id, zero + run.finished_at, run.verdict] for run in runs],
        }

    def _count(self) -> dict[str, int]:
        operations = ("*", "run_feature", "get_run", "list_runs")
        return {operation: self._emulator.count(operation) for operation in operations}


def _emulator(load: Load) -> Emulator:
    scenario = Scenario(
        seed=load.seed,
        run_queue=(0, 0),
        run_duration=load.durations,
        failing_runs=0.2,
        outcomes={WARM_UP: Outcome(run_duration=WARM_UP_SECONDS)},
    )
    return Emulator(shop=False, scenario=scenario, lists=load.lists, record=False)


async def _serve(load: Load) -> None:
    async with _emulator(load) as emulator:
        names = [f"Feature {number}" for number in range(FEATURES)]
        features = [emulator.add_feature(name, GHERKIN.format(name=name)).id for name in names]
        control = Control(emulator, features, emulator.add_feature(WARM_UP).id)
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        _write(control.describe())
        commands = {"reset": control.reset, "report": control.report}
        while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
            _write(commands[command]())


def _write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(Spec.from_json(sys.argv[1]).load))
