"""What did not run is never green: no features, none that can run, no fixture, no outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from tests.support.inner_pytest import SHOP
from testvibe_async.testing import Fault, Outcome

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator

pytest_plugins = ["pytester"]

PLAIN = "def test_plain(): pass"

XFAIL = "[pytest]\ntestvibe_xfail = *: the bank is closed"


class TestNoFeatures:
    """A project whose list of features is empty, or holds nothing but suggestions."""

    @pytest.mark.parametrize("rows", [[], [{"id": 7, "name": "Wishes", "kind": "suggestion"}]])
    def test_it_is_an_error(
        self, inner: Inner, service: Emulator, rows: list[dict[str, Any]]
    ) -> None:
        """The collection fails with one sentence, although another test would pass."""
        service.fail("list_features", Fault.edit(lambda _: rows))
        inner.pytester.makepyfile(PLAIN)
        result = inner.features()

        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["no feature matches '[*]': the project has none"])
        result.stdout.no_fnmatch_line("*Traceback*")


def test_a_selection_asks_for_features(inner: Inner, service: Emulator) -> None:
    """What the command line selects runs without --testvibe too: it would be green unseen."""
    inner.pytester.makepyfile(PLAIN)
    quick = "--testvibe-poll-interval=0.02"
    selected = inner("--testvibe-select=Returns", quick)
    undone = inner("--testvibe-select=Returns", "--no-testvibe", quick)

    selected.assert_outcomes(failed=2, passed=1)
    undone.assert_outcomes(passed=1)
    assert len(service.runs) == 1


class TestUnableToRun:
    """Features without tests to run."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with generations that take long."""
        outcomes = {**SHOP.outcomes, "Gift cards": Outcome(generation_duration=1e6)}
        return {"scenario": evolve(SHOP, outcomes=outcomes)}

    @pytest.mark.parametrize("status", ["failed", "cancelled", "generating"])
    @pytest.mark.parametrize("others", ["passed", "none"])
    def test_without_a_generation_that_succeeded(
        self, inner: Inner, service: Emulator, status: str, others: str
    ) -> None:
        """A feature whose generation failed, was cancelled or is in progress fails its test."""
        service.add_feature("Gift cards", status=status)
        select = ["--testvibe-select=Gift*"]
        select += ["--testvibe-select=Log*"] if others == "passed" else []
        result = inner.features(*select)

        result.assert_outcomes(failed=1, passed=len(select) - 1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            ["FAILED testvibe::Gift cards - *Only generated features can run*"]
        )

    def test_drafts_are_skipped_beside_others(self, inner: Inner, service: Emulator) -> None:
        """A draft is skipped without a dispatch where other features run."""
        service.add_feature("Gift cards", status="draft")
        result = inner.features("-rs", "--testvibe-select=*g*")

        result.assert_outcomes(passed=1, skipped=1)
        result.stdout.fnmatch_lines(["SKIPPED [[]1[]] testvibe: *never generated*"])
        assert result.ret == pytest.ExitCode.OK
        assert service.count("run_feature") == 1

    def test_drafts_are_not_skipped_where_the_others_are_deselected(
        self, inner: Inner, service: Emulator
    ) -> None:
        """--lf counts what it leaves to run, not what was collected."""
        service.add_feature("Gift cards", status="draft")
        inner.features("-k", "Gift")
        result = inner.features("--lf")

        result.assert_outcomes(failed=1, deselected=3)

    @pytest.mark.parametrize("extra", [["--testvibe-select=Gift*"], ["-k", "Gift"]])
    def test_drafts_alone_fail(self, inner: Inner, service: Emulator, extra: list[str]) -> None:
        """Where nothing but drafts is left to run they are not skipped: each fails."""
        service.add_feature("Gift cards", status="draft")
        inner.pytester.makepyfile(PLAIN.replace("plain", "plain_gift"))
        result = inner.features(*extra)

        result.assert_outcomes(failed=1, passed=1, deselected=3 if "-k" in extra else 0)
        assert result.ret == pytest.ExitCode.TESTS_FAILED

    def test_drafts_beside_what_is_skipped_by_rule_fail(
        self, inner: Inner, service: Emulator
    ) -> None:
        """A feature that a rule skips does not run, so drafts beside it are not skipped."""
        service.add_feature("Gift cards", status="draft")
        inner.pytester.makeini("[pytest]\ntestvibe_skip = Login: not today")
        result = inner.features("--testvibe-select=*g*")

        result.assert_outcomes(failed=1, skipped=1)


class TestMarkerWithoutFixture:
    """A test that is marked, and does not request the fixture."""

    def test_it_is_an_error(self, inner: Inner, service: Emulator) -> None:
        """It would pass without any run: it is an error that names the fixture."""
        inner.pytester.makepyfile(
            """
            import pytest

            @pytest.mark.testvibe("Login")
            def test_login(): ...

            def test_plain(): ...
            """
        )
        result = inner()

        result.assert_outcomes(errors=1, passed=1)
        result.stdout.fnmatch_lines(["*testvibe_run*"])
        assert not service.runs

    def test_one_that_is_skipped_is_none(self, inner: Inner) -> None:
        """A test that does not run promises nothing."""
        inner.pytester.makepyfile(
            """
            import pytest

            @pytest.mark.skip(reason="not today")
            @pytest.mark.testvibe("Login")
            def test_login(): ...
            """
        )
        inner().assert_outcomes(skipped=1)


class TestExpectedFailures:
    """`xfail` expects a failed run, and nothing else."""

    @pytest.mark.parametrize(
        ("operation", "status"), [("run_feature", 401), ("run_feature", 404), ("get_run", 503)]
    )
    def test_an_outage_is_not_expected(
        self, inner: Inner, service: Emulator, operation: str, status: int
    ) -> None:
        """A feature that has no outcome fails, whatever rule expects its failure."""
        service.fail(operation, Fault.status(status))
        service.fail("list_runs", Fault.status(503))
        inner.pytester.makeini(XFAIL)
        result = inner.features("--testvibe-select=Returns", "--testvibe-timeout=0.5")

        result.assert_outcomes(failed=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED

    def test_an_unknown_dispatch_is_not_expected(self, inner: Inner, service: Emulator) -> None:
        """A dispatch whose answer was lost fails its test, and says that it may have started."""
        service.fail("run_feature", Fault.lost())
        service.fail("list_runs", Fault.status(404))
        inner.pytester.makeini(XFAIL)
        result = inner.features("--testvibe-select=Returns")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["FAILED testvibe::Returns - it may have started: *"])

    def test_a_cancelled_run_is_not_expected(self, inner: Inner, service: Emulator) -> None:
        """A run that was cancelled neither passed nor failed: its test fails in these words."""

        def cancel(run: Any) -> Any:
            return {**run, "status": "cancelled"} if run["finishedUtc"] else run

        service.fail("get_run", Fault.edit(cancel))
        inner.pytester.makeini(XFAIL)
        result = inner.features("--testvibe-select=Returns")

        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["FAILED testvibe::Returns - run * cancelled: *"])

    def test_a_mark_of_a_hook_is_the_same(self, inner: Inner, service: Emulator) -> None:
        """A mark that a conftest adds expects no more than a rule does."""
        service.fail("run_feature", Fault.status(403), when=lambda r: "Login" in str(r.feature))
        inner.pytester.makeconftest(
            """
            import pytest

            def pytest_collection_modifyitems(items):
                for item in items:
                    item.add_marker(pytest.mark.xfail(reason="known"))
            """
        )
        result = inner.features("-k", "not Checkout")

        result.assert_outcomes(failed=1, xfailed=1, deselected=1)

    def test_a_condition_that_does_not_hold_expects_nothing(
        self, inner: Inner, service: Emulator
    ) -> None:
        """The subtests of a feature are expected to fail only if the feature is."""
        inner.pytester.makeconftest(
            """
            import pytest

            def pytest_collection_modifyitems(items):
                for item in items:
                    item.add_marker(pytest.mark.xfail(False, reason="not here"))
            """
        )
        result = inner.features("--testvibe-select=Returns")

        result.assert_outcomes(failed=2)
        assert len(service.runs) == 1

    def test_a_test_that_gets_no_run_is_not_expected(self, inner: Inner, service: Emulator) -> None:
        """The fixture's error is no failure that a test's own `xfail` expects."""
        service.fail("run_feature", Fault.status(403))
        inner.pytester.makepyfile(
            """
            import pytest

            @pytest.mark.xfail(reason="known")
            @pytest.mark.testvibe("Returns")
            def test_returns(testvibe_run):
                assert testvibe_run.is_success
            """
        )
        result = inner("--testvibe-poll-interval=0.02")

        result.assert_outcomes(errors=1)


class TestPassedWithoutTests:
    """Runs that passed, and executed nothing."""

    @pytest.mark.parametrize(
        "tests",
        [[], None, [{"name": "Returns works", "status": "skipped", "durationMs": 0}]],
        ids=["empty", "none", "skipped"],
    )
    def test_a_feature_fails(self, inner: Inner, service: Emulator, tests: Any) -> None:
        """Its test fails, and says that no test was executed; `xfail` does not expect that."""
        counts = {"total": len(tests or ()), "passed": 0, "failed": 0, "other": len(tests or ())}
        service.fail("get_run", Fault.edit(lambda run: {**run, "tests": tests, "summary": counts}))
        inner.pytester.makeini(XFAIL)
        result = inner.features("--testvibe-select=Login")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["FAILED testvibe::Login - run * passed* no test*"])

    def test_a_count_of_tests_is_enough(self, inner: Inner, service: Emulator) -> None:
        """A service that only counts the tests that passed executed some."""

        def count(run: Any) -> Any:
            return {**run, "tests": None, "summary": {"total": 2, "passed": 2, "failed": 0}}

        service.fail("get_run", Fault.edit(count))
        inner.features("--testvibe-select=Login").assert_outcomes(passed=1)

    def test_a_test_with_the_fixture_is_an_error(self, inner: Inner, service: Emulator) -> None:
        """A test that requests such a run gets an error in place of it."""
        service.fail("get_run", Fault.edit(lambda run: {**run, "tests": [], "summary": None}))
        inner.pytester.makepyfile(
            """
            import pytest

            @pytest.mark.testvibe("Login")
            def test_login(testvibe_run):
                assert testvibe_run.is_success
            """
        )
        inner("--testvibe-poll-interval=0.02").assert_outcomes(errors=1)


def test_a_cancelled_generation_is_said_to_be(inner: Inner, service: Emulator) -> None:
    """A feature whose generation was cancelled meanwhile says so."""
    service.add_feature("Gift cards", status="draft")

    def cancel(document: Any) -> Any:
        service.finish_generation(document["requestId"], "cancelled")
        return document

    service.fail("generate_feature", Fault.edit(cancel), times=1)
    result = inner.features("--testvibe-select=Gift*", "--testvibe-generate")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*cancelled*"])
