"""A kill at every step of a dispatch, for real: what the next process makes of it."""

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import settings_of
from tests.processes.journal.worker import STEPS
from tests.support.processes import Process
from testvibe_async.testing import Emulator, Fault, Scenario

pytestmark = pytest.mark.timeout(300)

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

SAYS_NOTHING = {"after the intent", "after the first byte", "after the service acted"} | {
    "before the ref"
}
"""The steps after which only a list can tell whether a run began."""


def dispatches(emulator: Emulator, kind: str) -> Counter[str]:
    """Return how often the service began each feature."""
    if kind == "run":
        return Counter(run.feature_name for run in emulator.runs.values())
    names = {feature.id: name for name, feature in emulator.features.items()}
    return Counter(names[each.feature_id] for each in emulator.generations.values())


async def _work(emulator: Emulator, journal: Path, **options: Any) -> tuple[int, list[str]]:
    """Run a worker to its end, or to the step at which it kills itself; return its verdicts."""
    asked = json.dumps({**options, "journal": str(journal)})
    variables = {**os.environ, **settings_of(emulator)}
    with Process("tests.processes.journal.worker", asked, env=variables) as process:
        output, errors = await asyncio.to_thread(process.communicate)
    code = process.wait()
    assert code <= 0, errors + output
    return code, [] if code else json.loads(output.splitlines()[-1])


async def _killed_at(step: str, kind: str, *, lists: bool, folder: Path) -> None:
    """Kill a worker at a step, and resume."""
    async with Emulator(scenario=FAST, lists=lists) as emulator:
        features = ["Checkout", "Returns"] if kind == "run" else ["Draft", "Other draft"]
        if kind == "generation":
            for name in features:
                emulator.add_feature(name, status="draft")
        journal = folder / f"{step}.journal"
        operation = "run_feature" if kind == "run" else "generate_feature"
        slow = emulator.fail(operation, Fault.delay(1.0))
        if step != "after the service acted":
            slow.remove()
        code, _ = await _work(emulator, journal, step=step, kind=kind, features=features)
        slow.remove()
        _, verdicts = await _work(emulator, journal, kind=kind)
        begun = [dispatches(emulator, kind)[name] for name in features]
    assert code == -9, step
    if kind == "run" and not lists and step in SAYS_NOTHING:
        assert verdicts == ["unknown", "succeeded"], step
        assert begun in ([0, 1], [1, 1]), step
    else:
        assert (verdicts, begun) == (["succeeded"] * 2, [1, 1]), step


@pytest.mark.parametrize(("kind", "lists"), [("run", True), ("run", False), ("generation", True)])
async def test_a_kill_at_every_step(tmp_path: Path, kind: str, *, lists: bool) -> None:
    """Each feature begins exactly once; without lists a run may stay unknown, and never doubles."""
    kills = (_killed_at(each, kind, lists=lists, folder=tmp_path) for each in STEPS)
    await asyncio.gather(*kills)


@pytest.mark.parametrize(("kind", "lists"), [("run", True), ("run", False), ("generation", False)])
async def test_a_kill_at_many_open_intents(tmp_path: Path, kind: str, *, lists: bool) -> None:
    """Of many features each begins once; without lists none twice, and what is unknown is said."""
    names, journal = [f"Feature {number}" for number in range(60)], tmp_path / "journal"
    async with Emulator(scenario=FAST, lists=lists, shop=False, record=False) as emulator:
        for name in names:
            emulator.add_feature(name, status="draft" if kind == "generation" else "generated")
        options: dict[str, Any] = {"kind": kind, "features": names, "max_in_flight": 30}
        code, _ = await _work(emulator, journal, step="after the first byte", **options)
        _, ended = await _work(emulator, journal, **options)
        dispatched = dispatches(emulator, kind)
    assert code == -9
    begun, verdicts = Counter(dispatched[name] for name in names), Counter(ended)
    if kind == "run" and not lists:
        assert set(begun) <= {0, 1}
        assert begun[0] <= verdicts["unknown"]
        assert verdicts["succeeded"] + verdicts["unknown"] == 60
    else:
        assert (begun, verdicts) == ({1: 60}, {"succeeded": 60})
