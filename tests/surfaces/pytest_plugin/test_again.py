"""Features that run again: attempts, and reruns by another plugin."""

import pytest

from tests.support import inner_pytest
from tests.support.inner_pytest import Inner, shows
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
    runs = f"run {first} failed, run {second} passed"
    assert properties == {"testvibe_run": str(second), "testvibe_flaky": runs}
    assert inner.report().get("failures") == "0"
    folders = [each.name for each in (inner.pytester.path / "found").iterdir()]
    assert folders == [f"Checkout run {first}"]


class TestReruns:
    """A plugin that runs a failed test again."""

    @pytest.fixture(autouse=True)
    def _rerun(self, inner: Inner) -> None:
        inner.pytester.makeconftest(inner_pytest.RERUN)

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
