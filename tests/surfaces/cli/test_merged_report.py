"""A report of a batch that covers its reruns, in every format that other tools read."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from junitparser.xunit2 import JUnitXml

from tests.surfaces.cli.conftest import text_of
from tests.surfaces.reports.parsed import parsed
from tests.surfaces.reports.test_ctrf import VALIDATOR
from tests.surfaces.reports.test_junit import validate
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call

FEATURES, FLAKY = 60, 10


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    async with Emulator(shop=False, scenario=Scenario(failing_runs=0)) as emulator:
        for number in range(FEATURES):
            emulator.add_feature(f"Feature {number}")
        yield emulator


@pytest.mark.usefixtures("signed_in")
async def test_a_batch_of_sixty_and_its_ten_reruns(
    emulator: Emulator, call: Call, tmp_path: Path
) -> None:
    """Each feature is there once; what ran again has both attempts, and is flaky everywhere."""

    def dispatched(document: Any) -> Any:
        emulator.finish_run(document["runId"], "failed")
        return document

    rule = emulator.fail("run_feature", Fault.edit(dispatched), times=FLAKY)
    assert (await call("run --all --wait")).code == 1
    rule.remove()
    assert (await call("run --failed --wait")).code == 0
    assert len(emulator.runs) == FEATURES + FLAKY
    paths = [tmp_path / name for name in ("junit.xml", "ctrf.json", "page.html")]
    # The last batch is the rerun, and is reported as part of the batch that it reran.
    ended = await call("report", *(word for path in paths for word in ("--report", str(path))))
    assert ended.code == 0
    assert "Batch 1 " in ended.output
    junit, ctrf, page = (text_of(path) for path in paths)

    validate(junit)
    suites: Any = JUnitXml.fromstring(junit.encode())
    assert (len(suites), suites.tests, suites.failures, suites.errors) == (FEATURES, FEATURES, 0, 0)
    assert len(list(ET.fromstring(junit).iter("flakyFailure"))) == FLAKY  # noqa: S314 - ours

    document = json.loads(ctrf)
    VALIDATOR.validate(document)
    tests = document["results"]["tests"]
    runs = [each[id_] for test in tests for id_, each in executions(test)]
    assert document["results"]["summary"]["flaky"] == FLAKY
    assert len({test["testId"] for test in tests}) == FEATURES
    assert len(set(runs)) == FEATURES + FLAKY

    lines = parsed(page).all("details", "operation")
    badges = Counter("data-flaky" in line.attributes for line in lines)
    assert badges == {True: FLAKY, False: FEATURES - FLAKY}
    assert len(parsed(page).all("details", "attempt")) == FLAKY


def executions(test: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return a test and its earlier attempts, each with the name of its id."""
    earlier = [("attemptId", each) for each in test.get("retryAttempts", ())]
    return [*earlier, ("executionId", test)]
