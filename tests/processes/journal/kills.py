"""Kills of a process with a journal, and how the next one goes on: for tests, and as a command.

    python -m tests.processes.journal.kills [--features 500] [--kills 5] [--seeds 20] [--no-lists]

aims each kill at a moment when intents are open, and prints for each seed how often each feature
ran.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import field, frozen

from tests.support.processes import Process
from testvibe_async.testing import Emulator, Fault, Scenario

FAST = Scenario(
    run_queue=(0.01, 0.03),
    run_duration=(0.1, 0.3),
    failing_runs=0,
    generation_warm_up=(0.05, 0.05),
    generation_section=(0.02, 0.04),
    verification=(0.02, 0.02),
    failing_generations=0,
)
"""Everything succeeds, in a third of a second."""


@frozen
class Ended:
    """How a worker ended."""

    code: int
    verdicts: list[str] = field(factory=list[str])
    seconds: float = 0.0


async def work(emulator: Emulator, journal: Path, **options: Any) -> Ended:
    """Run a worker to its end, or to the step at which it kills itself."""
    began = time.monotonic()
    with _started(emulator, journal, **options) as process:
        output, errors = await asyncio.to_thread(process.communicate)
    code = process.wait()
    if code > 0:
        raise AssertionError(errors + output)
    verdicts: list[str] = []
    if code == 0:
        verdicts = json.loads(output.splitlines()[-1])["verdicts"]
    return Ended(code, verdicts, time.monotonic() - began)


def _started(emulator: Emulator, journal: Path, **options: Any) -> Process:
    options |= {
        "server": emulator.url,
        "api_key": emulator.api_key,
        "project": emulator.project_id,
        "journal": str(journal),
    }
    return Process("tests.processes.journal.worker", json.dumps(options), env=os.environ)


async def kill_at_an_intent(
    emulator: Emulator, journal: Path, *, after: int, delay: float, **options: Any
) -> None:
    """Run a worker, and kill it a moment after it has announced so many intents."""
    with _started(emulator, journal, announces=after + 3, **options) as process:
        assert process.stdout is not None
        for _ in range(after):
            if not await asyncio.to_thread(process.stdout.readline):
                break
        await asyncio.sleep(delay)
        process.kill()


def dispatches(emulator: Emulator, kind: str) -> Counter[str]:
    """Return how often the service began each feature."""
    if kind == "run":
        return Counter(run.feature_name for run in emulator.runs.values())
    names = {feature.id: name for name, feature in emulator.features.items()}
    return Counter(names[each.feature_id] for each in emulator.generations.values())


async def one_step(step: str, kind: str, *, lists: bool, folder: Path) -> list[str]:
    """Kill a worker at a step and go on; return a row of the table of crash points."""
    async with Emulator(scenario=FAST, lists=lists) as emulator:
        features = ["Checkout", "Returns"] if kind == "run" else ["Draft", "Other draft"]
        if kind == "generation":
            for name in features:
                emulator.add_feature(name, status="draft")
        journal = folder / f"{step} {kind} {lists}.journal"
        operation = "run_feature" if kind == "run" else "generate_feature"
        slow = emulator.fail(operation, Fault.delay(1.0))
        if step != "after the service acted":
            slow.remove()
        first = await work(emulator, journal, step=step, kind=kind, features=features)
        slow.remove()
        found = sum(dispatches(emulator, kind).values())
        ended = await work(emulator, journal, kind=kind)
        begun = dispatches(emulator, kind)
        return [
            step,
            kind,
            "with lists" if lists else "without",
            f"killed ({first.code})",
            str(found),
            ", ".join(ended.verdicts),
            ", ".join(f"{begun[name]}" for name in features),
        ]


async def many(  # noqa: PLR0913 - each by name
    seed: int, *, features: int, kills: int, lists: bool, kind: str, folder: Path
) -> dict[str, Any]:
    """Work on a large batch with kills aimed at open intents; return what came of it."""
    choose = random.Random(seed)  # noqa: S311 - spreads kills, guards nothing
    async with Emulator(scenario=FAST, lists=lists, shop=False, record=False) as emulator:
        names = [f"Feature {number}" for number in range(features)]
        for name in names:
            emulator.add_feature(name, status="draft" if kind == "generation" else "generated")
        journal = folder / f"{seed} {kind} {lists}.journal"
        options = {"kind": kind, "features": names, "max_in_flight": 100}
        for _ in range(kills):
            await kill_at_an_intent(
                emulator,
                journal,
                after=choose.randrange(1, max(2, features // (kills + 1))),
                delay=choose.uniform(0, 0.01),
                **options,
            )
        ended = await work(emulator, journal, **options)
        begun = dispatches(emulator, kind)
        return {
            "seed": seed,
            "runs a feature": dict(Counter(begun[name] for name in names)),
            "verdicts": dict(Counter(ended.verdicts)),
            "seconds of the last": round(ended.seconds, 1),
        }


def main() -> None:
    """Play the seeds that were asked for."""
    parser = ArgumentParser()
    parser.add_argument("--features", type=int, default=500)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--kind", default="run", choices=["run", "generation"])
    parser.add_argument("--no-lists", action="store_true")
    asked = parser.parse_args()

    async def play() -> None:
        with TemporaryDirectory() as folder:
            for seed in range(asked.seeds):
                print(
                    await many(
                        seed,
                        features=asked.features,
                        kills=asked.kills,
                        lists=not asked.no_lists,
                        kind=asked.kind,
                        folder=Path(folder),
                    ),
                    flush=True,
                )

    asyncio.run(play())


if __name__ == "__main__":
    main()
