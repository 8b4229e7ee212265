"""Features that run again: flaky ones pass and are named, and failures name all their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.support.inner_pytest import fail_first_run
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator

pytest_plugins = ["pytester"]


def test_a_flaky_feature_passes_and_is_named(inner: Inner, service: Emulator) -> None:
    """A feature whose second run passes is a passed test, and the summary names both runs."""
    fail_first_run(service)
    result = inner.features("--testvibe-select=Checkout", "--testvibe-attempts=2")

    first, second = service.runs
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "=* TestVibe features that are flaky =*",
            f"FLAKY testvibe::Checkout - run {first} failed, run {second} passed",
        ]
    )


def test_the_properties_say_that_it_is_flaky(inner: Inner, service: Emulator) -> None:
    """The JUnit report has the last run, those before, and that the feature is flaky."""
    fail_first_run(service)
    inner.features("--testvibe-select=Checkout", "--testvibe-attempts=2", "--junitxml=report.xml")

    first, second = service.runs
    report = ET.parse(inner.pytester.path / "report.xml")  # noqa: S314 - written above
    properties = {each.get("name"): each.get("value") for each in report.iter("property")}
    assert properties == {
        "testvibe_run": str(second),
        "testvibe_earlier_runs": f"run {first} failed",
        "testvibe_flaky": "true",
    }
    assert [suite.get("failures") for suite in report.iter("testsuite")] == ["0"]


def test_a_feature_that_fails_in_all_attempts(inner: Inner, service: Emulator) -> None:
    """The report of a failure says which attempt it was, and names the runs before."""
    result = inner.features("--testvibe-select=Returns", "--testvibe-attempts=3")

    first, second, third = service.runs
    result.stdout.fnmatch_lines(
        [
            f"run {third} failed: 1 of 1 test failed (attempt 3), on *",
            "Its runs before:",
            f"  run {first} failed: 1 of 1 test failed*",
            f"  run {second} failed: 1 of 1 test failed*",
        ]
    )
    result.stdout.no_fnmatch_line("*FLAKY*")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_one_attempt_by_default(inner: Inner, service: Emulator) -> None:
    """Without the option nothing runs again, and no report speaks of attempts."""
    result = inner.features("--testvibe-select=Returns")

    assert len(service.runs) == 1
    result.stdout.no_fnmatch_line("*(attempt*")
    result.stdout.no_fnmatch_line("*Its runs before*")


def test_an_attempt_without_an_outcome_names_the_runs_before(
    inner: Inner, service: Emulator
) -> None:
    """An attempt that could not be dispatched is an error, which names the run that failed."""
    service.fail("run_feature", Fault.status(403), when=lambda _: len(service.runs) == 1)
    result = inner.features("--testvibe-select=Returns", "--testvibe-attempts=2")

    (first,) = service.runs
    result.stdout.fnmatch_lines(
        ["the service says *403*", "POST *", "Its runs before:", f"  run {first} failed: *"]
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_artifacts_of_each_run_that_failed(inner: Inner, service: Emulator) -> None:
    """The artifacts of a flaky feature are those of its run that failed."""
    fail_first_run(service)
    inner.features(
        "--testvibe-select=Checkout", "--testvibe-attempts=2", "--testvibe-artifacts=found"
    )

    folders = [each.name for each in (inner.pytester.path / "found").iterdir()]
    assert folders == [f"Checkout run {min(service.runs)}"]
