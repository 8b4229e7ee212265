"""A kill at every step of a dispatch, for real: what the same call makes of it in the next process.

The server counts the dispatches. Several processes have one file, also at once.
"""

import asyncio
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import settings_of
from tests.processes.ledger.worker import STEPS
from tests.support.amounts import amount
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

UNANSWERED = {"after the row", "after the first byte", "after the service acted"}
"""The steps of a process that needs no answer."""

SAYS_NOTHING = UNANSWERED | {"before the ref"}
"""The steps after which only a list can tell whether a run began."""

FEATURES = {"run": ["Checkout", "Returns"], "generation": ["Draft", "Other draft"]}


def dispatches(emulator: Emulator, kind: str) -> Counter[str]:
    """Return how often the service began each feature."""
    if kind == "run":
        return Counter(run.feature_name for run in emulator.runs.values())
    names = {feature.id: name for name, feature in emulator.features.items()}
    return Counter(names[each.feature_id] for each in emulator.generations.values())


def add_drafts(emulator: Emulator) -> None:
    """Add the features that have no tests."""
    for name in FEATURES["generation"]:
        emulator.add_feature(name, status="draft")


def _timeout_of(step: str | None) -> float:
    """Return the time-out of a process's requests, in seconds.

    A busy machine must lose no answer that a test needs; and the rows of a process that dies are to
    expire soon, which takes twice its time-out.
    """
    if step is None:
        return 30.0
    return 2.0 if step in UNANSWERED else 5.0


async def _work(emulator: Emulator, ledger: Path, **options: Any) -> list[list[str]] | None:
    """Run a worker to its end, or to the step at which it kills itself; return its results."""
    timeout = _timeout_of(options.get("step"))
    asked = json.dumps({**options, "ledger": str(ledger), "timeout": timeout})
    variables = {**os.environ, **settings_of(emulator)}
    with Process("tests.processes.ledger.worker", asked, env=variables) as process:
        output, errors = await asyncio.to_thread(process.communicate)
    code = process.wait()
    assert code in {0, -9}, errors + output
    return None if code else json.loads(output.splitlines()[-1])


async def _killed_at(
    *steps: str, kind: str, folder: Path, lists: bool = True, is_batch: bool = True
) -> None:
    """Kill one worker after the other, each at its step, and call once more."""
    async with Emulator(scenario=FAST, lists=lists) as emulator:
        add_drafts(emulator)
        options: dict[str, Any] = {"kind": kind, "features": FEATURES[kind], "is_batch": is_batch}
        ledger = folder / f"{'-'.join(steps)}.ledger"
        operation = "run_feature" if kind == "run" else "generate_feature"
        slow = emulator.fail(operation, Fault.delay(1.0))
        if steps[0] != "after the service acted":
            slow.remove()
        for step in steps:
            assert await _work(emulator, ledger, step=step, **options) is None, step
            slow.remove()
        results = await _work(emulator, ledger, **options)
        begun = [dispatches(emulator, kind)[name] for name in FEATURES[kind]]
    assert results is not None
    verdicts = [verdict for verdict, _ in results]
    if kind == "run" and not lists and steps[0] in SAYS_NOTHING:
        assert verdicts[0] not in {"succeeded", "failed"}, steps
        assert begun in ([0, 1], [1, 1]), steps
    else:
        assert (verdicts, begun) == (["succeeded"] * 2, [1, 1]), steps


@pytest.mark.parametrize("is_batch", [True, False], ids=["batch", "one"])
@pytest.mark.parametrize(("kind", "lists"), [("run", True), ("run", False), ("generation", True)])
async def test_a_kill_at_every_step(
    tmp_path: Path, kind: str, *, lists: bool, is_batch: bool
) -> None:
    """Each feature begins exactly once; without lists a run may stay unknown, and never doubles."""
    options: dict[str, Any] = {"kind": kind, "folder": tmp_path, "is_batch": is_batch}
    async with asyncio.TaskGroup() as kills:
        for step in STEPS:
            if is_batch or "outcome" not in step:  # A single call stores no outcome.
                kills.create_task(_killed_at(step, lists=lists, **options))


RESUMES = [
    ("after the row", "during the search"),
    ("after the service acted", "during the search"),
    ("after the row", "after the row"),
    ("after the first byte", "during the search", "during the search"),
    ("before the ref", "before the ref"),
    ("before the ref", "after the outcome"),
]
"""The steps at which one process after the other dies."""


@pytest.mark.parametrize("is_batch", [True, False], ids=["batch", "one"])
@pytest.mark.parametrize("kind", ["run", "generation"])
async def test_a_kill_during_a_resume(tmp_path: Path, kind: str, *, is_batch: bool) -> None:
    """Each feature begins exactly once, however many processes died of it."""
    options: dict[str, Any] = {"kind": kind, "folder": tmp_path, "is_batch": is_batch}
    async with asyncio.TaskGroup() as kills:
        for steps in RESUMES:
            if is_batch or "after the outcome" not in steps:
                kills.create_task(_killed_at(*steps, **options))


@pytest.mark.parametrize(("kind", "lists"), [("run", True), ("run", False), ("generation", False)])
async def test_a_kill_at_many_open_rows(tmp_path: Path, kind: str, *, lists: bool) -> None:
    """Of many features each begins once; without lists none twice, and what is unknown is said."""
    names, ledger = [f"Feature {number}" for number in range(60)], tmp_path / "ledger"
    async with Emulator(scenario=FAST, lists=lists, shop=False, record=False) as emulator:
        for name in names:
            emulator.add_feature(name, status="draft" if kind == "generation" else "generated")
        options: dict[str, Any] = {"kind": kind, "features": names, "max_in_flight": 30}
        assert await _work(emulator, ledger, step="after the first byte", **options) is None
        results = await _work(emulator, ledger, **options)
        dispatched = dispatches(emulator, kind)
    assert results is not None
    begun, verdicts = Counter(dispatched[name] for name in names), Counter(r[0] for r in results)
    if kind == "run" and not lists:
        assert set(begun) <= {0, 1}
        assert begun[0] <= verdicts["unknown"]
        assert verdicts["succeeded"] + verdicts["unknown"] == 60
    else:
        assert (begun, verdicts) == ({1: 60}, {"succeeded": 60})


@pytest.mark.parametrize("is_batch", [True, False], ids=["batch", "one"])
@pytest.mark.parametrize("kind", ["run", "generation"])
async def test_two_processes_at_once(tmp_path: Path, kind: str, *, is_batch: bool) -> None:
    """Both have the same operations, of which the service began one for each feature."""
    for number in range(amount(20, few=3)):
        async with Emulator(scenario=FAST) as emulator:
            add_drafts(emulator)
            options: dict[str, Any] = {"kind": kind, "features": FEATURES[kind]}
            options |= {"is_batch": is_batch, "at": time.time() + 1.0, "max_in_flight": 2}
            ledger = tmp_path / f"{number}.ledger"
            works = (_work(emulator, ledger, **options) for _ in range(2))
            first, second = await asyncio.gather(*works)
            begun = [dispatches(emulator, kind)[name] for name in FEATURES[kind]]
        assert begun == [1, 1]
        assert first == second
        assert first is not None
        assert {verdict for verdict, _ in first} == {"succeeded"}
