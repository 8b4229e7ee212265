"""What did not run is never green: no features, none that can run, no fixture, no outcome."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from tests.support.inner_pytest import SHOP, Inner, sent, shows
from testvibe_async.testing import Emulator, Fault, Outcome

PLAIN = "def test_plain(): pass"
SUGGESTION = {"id": 7, "name": "Wishes", "kind": "suggestion"}

EXPECTED = """
import pytest

@pytest.mark.xfail(reason="known")
@pytest.mark.testvibe("Returns")
def test_returns(testvibe_run):
    assert testvibe_run.is_success
"""

XFAIL = 'xfail(reason="the bank is closed")'


@pytest.mark.parametrize("rows", [[], [SUGGESTION]], ids=["empty", "suggestions"])
def test_no_features_are_an_error(
    inner: Inner, service: Emulator, rows: list[dict[str, Any]]
) -> None:
    """The collection fails with one sentence, although another test would pass."""
    service.fail("list_features", Fault.edit(lambda _: rows))
    inner.pytester.makepyfile(PLAIN)
    result = inner.features()

    assert result.ret == pytest.ExitCode.INTERRUPTED
    shows(result, "no feature matches '[*]': the project has none", errors=1)


def test_a_named_suggestion_says_that_it_is_one(inner: Inner, service: Emulator) -> None:
    """A feature that the service only suggests can't run, and its test says why."""
    service.add_feature("Wishes", kind="suggestion", status="draft")
    shows(inner("testvibe::Wishes"), "It is only a suggestion of the service", failed=1)


def test_an_option_without_effect_is_named(inner: Inner, service: Emulator) -> None:
    """Options of runs are in vain if no test has one, and the session says so."""
    inner.pytester.makepyfile(PLAIN)
    said = "testvibe: without --testvibe there is no effect of --testvibe-attempts"
    inner("--testvibe-attempts=3").stdout.fnmatch_lines([said])
    inner("--testvibe-attempts=3", "--no-testvibe").stdout.no_fnmatch_line("*no effect of*")
    inner.marked('"Login"')
    inner("--testvibe-attempts=3").stdout.no_fnmatch_line("*no effect of*")
    assert len(service.runs) == 1


class TestUnableToRun:
    """Features without tests to run."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with generations that take long."""
        outcomes = {**SHOP.outcomes, "Gift cards": Outcome(generation_duration=1e6)}
        return {"scenario": evolve(SHOP, outcomes=outcomes)}

    @pytest.mark.parametrize(
        ("status", "arguments", "outcomes"),
        [
            ("failed", ["--testvibe-select=Gift*"], {"failed": 1}),
            ("cancelled", ["--testvibe-select=Gift*"], {"failed": 1}),
            ("generating", ["--testvibe-select=Gift*"], {"failed": 1}),
            ("failed", ["--testvibe-select=*g*"], {"failed": 1, "passed": 1}),
            ("generating", ["--testvibe-select=*g*"], {"failed": 1, "passed": 1}),
            ("draft", ["--testvibe-select=*g*"], {"passed": 1, "skipped": 1}),
            ("draft", ["--testvibe-select=Gift*"], {"failed": 1}),
            ("draft", ["--testvibe-select=Gift cards"], {"failed": 1}),
            ("draft", ["-k", "Gift"], {"failed": 1, "deselected": 3}),
        ],
    )
    def test_without_tests(
        self,
        inner: Inner,
        service: Emulator,
        status: str,
        arguments: list[str],
        outcomes: dict[str, int],
    ) -> None:
        """A feature without tests fails; a draft is skipped, not dispatched, where others run."""
        service.add_feature("Gift cards", status=status)
        result = inner.features("-rsf", *arguments)

        assert bool(result.ret) == ("failed" in outcomes)
        said = "FAILED testvibe::Gift cards - *Only generated features *"
        if "skipped" in outcomes:
            said = "SKIPPED [[]1[]] testvibe: *never generated*"
        shows(result, said, **outcomes)
        assert service.count("run_feature") == outcomes.get("passed", 0) + outcomes.get("failed", 0)

    def test_drafts_beside_what_does_not_run_fail(self, inner: Inner, service: Emulator) -> None:
        """--lf counts what it leaves to run, and a skipped feature does not run."""
        service.add_feature("Gift cards", status="draft")
        inner.features("-k", "Gift")
        inner.features("--lf").assert_outcomes(failed=1, deselected=3)
        inner.mark("skip", condition='item.name == "Login"')
        inner.features("--testvibe-select=*g*").assert_outcomes(failed=1, skipped=1)


class TestExpectedFailures:
    """`xfail` expects a failed run, and nothing else."""

    @pytest.mark.parametrize(
        ("operation", "fault", "said"),
        [
            ("run_feature", Fault.status(401), "*401*"),
            ("run_feature", Fault.status(404), "*404*"),
            ("run_feature", Fault.lost(), "it may have started: *"),
            ("get_run", Fault.status(503), "run * not seen*"),
        ],
        ids=["refused", "not found", "unknown", "outage"],
    )
    def test_an_outage_is_not_expected(
        self, inner: Inner, service: Emulator, operation: str, fault: Fault, said: str
    ) -> None:
        """A feature or a test without an outcome fails, whatever mark expects its failure."""
        service.fail(operation, fault)
        service.fail("list_runs", Fault.status(404 if operation == "run_feature" else 503))
        inner.mark(XFAIL)
        inner.pytester.makepyfile(EXPECTED)
        result = inner.feature("Returns", time_out=sent(service, 9))
        lines = [f"FAILED testvibe::Returns - {said}", f"ERROR *::test_returns - Failed: {said}"]
        shows(result, *lines, failed=1, errors=1)
        result.stdout.no_fnmatch_line("*suite.py*")

    @pytest.mark.parametrize("status", ["cancelled", "aborted"])
    def test_another_end_is_not_expected(
        self, inner: Inner, service: Emulator, status: str
    ) -> None:
        """A run that neither passed nor failed fails its test with the service's status."""

        def end(run: Any) -> Any:
            return {**run, "status": status} if run["finishedUtc"] else run

        service.fail("get_run", Fault.edit(end))
        inner.mark(XFAIL)
        inner.pytester.makepyfile(EXPECTED)
        said = f"FAILED testvibe::Returns - run * {status}: finished with an undocumented status*"
        shows(inner.feature("Returns"), said, failed=3)

    @pytest.mark.parametrize(
        ("mark", "arguments", "outcomes"),
        [
            ('xfail(reason="known")', [], {"xfailed": 2}),
            ('xfail(reason="known")', ["--runxfail"], {"failed": 2}),
            ('xfail(False, reason="not here")', [], {"failed": 2}),
            ('skip(reason="known")', [], {"skipped": 1}),
        ],
    )
    def test_pytests_marks_are_those_of_tests(
        self,
        inner: Inner,
        service: Emulator,
        mark: str,
        arguments: list[str],
        outcomes: dict[str, int],
    ) -> None:
        """A failed run and its tests are expected if the mark holds; a skipped one is not sent."""
        inner.mark(mark)
        result = inner.feature("Returns", "-vrxs", *arguments)

        result.assert_outcomes(**outcomes)
        assert len(service.runs) == (0 if "skipped" in outcomes else 1)
        if "failed" not in outcomes:
            assert result.ret == pytest.ExitCode.OK
            result.stdout.fnmatch_lines(["* known*"])

    def test_an_expected_failure_that_passes_is_reported(
        self, inner: Inner, service: Emulator
    ) -> None:
        """With strict_xfail it fails, as any other test does; its subtests keep their results."""
        inner.pytester.makeini("[pytest]\nstrict_xfail = true")
        inner.mark(XFAIL)
        shows(inner.feature("Login"), "*XPASS(strict)* the bank is closed", failed=1)
        assert len(service.runs) == 1


class TestPassedWithoutTests:
    """Runs that passed, and executed nothing."""

    @pytest.mark.parametrize(
        "tests",
        [[], None, [{"name": "Returns works", "status": "skipped", "durationMs": 0}]],
        ids=["empty", "none", "skipped"],
    )
    def test_a_feature_fails(self, inner: Inner, service: Emulator, tests: Any) -> None:
        """Its test fails, and says that no test was executed; `xfail` does not expect that.

        A test that requests such a run gets an error in place of it.
        """
        counts = {"total": len(tests or ()), "passed": 0, "failed": 0, "other": len(tests or ())}
        service.fail("get_run", Fault.edit(lambda run: {**run, "tests": tests, "summary": counts}))
        inner.mark(XFAIL)
        inner.marked('"Login"', body="assert testvibe_run.is_success")
        result = inner.feature("Login", "--junitxml=report.xml")
        shows(result, "FAILED testvibe::Login - run * passed* no test*", failed=1, errors=1)
        assert [each.get("value") for each in inner.report().iter("property")] == ["214"]

    def test_a_count_of_tests_is_enough(self, inner: Inner, service: Emulator) -> None:
        """A service that only counts the tests that passed executed some."""
        counted = {"tests": None, "summary": {"total": 2, "passed": 2, "failed": 0}}
        service.fail("get_run", Fault.edit(lambda run: {**run, **counted}))
        inner.feature("Login").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("feature", "days", "outcomes", "said"),
    [
        ("Returns", 3, {"xfailed": 2}, "XFAIL testvibe::Returns - quarantined until * (Ann): slow"),
        ("Returns", -1, {"failed": 2}, "*the quarantine of 'Returns' expired: fix it and remove*"),
        ("Checkout", -1, {"failed": 1}, "*the quarantine of 'Checkout' expired: fix it*"),
        ("Checkout", 3, {"failed": 1}, "*unexpected pass of 'Checkout': remove it from the quar*"),
    ],
    ids=["expected", "expired", "expired, passed", "unexpected pass"],
)
def test_a_quarantine_expects_a_failure_for_some_days(  # noqa: PLR0913 - each by name
    *, inner: Inner, service: Emulator, feature: str, days: int, outcomes: Any, said: str
) -> None:
    """A feature in quarantine is an xfail with owner and date; after the last day it fails."""
    until = datetime.now(UTC) + timedelta(days=days)
    inner.pytester.path.joinpath(".testvibe-async.toml").write_text(
        f'[[quarantine]]\nfeature = "{feature}"\nreason = "slow"\nowner = "Ann"\n'
        f"until = {until:%Y-%m-%d}\nstrict = true\n",
        encoding="utf-8",
    )
    result = inner.feature(feature, "-vrx", "--junitxml=report.xml")

    shows(result, said, **outcomes)
    assert inner.report().get("failures") == str(outcomes.get("failed", 0))
    assert len(service.runs) == 1
