"""Features as tests: names, results and reports of items."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from tests.support.inner_pytest import ENDLESS, SHOP
from testvibe_async._batch import workers
from testvibe_async._dispatch import dispatcher
from testvibe_async.testing import Fault, Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator

pytest_plugins = ["pytester"]

NO_DIRECTORY = "Re: ../turns/??"


def test_each_feature_is_an_item(inner: Inner, service: Emulator) -> None:
    """Every feature that has tests is run once, and the item has the run's result."""
    result = inner.features("-v")

    result.assert_outcomes(passed=2, failed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(
        [
            "testvibe: project * of http://127.0.0.1:*",
            "testvibe::Login PASSED *",
            "testvibe::Checkout PASSED *",
            "testvibe::Returns FAILED *",
        ]
    )
    assert service.count("run_feature") == 3
    assert service.count("list_features") == 1


def test_a_failure_describes_the_run(inner: Inner, service: Emulator) -> None:
    """The report has the run, each failing test with its error, and the log's end, no traceback."""
    result = inner.features("--testvibe-select=Returns")

    (run_id,) = service.runs
    result.stdout.fnmatch_lines(
        [
            "_* Feature: Returns [[]Returns works[]] _*",
            "no refund",
            "_* Feature: Returns _*",
            f"run {run_id} failed: 1 of 1 test failed, on https://shop.acme.example",
            "Returns works",
            "  no refund",
            "The end of its log:",
            "*1 failed",
            f"FAILED testvibe::Returns - run {run_id} failed: 1 of 1 test failed*",
        ]
    )
    result.stdout.no_fnmatch_line("*Captured*")
    result.stdout.no_fnmatch_line("*.py*")
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_tests_in_a_run_are_subtests(inner: Inner, service: Emulator) -> None:
    """Each test of a run is reported as a subtest of the feature."""
    service.add_feature(
        "Cart",
        "Feature: Cart\n  Scenario: Filled\n    Given it\n  Scenario: Emptied\n    Given it\n",
    )
    result = inner.features("-v", "--testvibe-select=Cart", "--testvibe-select=Returns")

    result.stdout.fnmatch_lines_random(
        [
            "testvibe::Cart SUBPASSED[[]Filled[]] *",
            "testvibe::Cart SUBPASSED[[]Emptied[]] *",
            "testvibe::Returns SUBFAILED[[]Returns works[]] *",
        ]
    )
    result.assert_outcomes(passed=1, failed=2)


@pytest.mark.parametrize(
    ("word", "error", "shown"),
    [
        ("skipped", None, "SUBSKIPPED[[]Returns works[]] *the service calls it 'skipped'*"),
        ("timedOut", "too late", "SUBFAILED[[]Returns works[]] testvibe::Returns - too late"),
    ],
)
def test_a_test_may_end_in_the_runners_own_words(
    inner: Inner, service: Emulator, word: str, error: str | None, shown: str
) -> None:
    """A test that neither passed nor failed is a failure if it has an error, else it is skipped."""

    def rename(run: Any) -> Any:
        for test in run["tests"] or ():
            test |= {"status": word, "error": error}
        return run

    service.fail("get_run", Fault.edit(rename))

    result = inner.features("-v", "-rA", "--testvibe-select=Returns")

    result.stdout.fnmatch_lines([f"*{shown}*"])


def test_a_run_may_fail_without_a_test_that_did(inner: Inner, service: Emulator) -> None:
    """A run that could not be executed fails its item with the service's status."""

    def abort(run: Any) -> Any:
        over: dict[str, Any] = {"status": "aborted", "tests": [], "log": None, "siteUrl": None}
        return {**run, **over} if run["finishedUtc"] else run

    service.fail("get_run", Fault.edit(abort))

    result = inner.features("--testvibe-select=Login")

    (run_id,) = service.runs
    result.stdout.fnmatch_lines(
        [f"FAILED testvibe::Login - run {run_id} aborted: over with an undocumented status*"]
    )
    result.assert_outcomes(failed=1)


def test_each_configuration_is_an_item_of_its_own(inner: Inner, service: Emulator) -> None:
    """Each feature runs with each configuration, which is part of the item's node id."""
    result = inner.features(
        "-v", "--testvibe-config=Mobile", "--testvibe-config=Firefox", "--testvibe-select=Login"
    )

    result.stdout.fnmatch_lines_random(
        ["testvibe::Login[[]Mobile[]] PASSED *", "testvibe::Login[[]Firefox[]] PASSED *"]
    )
    assert {run.config for run in service.runs.values()} == {"Mobile", "Firefox"}


def test_the_site_can_be_chosen(inner: Inner, service: Emulator) -> None:
    """The runs test the given site."""
    inner.features("--testvibe-site-url=https://next.example", "--testvibe-select=Login")

    (run,) = service.runs.values()
    assert run.site_url == "https://next.example"


def test_another_project_can_be_chosen(inner: Inner, service: Emulator) -> None:
    """The option takes precedence over the environment."""
    project = service.add_project("Blog")
    service.add_feature("Comments", project=project)

    result = inner.features("-v", f"--testvibe-project={project.id}")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["testvibe::Comments PASSED *"])


class TestWithoutTests:
    """A feature whose tests were never generated."""

    def test_it_fails_where_it_was_named(self, inner: Inner, service: Emulator) -> None:
        """If it was selected by name, it fails with the service's error."""
        service.add_feature("Gift cards", status="draft")

        result = inner.features("--testvibe-select=Gift cards")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["FAILED testvibe::Gift cards - the service says *Only generated features can run*"]
        )

    def test_it_is_generated_on_demand(self, inner: Inner, service: Emulator) -> None:
        """With --testvibe-generate it is generated, then run."""
        service.add_feature("Gift cards", status="draft")

        result = inner.features("--testvibe-select=Gift cards", "--testvibe-generate")

        result.assert_outcomes(passed=1)
        assert len(service.generations) == 1

    def test_a_suggestion_is_no_feature_yet(self, inner: Inner, service: Emulator) -> None:
        """A suggestion of the service is not collected."""
        service.add_feature("Reminders", kind="suggestion", status="draft")

        result = inner.features("--collect-only", "-q")

        result.stdout.no_fnmatch_line("*Reminders*")
        result.stdout.fnmatch_lines(["testvibe::Login", "testvibe::Checkout", "testvibe::Returns"])


class TestArtifacts:
    """The artifacts of a failed run."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with a failing feature whose name is no directory name."""
        outcomes = {**SHOP.outcomes, NO_DIRECTORY: Outcome(run_status="failed")}
        return {"scenario": evolve(SHOP, outcomes=outcomes)}

    def test_those_of_failures_are_downloaded(
        self, inner: Inner, service: Emulator, tmp_path: Path
    ) -> None:
        """They are stored in a directory for each run, which the report names."""
        result = inner.features(f"--testvibe-artifacts={tmp_path / 'found'}")

        (failed,) = (run.id for run in service.runs.values() if run.status == "failed")
        assert [path.name for path in (tmp_path / "found").iterdir()] == [f"Returns run {failed}"]
        assert list((tmp_path / "found").rglob("*.zip"))
        result.stdout.fnmatch_lines(["Its artifacts:", f"  *Returns run {failed}*.zip"])

    def test_their_directory_has_a_plain_name(self, inner: Inner, service: Emulator) -> None:
        """For any name of a feature, they stay in one directory below the given one."""
        service.add_feature(NO_DIRECTORY)

        inner.features("--testvibe-artifacts=found", "--testvibe-select=Re:*", "-q")

        (directory,) = (inner.pytester.path / "found").iterdir()
        (run_id,) = service.runs
        assert directory.name == f"Re_ .._turns___ run {run_id}"

    def test_a_lost_artifact_does_not_hide_the_failure(
        self, inner: Inner, service: Emulator
    ) -> None:
        """If they can't be downloaded, the report also says why."""
        service.fail("get_run_artifacts", Fault.status(404))

        result = inner.features("--testvibe-artifacts=found", "--testvibe-select=Returns")

        result.stdout.fnmatch_lines(["  no refund", "Its artifacts could not be downloaded: *404*"])


class TestUnobserved:
    """Items without an outcome of the feature."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with runs that take an hour."""
        return {"scenario": ENDLESS}

    def test_a_time_out_leaves_the_run_going(self, inner: Inner, service: Emulator) -> None:
        """The item fails and says that the run goes on; the summary says how to attach to it."""
        result = inner.features("--testvibe-select=Login", "--testvibe-timeout=1")

        (run_id,) = service.runs
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                f"run {run_id}: still * after * s of waiting",
                "=* TestVibe operations that may still be running =*",
                "Nothing was cancelled: this may still be running. To wait for it:",
                f"  testvibe-async wait {run_id} --project {service.project_id} --server *",
            ]
        )
        assert len(service.active_runs()) == 1

    def test_what_was_not_seen_is_not_said_to_go_on(self, inner: Inner, service: Emulator) -> None:
        """Where polls fail at the time-out, the item says since when the run was not seen."""

        def fail_later(document: Any) -> Any:
            for operation in ("get_run", "list_runs"):
                service.fail(operation, Fault.status(503))
            return document

        service.fail("get_run", Fault.edit(fail_later), times=1)
        service.fail("list_runs", Fault.edit(fail_later), times=1)
        result = inner.features("--testvibe-select=Login", "--testvibe-timeout=1")

        (run_id,) = service.runs
        result.stdout.fnmatch_lines([f"run {run_id}: not seen since * UTC*"])
        result.stdout.no_fnmatch_line("*is still*")

    def test_a_dispatch_that_hangs_is_given_up(
        self, inner: Inner, service: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some seconds after the time-out nobody knows of a dispatch that was not answered."""
        for module in (workers, dispatcher):
            monkeypatch.setattr(module, "CLOSE_SECONDS", 0.1)
        service.fail("run_feature", Fault.hang())
        result = inner.features("--testvibe-select=Login", "--testvibe-timeout=0.3")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["it may have started: the answer to its dispatch was lost; *"])

    @pytest.mark.parametrize(
        ("operation", "fault", "said"),
        [
            ("run_feature", Fault.status(409), "*; --testvibe-generate generates its tests*"),
            ("run_feature", Fault.status(401), "*; * the API key: it came from TESTVIBE_API_KEY*"),
            ("run_feature", Fault.status(503), "it may have started: *503*; *look at the feature*"),
            ("*", Fault.reset(), "the service was not reachable: *connection was lost*"),
        ],
        ids=["no tests", "key", "unknown", "down"],
    )
    def test_it_is_said_once_what_to_do(
        self, inner: Inner, service: Emulator, operation: str, fault: Fault, said: str
    ) -> None:
        """The first line has the reason and the next step, and no cause repeats the reason."""
        service.fail(operation, fault)
        result = inner.features("--testvibe-select=Login", "--testvibe-timeout=1")

        result.stdout.fnmatch_lines([said])
        text = "\n".join(result.outlines).partition("= short test summary")[0]
        assert text.count("told to answer") <= 1
        assert "because: \n" not in text

    @pytest.mark.parametrize("project", [None, "Acme Shop"])
    def test_a_list_that_hangs_is_given_up(
        self,
        inner: Inner,
        service: Emulator,
        monkeypatch: pytest.MonkeyPatch,
        project: str | None,
    ) -> None:
        """So is a list that is not answered, in the same time."""
        if project is not None:
            monkeypatch.setenv("TESTVIBE_PROJECT", project)
        service.fail("*", Fault.hang())
        result = inner.features("--testvibe-timeout=0.3")

        assert result.ret != pytest.ExitCode.OK
        said = "\n".join([*result.outlines, *result.errlines])
        assert "because: \n" not in said
        assert re.search("the list of [a-z]+ did not come within 0.3 s", said)

    def test_what_does_not_exist_fails(self, inner: Inner, service: Emulator) -> None:
        """An unknown name fails its item with the service's answer."""
        result = inner.features("--testvibe-select=Chekout")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["FAILED testvibe::Chekout - the service says *no feature *Chekout*"]
        )
        assert not service.runs

    def test_a_cause_is_reported(self, inner: Inner, service: Emulator) -> None:
        """The cause of an error is reported with it."""
        service.fail("generate_feature", Fault.status(403))
        service.add_feature("Gift cards", status="draft")
        service.fail("run_feature", Fault.lost())
        service.fail("list_runs", Fault.status(404))

        result = inner.features("--testvibe-select=Login")

        result.stdout.fnmatch_lines(["*connection was lost (Connection reset by peer)*"])


def test_a_terminal_obeys_nothing_from_the_service(inner: Inner, service: Emulator) -> None:
    """Colours and other escapes are removed from all text of the service."""
    red = "\x1b[31mred\x1b[0m \x1b]0;title\x07"
    service.add_feature(f"A {red}")

    def paint(run: Any) -> Any:
        test: dict[str, Any] = {"name": red, "status": "failed", "error": f"{red}\n{red}"}
        return {**run, "status": "failed", "tests": [test], "siteUrl": red, "log": f"{red}\n{red}"}

    service.fail("get_run", Fault.edit(paint))

    result = inner.features("-v", "-rA", "--testvibe-select=A*")

    assert "\x1b" not in result.stdout.str()
    result.stdout.fnmatch_lines(["testvibe::A red FAILED *", "_* Feature: A red [[]red[]] _*"])


def test_what_goes_wrong_elsewhere_is_shown_as_it_is(inner: Inner, service: Emulator) -> None:
    """The error of another plugin has its traceback, as in any other test."""

    class Broken:
        def pytest_runtest_call(self, item: pytest.Item) -> None:
            raise ZeroDivisionError(f"broken at {item.name}")

    result = inner.features("--testvibe-select=Login", plugins=(Broken(),))

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError: broken at Login", "*test_features.py:*"])
    assert len(service.runs) == 1


def test_the_time_is_that_of_the_run(inner: Inner, service: Emulator) -> None:
    """An item's duration is that of its run at the service."""
    assert service.runs == {}
    result = inner.features("--durations=3", "--testvibe-select=Login")

    result.stdout.fnmatch_lines(["30.00s call     testvibe::Login"])
