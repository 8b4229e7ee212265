"""The stability of features, by their repeated runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testvibe_async import BatchItem, ConfigError, Journal, Run, Verdict
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.stability import (
    Stability,
    Steadiness,
    deciding,
    stability_of,
    stop_if_decided,
)
from testvibe_async.testing import Fault, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from testvibe_async import Project
    from testvibe_async.testing import Emulator

REPEATED = BatchSpec(kind="run", repeat=10)


SCENARIO = Scenario(seed=36, failing_runs=0.3)
"""By this seed, 3 of the first 10 runs of Checkout fail: the 3rd, the 5th and the 10th."""


async def repeated(
    project: Project, spec: BatchSpec = REPEATED, journal: Journal | None = None
) -> list[BatchItem[Run]]:
    async with spec.start(project, ["Checkout"], timeout=None, journal=journal) as batch:
        async for _ in batch:
            stop_if_decided(spec, batch)
    return batch.items


async def test_flaky_by_seed(emulator: Emulator, project: Project) -> None:
    """Ten runs, one by one, of which three fail: the verdict says how far that can be trusted."""
    (found,) = stability_of(await repeated(project))
    assert (found.verdict, found.passed, found.failed) == (Steadiness.FLAKY, 7, 3)
    assert str(found) == "flaky: 3 of 10 runs failed, so between 11% and 60% fail (95% sure)"
    assert len(emulator.runs) == 10
    starts = [run.started_at for run in emulator.runs.values()]
    ends = [run.finished_at for run in emulator.runs.values()]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


async def test_refused_key_and_outage_do_not_count(emulator: Emulator, project: Project) -> None:
    """A run that is refused is missing, not failed; an outage is waited for."""
    emulator.fail("run_feature", Fault.status(401), skip=3, times=1)
    outage = emulator.fail("*", Fault.status(503), when=lambda _: 100 < emulator.now() < 160)
    items = await repeated(project)
    (found,) = stability_of(items)
    assert outage.hits > 0
    assert (found.passed + found.failed, found.not_counted, found.not_run) == (9, 1, 0)
    assert found.verdict is Steadiness.FLAKY
    assert str(found).endswith("; not counted, without a result: 1")
    assert [each.verdict for each in items].count(Verdict.ERROR) == 1
    assert [each.verdict for each in deciding(items)] == [
        each.verdict for each in items if each.verdict is not Verdict.ERROR
    ]


async def test_stops_once_decided(emulator: Emulator, project: Project) -> None:
    """After a pass and a failure nothing can make it stable or broken."""
    spec = BatchSpec(kind="run", repeat=10, stops_when_decided=True)
    (found,) = stability_of(await repeated(project, spec))
    assert found.verdict is Steadiness.FLAKY
    assert found.counted == len(emulator.runs) < 10
    assert (found.not_run, found.not_counted) == (10 - found.counted, 0)


async def test_resumed(emulator: Emulator, project: Project, tmp_path: Path) -> None:
    """A journal keeps each run, so that a batch that was stopped runs only the rest."""
    path = tmp_path / "repeated.journal"
    async with Journal(path) as journal:
        spec = BatchSpec(kind="run", repeat=10, stops_when_decided=True)
        before = stability_of(await repeated(project, spec, journal))[0]
    async with Journal(path) as journal:
        (found,) = stability_of(await repeated(project, REPEATED, journal))
    assert before.counted < 10
    assert (found.passed, found.failed, len(emulator.runs)) == (7, 3, 10)


@pytest.mark.parametrize(
    ("passed", "failed", "verdict", "low", "high"),
    [
        (0, 0, Steadiness.UNKNOWN, 0, 1),
        (10, 0, Steadiness.STABLE, 0, 0.259),
        (100, 0, Steadiness.STABLE, 0, 0.03),  # the rule of three
        (0, 10, Steadiness.BROKEN, 0.741, 1),
        (7, 3, Steadiness.FLAKY, 0.108, 0.603),
        (99, 1, Steadiness.FLAKY, 0.002, 0.054),
    ],
)
def test_confidence(passed: int, failed: int, verdict: Steadiness, low: float, high: float) -> None:
    """The fewer runs, the wider the bounds."""
    found = Stability(feature="Checkout", passed=passed, failed=failed)
    assert found.verdict is verdict
    assert found.failure_rate == pytest.approx((low, high), abs=0.001)
    assert found.to_dict()["verdict"] == verdict


async def test_each_configuration_has_its_own_verdict(project: Project) -> None:
    """What is flaky on one device may be stable on another."""
    items = await project.run_features(
        ["Checkout", "Returns"], config=["Default", "Mobile"], repeat=2
    )
    assert [(each.feature, each.config, each.counted) for each in stability_of(items)] == [
        (feature, config, 2)
        for feature in ("Checkout", "Returns")
        for config in ("Default", "Mobile")
    ]


def test_repeat_is_a_count(project: Project) -> None:
    """Zero runs show nothing."""
    with pytest.raises(ConfigError, match="repeat"):
        project.run_features(["Checkout"], repeat=0)
