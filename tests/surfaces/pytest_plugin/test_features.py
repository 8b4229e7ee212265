"""Features as tests: names, results and reports of items, and what is said without a result."""

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.support.ci_systems import WICKED, obeyed, wicked
from tests.support.inner_pytest import FEATURES, SHOP, Inner, endless, ids_told, polled, shows
from testvibe_async._core.batch import workers
from testvibe_async._core.dispatch import dispatcher
from testvibe_async.testing import Emulator, Fault, Outcome

NEVER = 99
"""More faults than there are: what the service's answers end needs no time-out."""

NO_DIRECTORY = "Re: ../turns/??"


def failing(service: Emulator, faults: dict[str, Fault]) -> list[str | None]:
    """Add faults, and return the list of their operations, to which each that happens is added."""
    seen: list[str | None] = []

    def note(request: Any) -> bool:
        seen.append(request.operation)
        return True

    for operation, fault in faults.items():
        service.fail(operation, fault, when=note)
    return seen


def test_each_feature_is_an_item(inner: Inner, service: Emulator) -> None:
    """Every feature that has tests is run once, and the item has the run's result and its time.

    A failure has the run, each failing test with its error, and the log's end, without a traceback.
    The JUnit report has the same.
    """
    service.add_feature("Reminders", kind="suggestion", status="draft")
    result = inner.features("-v", "--durations=3", "--junitxml=report.xml")

    run_id = next(run.id for run in service.runs.values() if run.feature_name == "Returns")
    shows(
        result,
        "testvibe: project * of http://127.0.0.1:*",
        *("testvibe::Login PASSED *", "testvibe::Checkout PASSED *", "testvibe::Returns FAILED *"),
        *("_* Feature: Returns [[]Returns works[]] _*", "no refund"),
        "_* Feature: Returns _*",
        f"run {run_id} failed: 1 of 1 test failed, on https://shop.acme.example",
        "30.00s call     testvibe::*",
        f"FAILED testvibe::Returns - run {run_id} failed: 1 of 1 test failed*",
        passed=2,
        failed=2,
    )
    assert result.outlines.count("no refund") == 1
    for unwanted in (
        "The end of its log:",
        "*Captured*",
        "*.py:*",
        "*Traceback*",
        "*(attempt*",
        "*Its runs before*",
    ):
        result.stdout.no_fnmatch_line(unwanted)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert service.count("run_feature") == 3
    assert service.count("list_features") == 1

    cases = {(case.get("classname"), case.get("name")): case for case in inner.report()}
    own = {("testvibe", name) for name in FEATURES}
    assert set(cases) == own | {(f"testvibe.{name}", f"{name} works") for name in FEATURES}
    assert inner.report().get("tests") == str(len(inner.report()))
    assert float(cases["testvibe", "Login"].get("time", 0)) == pytest.approx(30, abs=1)
    assert 0 < float(cases["testvibe.Login", "Login works"].get("time", 0)) < 30
    messages = {
        place: each.get("message", "")
        for place, case in cases.items()
        for each in case.findall("failure")
    }
    assert messages.pop(("testvibe.Returns", "Returns works")) == "no refund"
    assert messages.pop(("testvibe", "Returns")).startswith("run ")
    assert not messages
    properties = {each.get("value") for each in inner.report().iter("property")}
    assert properties == set(map(str, service.runs))


def test_the_tests_in_a_run_are_subtests(inner: Inner, service: Emulator) -> None:
    """A test that neither passed nor failed is a failure if it has an error, else it is skipped."""
    ends = {"A": ("failed", "no refund"), "B": ("passed", None), "C": ("skipped", None)}
    ends["D"] = ("timedOut", "too late")
    tests = [{"name": name, "status": end[0], "error": end[1]} for name, end in ends.items()]
    service.fail("get_run", Fault.edit(lambda run: {**run, "tests": tests}))
    result = inner.feature("Returns", "-v", "-rA")

    result.stdout.fnmatch_lines_random(
        [
            "SUBFAILED[[]A[]] testvibe::Returns - no refund",
            "testvibe::Returns SUBPASSED[[]B[]] *",
            "SUBSKIPPED[[]C[]] *calls it 'skipped'*",
            "SUBFAILED[[]D[]] testvibe::Returns - too late",
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "tests", "shown"), [([], False, 1), ([], True, 0), (["--testvibe-log"], True, 1)]
)
def test_the_log_is_shown_where_no_test_says_why(
    inner: Inner, service: Emulator, arguments: list[str], *, tests: bool, shown: int
) -> None:
    """The end of the log is in the report of a run without a failed test, or if asked for."""
    if not tests:
        service.fail("get_run", Fault.edit(lambda run: {**run, "tests": None}))
    result = inner.feature("Returns", *arguments)
    assert result.outlines.count("The end of its log:") == shown


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
        """They are in a directory for each run, of a plain name, which the report names."""
        service.add_feature(NO_DIRECTORY)
        result = inner.features(f"--testvibe-artifacts={tmp_path / 'found'}")

        ids = {run.feature_name: run.id for run in service.runs.values()}
        names = {f"Returns run {ids['Returns']}", f"Re_ .._turns___ run {ids[NO_DIRECTORY]}"}
        assert {path.name for path in (tmp_path / "found").iterdir()} == names
        assert list((tmp_path / "found").rglob("*.zip"))
        result.stdout.fnmatch_lines(["Its artifacts:", "  *Returns run *.zip"])

    def test_a_lost_artifact_does_not_hide_the_failure(
        self, inner: Inner, service: Emulator
    ) -> None:
        """If they can't be downloaded, the report also says why."""
        service.fail("get_run_artifacts", Fault.status(404))
        said = ["no refund", "Its artifacts could not be downloaded:", "  *404*"]
        shows(inner.feature("Returns", "--testvibe-artifacts=found"), *said, failed=2)


@endless
class TestUnobserved:
    """Items without an outcome of the feature, whose run takes an hour."""

    def test_a_time_out_leaves_the_run_going(self, inner: Inner, service: Emulator) -> None:
        """The item fails and says that the run goes on; the summary says how to attach to it."""
        result = inner.feature("Login", time_out=polled(service))

        (run_id,) = service.runs
        shows(
            result,
            f"run {run_id}: still * after * s of waiting",
            "=* TestVibe operations that may still be running =*",
            "Nothing was cancelled: this may still be running. To wait for it:",
            f"  testvibe-async wait {run_id} --project {service.project_id} --server *",
            failed=1,
        )
        assert ids_told(result.outlines) == {run.id for run in service.active_runs()} == {run_id}

    def test_what_was_not_seen_is_not_said_to_go_on(self, inner: Inner, service: Emulator) -> None:
        """Where polls fail, a line says so, and the item since when the run was not seen."""

        def fail_later(document: Any) -> Any:
            for operation in ("get_run", "list_runs"):
                service.fail(operation, Fault.status(503))
            return document

        for operation in ("get_run", "list_runs"):
            service.fail(operation, Fault.edit(fail_later), times=1)
        result = inner.feature("Login", time_out=polled(service))

        (run_id,) = service.runs
        away = "testvibe: the service does not answer, trying again: *"
        shows(result, away, f"run {run_id}: not seen since * UTC*", failed=1)
        result.stdout.no_fnmatch_line("*is still*")


def test_nothing_from_the_service_is_obeyed(inner: Inner, service: Emulator) -> None:
    """Names, errors and logs command no terminal and no CI system, there or in a JUnit report."""
    text = f"\x1b[31mred\x1b[0m \x1b]0;title\x07{WICKED}"
    service.add_feature(text.replace("\r", ""))
    for operation in ("get_run", "list_runs", "diagnose_run"):
        service.fail(operation, Fault.edit(lambda document: wicked(document, text)))
    result = inner.features("-v", "-rA", "--junitxml=report.xml", "--showlocals")

    assert result.parseoutcomes()["failed"] >= 2
    for shown in (result.stdout.str(), "\n".join(inner.report().itertext())):
        assert "# #vso[" in shown
        assert not obeyed(shown)
        assert "\u202e" not in shown


@pytest.mark.parametrize(
    ("operation", "status", "times"),
    [("run_feature", 400, len(FEATURES)), ("get_run", 200, NEVER)],
)
def test_no_line_of_a_refusal_is_obeyed(  # noqa: PLR0913 - parameters
    *,
    inner: Inner,
    service: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    status: int,
    times: int,
) -> None:
    """Nor do the words of an error, be it refused or unreadable."""
    # A bare page proves nothing: what was sent is looked for, also while the client closes.
    for module in (workers, dispatcher):
        monkeypatch.setattr(module, "CLOSE_SECONDS", 0.1)
    seen = failing(service, {operation: Fault.body(b"::error::a ##vso[x]", status=status)})
    result = inner.features("-rA", time_out=lambda: len(seen) >= times)

    assert result.ret != 0
    assert "# #vso[" in result.stdout.str()
    assert not obeyed(result.stdout.str())
