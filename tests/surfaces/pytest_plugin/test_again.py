"""Features that run again: attempts, and reruns by another plugin."""

import pytest
from attrs import evolve

from tests.support import inner_pytest
from tests.support.inner_pytest import Inner, shows
from tests.surfaces.reports.items import ITEMS, run_ref
from testvibe_async import OperationNotFoundError
from testvibe_async.pytest_plugin.results import Result
from testvibe_async.reports.entries import Entry
from testvibe_async.testing import Emulator, Fault

TWICE = "--testvibe-attempts=2"


def test_a_flaky_feature_passes_and_is_named(inner: Inner, service: Emulator) -> None:
    """A feature whose second run passes is a passed test; summary, report and files name both."""
    inner_pytest.fail_first_run(service)
    artifacts = "--testvibe-artifacts=found"
    result = inner.feature("Checkout", TWICE, "--junitxml=report.xml", artifacts)

    first, second = service.runs
    flaky = f"FLAKY testvibe::Checkout - run {first} failed, run {second} passed"
    shows(result, "=* TestVibe features that are flaky =*", flaky, passed=1)
    assert result.ret == pytest.ExitCode.OK
    properties = {each.get("name"): each.get("value") for each in inner.report().iter("property")}
    assert properties == {
        "testvibe_run": str(second),
        "testvibe_earlier_runs": f"run {first} failed",
        "testvibe_flaky": "true",
    }
    assert inner.report().get("failures") == "0"
    folders = [each.name for each in (inner.pytester.path / "found").iterdir()]
    assert folders == [f"Checkout run {first}"]


def test_a_feature_that_fails_in_all_attempts(inner: Inner, service: Emulator) -> None:
    """The report of a failure says which attempt it was, and names the runs before."""
    result = inner.feature("Returns", "--testvibe-attempts=3")

    first, second, third = service.runs
    shows(
        result,
        f"run {third} failed: 1 of 1 test failed (attempt 3), on *",
        "Its runs before:",
        f"  run {first} failed: 1 of 1 test failed*",
        f"  run {second} failed: 1 of 1 test failed*",
        failed=2,
    )
    result.stdout.no_fnmatch_line("*FLAKY*")


def test_an_attempt_without_an_outcome_names_the_runs_before(
    inner: Inner, service: Emulator
) -> None:
    """An attempt that could not be dispatched is an error, which names the run that failed."""
    service.fail("run_feature", Fault.status(403), when=lambda _: len(service.runs) == 1)
    result = inner.feature("Returns", TWICE)

    (first,) = service.runs
    said = ["the service says *403*", "POST *", "Its runs before:", f"  run {first} failed: *"]
    shows(result, *said, failed=1)


class TestReruns:
    """A plugin that runs a failed test again."""

    @pytest.fixture(autouse=True)
    def _rerun(self, inner: Inner) -> None:
        inner.pytester.makeconftest(inner_pytest.RERUN)

    def test_each_is_a_new_run(self, inner: Inner, service: Emulator) -> None:
        """The subtests and the properties are those of the last run."""
        result = inner.feature("Returns", "-v", "--junitxml=report.xml")

        result.assert_outcomes(failed=2)
        assert result.outlines[-1].count("rerun") == 1
        properties = [each.get("value") for each in inner.report().iter("property")]
        assert properties == [str(run_id) for run_id in service.runs]
        assert len(properties) == 2

    def test_a_flaky_feature_leaves_the_failures_of_others(
        self, inner: Inner, service: Emulator
    ) -> None:
        """Of a feature that passes in the end nothing is counted but that, and a failed test is."""
        inner_pytest.fail_first_run(service)
        inner.pytester.makepyfile("def test_own(): assert 0")
        result = inner.feature("Checkout", "--junitxml=report.xml", "-v")

        result.assert_outcomes(failed=1, passed=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert inner.report().get("failures") == "1"

    def test_a_refusal_is_tried_again(self, inner: Inner, service: Emulator) -> None:
        """A dispatch that the service refused is sent again."""
        service.fail("run_feature", Fault.status(404), times=1)
        inner.feature("Login").assert_outcomes(passed=1)
        assert len(service.runs) == 1

    def test_what_nobody_knows_is_not_run_again(self, inner: Inner, service: Emulator) -> None:
        """A dispatch whose answer was lost, and whose run was not found, is not repeated."""
        service.fail("run_feature", Fault.lost())
        service.fail("list_runs", Fault.status(404))
        inner.feature("Login").assert_outcomes(failed=1)
        assert len(service.runs) == 1

    @inner_pytest.endless
    def test_what_goes_on_is_not_run_again(self, inner: Inner, service: Emulator) -> None:
        """A run that outlived the time limit may still be running, so no other is dispatched."""
        inner.feature("Login", time_out=inner_pytest.polled(service)).assert_outcomes(failed=1)
        assert len(service.runs) == 1

    def test_attempts_do_not_multiply(self, inner: Inner, service: Emulator) -> None:
        """A feature that had all of its attempts is not run again by another plugin."""
        inner.feature("Returns", TWICE).assert_outcomes(failed=2)
        assert len(service.runs) == 2


def test_what_may_still_run_is_not_run_again() -> None:
    """All else may be dispatched again, also a run that the service forgot."""
    forgotten = OperationNotFoundError("it is gone", ref=run_ref())
    items = {**ITEMS, "forgotten": evolve(ITEMS["in flight"], error=forgotten)}
    kept = {kind for kind, item in items.items() if not Result(Entry(item=item)).is_settled}
    assert kept == {"in flight", "generation in flight", "not seen", "unseen", "unknown", "dropped"}
