"""A session with features: dispatched together, reported as they finish, stopped like tests."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree as ET

import pytest

from tests.support.amounts import amount
from tests.support.inner_pytest import ENDLESS, FEATURES, end_together, fail_first_run, refs_told
from testvibe_async.pytest_plugin.options import read_options
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator

pytest_plugins = ["pytester"]


def order(result: pytest.RunResult) -> list[str]:
    """Return the features in the order in which they were reported."""
    lines = [line for line in result.outlines if line.startswith("testvibe::")]
    return list(dict.fromkeys(line.split()[0].removeprefix("testvibe::") for line in lines))


class Completions:
    """A plugin for the inner pytest that finishes one run after the other.

    It finishes the first when all are dispatched, and each other when the one before is reported.
    """

    status: Literal["passed", "failed"] = "passed"

    def __init__(self, service: Emulator, *names: str, dispatched: int = 3) -> None:
        self._service = service
        self._names = list(names)
        self._last: str | None = None
        self._undispatched = dispatched
        service.fail("run_feature", Fault.edit(self._dispatched))

    def _dispatched(self, document: Any) -> Any:
        self._undispatched -= 1
        if self._undispatched == 0:
            self._end_next()
        return document

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid == f"testvibe::{self._last}" and report.when == "teardown":
            self._end_next()

    def _end_next(self) -> None:
        self._last = self._names.pop(0) if self._names else None
        for run in self._service.active_runs():
            if run.feature.name == self._last:
                self._service.finish_run(run.id, self.status)


class CtrlC:
    """A plugin for the inner pytest that sends Ctrl-C some time after a test."""

    def __init__(self, service: Emulator, node_id: str) -> None:
        self._service = service
        self._node_id = node_id

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid == self._node_id and report.when == "teardown":
            while self._service.count("run_feature") < len(FEATURES):
                time.sleep(0.01)
            main = threading.main_thread().ident
            threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()


class TestOrder:
    """Features whose runs finish in another order than that of their dispatch."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with runs that take an hour, unless they are finished early."""
        return {"scenario": ENDLESS}

    def test_each_is_reported_when_it_is_over(self, inner: Inner, service: Emulator) -> None:
        """All are dispatched before the first wait; then the first to finish is next."""
        completions = Completions(service, "Checkout", "Returns", "Login")

        result = inner.features("-v", plugins=(completions,))

        result.assert_outcomes(passed=3)
        assert order(result) == ["Checkout", "Returns", "Login"]
        assert service.max_active_runs == 3

    def test_other_tests_run_meanwhile(self, inner: Inner, service: Emulator) -> None:
        """Runs are dispatched before the first test of any kind, and features are reported last."""
        inner.pytester.makepyfile(
            f"""
            import urllib.request
            def test_plain():
                request = urllib.request.Request(
                    "{service.url}/api/v1/ops/projects/{service.project_id}/runs",
                    headers={{"Authorization": "Bearer {service.api_key}"}},
                )
                while urllib.request.urlopen(request).read().count(b"runId") < 3:
                    pass
            """
        )
        completions = Completions(service, "Checkout", "Returns", "Login")

        result = inner.features("-v", plugins=(completions,))

        result.assert_outcomes(passed=4)
        result.stdout.fnmatch_lines(["*::test_plain PASSED *", "testvibe::Checkout PASSED *"])

    def test_one_that_is_skipped_does_not_wait(self, inner: Inner, service: Emulator) -> None:
        """A feature that needs no run is reported before any run is finished."""
        inner.pytester.makeini("[pytest]\ntestvibe_skip = Returns: no refunds today")
        completions = Completions(service, "Checkout", "Login", dispatched=2)

        result = inner.features("-v", plugins=(completions,))

        assert order(result) == ["Returns", "Checkout", "Login"]
        assert len(service.runs) == 2


class TestInOrder:
    """Options that depend on the order of the collection, or keep it."""

    def test_stepwise_keeps_the_order(self, inner: Inner, service: Emulator) -> None:
        """--stepwise keeps the order of the collection, because it continues where it stopped."""
        service.add_feature("Slow")

        result = inner.features("-v", "--stepwise", "--testvibe-select=Slow", "--testvibe-select=*")

        assert order(result) == ["Slow", "Login", "Checkout", "Returns"]

    def test_no_more_are_in_flight_than_asked(self, inner: Inner, service: Emulator) -> None:
        """--testvibe-max-in-flight limits the runs in flight."""
        result = inner.features("-v", "--testvibe-max-in-flight=1")

        result.assert_outcomes(passed=2, failed=2)
        assert service.max_active_runs == 1


class TestStopping:
    """Sessions that end before all runs are finished."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with runs that take an hour, unless they are finished early."""
        return {"scenario": ENDLESS}

    @pytest.fixture
    def completions(self, service: Emulator) -> Completions:
        """Let Login fail first, then Returns; Checkout goes on."""
        completions = Completions(service, "Login", "Returns")
        completions.status = "failed"
        return completions

    @pytest.mark.parametrize(
        ("argument", "failed"), [("-x", ["Login"]), ("--maxfail=3", ["Login", "Returns"])]
    )
    def test_pytest_counts_the_failures(
        self,
        inner: Inner,
        service: Emulator,
        completions: Completions,
        argument: str,
        failed: list[str],
    ) -> None:
        """-x and --maxfail count subtests too, as of any test, and stop after the feature."""
        result = inner.features("-v", argument, plugins=(completions,))

        assert order(result) == failed
        result.stdout.fnmatch_lines([f"!* stopping after {2 * len(failed)} failures !*"])
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert service.max_active_runs == 3

    def test_operations_in_flight_are_listed(
        self, inner: Inner, service: Emulator, completions: Completions
    ) -> None:
        """The summary has a command with each run that goes on, and none of the others."""
        result = inner.features("--maxfail=3", plugins=(completions,))

        (going_on,) = service.active_runs()
        assert [ref.key[-1] for ref in refs_told(result.outlines)] == [going_on.id]

    def test_ctrl_c_names_the_runs_in_flight(
        self, inner: Inner, service: Emulator, completions: Completions
    ) -> None:
        """Ctrl-C ends the wait at once, cancels nothing, and says how to wait for the runs."""
        result = inner.features(plugins=(completions, CtrlC(service, "testvibe::Returns")))

        assert result.ret == pytest.ExitCode.INTERRUPTED
        (going_on,) = service.active_runs()
        result.stdout.fnmatch_lines(
            [
                f"  testvibe-async wait {going_on.id} --project *",
                "!* KeyboardInterrupt !*",
            ]
        )

    def test_a_late_id_is_not_lost(self, inner: Inner, service: Emulator) -> None:
        """A dispatch in progress at Ctrl-C is finished, and its ref is reported."""
        inner.pytester.makepyfile("def test_plain(): pass")
        service.fail("run_feature", Fault.delay(0.3))

        result = inner.features(
            plugins=(CtrlC(service, "test_a_late_id_is_not_lost.py::test_plain"),)
        )

        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert len(service.runs) == 3
        assert {ref.key[-1] for ref in refs_told(result.outlines)} == set(service.runs)


def test_the_last_failures_can_be_run_alone(inner: Inner, service: Emulator) -> None:
    """--lf dispatches only the features that failed."""
    inner.features()
    result = inner.features("--lf")

    result.assert_outcomes(failed=2, deselected=2)
    assert service.count("run_feature", feature="Returns") == 2
    assert service.count("run_feature") == 4


def test_nothing_is_dispatched_for_a_plan(inner: Inner, service: Emulator) -> None:
    """--setup-plan dispatches nothing."""
    inner.features("--setup-plan")

    assert service.count("run_feature") == 0


def test_junit_has_the_features(inner: Inner, service: Emulator) -> None:
    """The JUnit report has a case for each feature, with its time, its run, and its failure."""
    junitparser = pytest.importorskip("junitparser")
    inner.features("--junitxml=report.xml")

    (suite,) = junitparser.JUnitXml.fromfile(str(inner.pytester.path / "report.xml"))
    cases = {case.name: case for case in suite}
    assert set(cases) == {"Login", "Checkout", "Returns"}
    assert {case.classname for case in cases.values()} == {"testvibe"}
    assert cases["Login"].is_passed
    assert cases["Login"].time == pytest.approx(30, abs=1)
    no_refund, run_failed = (result.message for result in cases["Returns"].result)
    assert no_refund == "no refund"
    assert run_failed.startswith("run ")
    properties = [case.child(junitparser.Properties) for case in cases.values()]
    assert {p.value for each in properties for p in each} == {str(run) for run in service.runs}


@pytest.mark.parametrize(
    ("name", "shown"), [("Weird [x] :: y", "Weird (x) :: y"), ("New [beta]", "New [beta]")]
)
def test_a_name_with_brackets_is_the_same_everywhere(
    inner: Inner, service: Emulator, name: str, shown: str
) -> None:
    """pytest adds a bracket to a name with brackets that does not end in one: it gets others."""
    service.add_feature(name)
    service.fail("list_features", Fault.edit(lambda rows: rows[-1:]))
    service.fail("run_feature", Fault.status(404), times=1)
    result = inner.features("-v", "--junitxml=report.xml")
    again = inner("-v", "--testvibe-poll-interval=0.02", f"testvibe::{shown}")

    node_id = f"testvibe::{shown}".replace("[", "[[]")
    result.stdout.fnmatch_lines([f"{node_id} FAILED *", f"FAILED {node_id} - *"])
    again.stdout.fnmatch_lines([f"{node_id} PASSED *"])
    report = (inner.pytester.path / "report.xml").read_text()
    assert f'name="{shown.rsplit("::", maxsplit=1)[-1]}"' in report


RERUN = """
    import pytest
    from _pytest.runner import runtestprotocol

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        "Log reports only after the teardown, and those of a failed attempt as `rerun`."
        for is_last in (False, True):
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            runs_again = not is_last and any(report.failed for report in reports)
            for report in reports:
                if report.failed and runs_again:
                    report.outcome = "rerun"
                item.ihook.pytest_runtest_logreport(report=report)
            if not runs_again:
                return True

    def pytest_report_teststatus(report):
        return ("rerun", "R", "RERUN") if report.outcome == "rerun" else None
"""
"""What pytest-rerunfailures does, without its own corrections of what pytest counted."""


class TestReruns:
    """A plugin that runs a failed test again."""

    def test_each_attempt_is_a_new_run(self, inner: Inner, service: Emulator) -> None:
        """A feature that fails gets a new run, and the last one's tests are its subtests."""
        inner.pytester.makeconftest(RERUN)
        result = inner.features("--testvibe-select=Returns", "-v")

        result.assert_outcomes(failed=2)
        assert result.outlines[-1].count("rerun") == 1
        assert len(service.runs) == 2

    def test_a_flaky_feature_leaves_the_failures_of_others(
        self, inner: Inner, service: Emulator
    ) -> None:
        """Of a feature that passes in the end nothing is counted but that, and a failed test is."""
        fail_first_run(service)
        inner.pytester.makeconftest(RERUN)
        inner.pytester.makepyfile("def test_own(): assert 0")
        result = inner.features("--testvibe-select=Checkout", "--junitxml=report.xml", "-v")

        result.assert_outcomes(failed=1, passed=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        (suite,) = ET.parse(inner.pytester.path / "report.xml").getroot()  # noqa: S314 - ours
        assert suite.get("failures") == "1"

    def test_what_nobody_knows_is_not_run_again(self, inner: Inner, service: Emulator) -> None:
        """A dispatch whose answer was lost, and whose run was not found, is not repeated."""
        inner.pytester.makeconftest(RERUN)
        service.fail("run_feature", Fault.lost())
        service.fail("list_runs", Fault.status(404))
        result = inner.features("--testvibe-select=Login", "-v")

        result.assert_outcomes(failed=1)
        assert result.outlines[-1].count("rerun") == 1
        assert len(service.runs) == 1

    def test_attempts_do_not_multiply(self, inner: Inner, service: Emulator) -> None:
        """A feature that had all of its attempts is not run again by another plugin."""
        inner.pytester.makeconftest(RERUN)
        result = inner.features("--testvibe-select=Returns", "--testvibe-attempts=2")

        result.assert_outcomes(failed=2)
        assert len(service.runs) == 2

    def test_a_generation_that_failed_is_not_paid_for_again(
        self, inner: Inner, service: Emulator
    ) -> None:
        """A rerun of a feature whose tests could not be generated starts no generation."""
        service.add_feature("Gift cards", status="draft")

        def fail(document: Any) -> Any:
            service.finish_generation(document["requestId"], "failed")
            return document

        service.fail("generate_feature", Fault.edit(fail))
        inner.pytester.makeconftest(RERUN)
        result = inner.features("--testvibe-select=Gift cards", "--testvibe-generate")

        result.assert_outcomes(failed=1)
        assert result.outlines[-1].count("rerun") == 1
        assert len(service.generations) == 1

    def test_the_properties_are_those_of_the_last_run(
        self, inner: Inner, service: Emulator
    ) -> None:
        """A report names one run, that of its own attempt."""
        inner.pytester.makeconftest(RERUN)
        inner.features("--testvibe-select=Returns", "--junitxml=report.xml")

        report = ET.parse(inner.pytester.path / "report.xml")  # noqa: S314 - ours
        properties = [each.get("value") for each in report.iter("property")]
        assert properties == [str(run_id) for run_id in service.runs]


class TestTimeLimits:
    """Runs that never end."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with runs that take an hour."""
        return {"scenario": ENDLESS}

    def test_there_is_one_by_default(self, inner: Inner) -> None:
        """Without an option a feature is waited for a quarter of an hour."""
        assert read_options(inner.pytester.parseconfig()).timeout == 15 * 60

    def test_what_goes_on_is_waited_for_again(self, inner: Inner, service: Emulator) -> None:
        """A plugin that reruns a feature whose time was out gets the run that goes on."""

        class FinishAll:
            def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
                if str(report.outcome) == "rerun":
                    for run in service.active_runs():
                        service.finish_run(run.id)

        inner.pytester.makeconftest(RERUN)
        result = inner.features(
            "--testvibe-select=Login", "--testvibe-timeout=1", plugins=(FinishAll(),)
        )

        result.assert_outcomes(passed=1)
        assert len(service.runs) == 1


class TestRoutes:
    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with runs of some time, so that several are polled together."""
        return {"speed": 50.0}

    def test_the_routes_of_the_files_are_taken(self, inner: Inner, service: Emulator) -> None:
        """The list of runs is polled where the settings file of the working directory says."""
        inner.pytester.path.joinpath(".testvibe-async.toml").write_text(
            '[endpoints]\nlist_runs = "GET /projects/{project}/history"\n'
        )
        inner.features().assert_outcomes(passed=2, failed=2)
        assert service.count("list_runs") == 0
        assert [each for each in service.requests if each.path.endswith("/history")]


class TestMany:
    """Hundreds of features."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options with runs that take an hour, unless they are finished early."""
        return {"scenario": ENDLESS}

    def test_they_are_in_flight_together(self, inner: Inner, service: Emulator) -> None:
        """All are in flight at once, and each is dispatched once."""
        many = amount(300, few=60)
        for number in range(many - len(service.features)):
            service.add_feature(f"Feature {number}")

        end_together(service, many)

        result = inner.features(f"--testvibe-max-in-flight={many}")

        result.assert_outcomes(passed=many - 1, failed=2)
        assert service.max_active_runs == many
        assert service.count("run_feature") == many
