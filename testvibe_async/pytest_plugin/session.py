"""The plugin object of a pytest session that runs features.

Decides what is collected and skipped, and when runs are dispatched: all of them when pytest begins
to run tests. It never reads results (`features`), nor waits in an event loop (`suite`).

The workers of pytest-xdist share one batch of the ledger: each makes the same call with the key of
the session. The first begins at once, and the others when a test of theirs needs a result: by then
the ledger has the runs.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from testvibe_async import Run, VibeError
from testvibe_async.events import OutageEnded, OutageStarted
from testvibe_async.pytest_plugin import features, leftovers, options
from testvibe_async.pytest_plugin.results import describe_error
from testvibe_async.pytest_plugin.suite import RunRequest, Suite
from testvibe_async.reports.reasons import why

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

FIRST_WORKER = "gw0"
"""pytest-xdist's name for the worker that dispatches what others need only later."""


class NoRun(pytest.fail.Exception):  # type: ignore[misc,name-defined]
    """A test that needs a run has none; no `xfail` expects that."""

    # pytest prints both before the reason, as it does for `pytest.fail`.
    __module__ = "builtins"
    __qualname__ = "Failed"


class FeatureSession:
    """The features, and the runs that tests ask for, in one pytest session."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the options.

        Raises:
            pytest.UsageError: One is wrong.
        """
        self._config = config
        self._options = options.read_options(config)
        self._node_ids: Collection[str] | None = None
        """The only features to collect; empty for all that the options select, None for none."""

        self._subtests: dict[str, list[pytest.SubtestReport]] = {}
        """The tests of each feature's run, until the feature's report is logged."""

    @classmethod
    def of(cls, config: pytest.Config) -> FeatureSession:
        """Return the object of a session; the first call makes and registers it."""
        made: FeatureSession | None = config.pluginmanager.get_plugin(options.SESSION)
        if made is None:
            made = cls(config)
            config.pluginmanager.register(made, options.SESSION)
        return made

    def enable_collection(self, node_ids: Collection[str]) -> None:
        """Collect the features of the options, or only the features of these node ids.

        Raises:
            pytest.UsageError: pytest has no subtests yet.
        """
        if pytest.version_tuple < (9,):
            raise pytest.UsageError(
                f"features as tests need pytest 9, and this is pytest {pytest.__version__}; "
                "@pytest.mark.testvibe and the fixtures work with pytest 8"
            )
        self._node_ids = node_ids

    @cached_property
    def suite(self) -> Suite:
        """The runs; made at first use, without I/O.

        Raises:
            pytest.UsageError: Server or key are missing or wrong.
        """
        session = getattr(self._config, "workerinput", {}).get("testrunuid") or uuid4().hex
        with _reported_as_usage():
            return Suite(self._options, self._options.key or f"pytest-{session}", self._tell)

    def _tell(self, event: OutageStarted | OutageEnded) -> None:
        """Print a line on an outage at once; a worker of pytest-xdist prints nothing."""
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            if isinstance(event, OutageEnded):
                line = f"the service answers again, after {event.seconds:.0f} s"
            else:
                line = f"the service does not answer, trying again: {why(event.error)}"
            reporter.ensure_newline()
            reporter.write_line(f"testvibe: {line}")

    def run_of(self, item: pytest.Item) -> Run:
        """Return the finished run that a test's marker asks for; fail the test if there is none."""
        try:
            request = self._request_of(item)
            if request is None:
                raise NoRun("testvibe_run needs @pytest.mark.testvibe('a feature')", pytrace=False)
            return self.suite.result(request, item.nodeid).run
        except (VibeError, pytest.UsageError) as error:
            raise NoRun(describe_error(error), pytrace=False) from None

    def _request_of(self, item: pytest.Item) -> RunRequest | None:
        """Return the run that an item asks for; None if it asks for none.

        Raises:
            pytest.UsageError: The marker has wrong arguments, or there are several.
        """
        if isinstance(item, features.FeatureItem):
            return item.run_request
        mark = item.get_closest_marker("testvibe")
        if sum(own.name == "testvibe" for own in item.own_markers) > 1:
            raise pytest.UsageError("@pytest.mark.testvibe(…) twice: a test has one run")
        site = {"site_url": self._options.site_url}
        try:
            return mark and RunRequest(*mark.args, **{**site, **mark.kwargs})
        except TypeError as error:
            reason = str(error.args[0]).removeprefix("RunRequest.__init__()")
            raise pytest.UsageError(f"@pytest.mark.testvibe(…) {reason.strip()}") from None

    def pytest_report_header(self) -> str:
        """Name the project whose features are run."""
        return f"testvibe: {self.suite}"

    def pytest_sessionstart(self) -> None:
        """Report missing settings now, before tests are collected."""
        with _reported_as_usage():
            str(self.suite)
        features.separate_cases(self._config)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the features to what a session collects."""
        report = yield
        if self._node_ids is not None and isinstance(collector, pytest.Session):
            assert report.result is not None
            collected = features.FeatureCollector.from_parent(  # pyright: ignore[reportUnknownMemberType]
                collector,
                name=options.ROOT,
                nodeid=options.ROOT,
                path=collector.path,
                suite=self.suite,
                node_ids=self._node_ids,
            )
            report.result.append(collected)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Skip drafts if other features run."""
        result = yield
        found = [item for item in items if isinstance(item, features.FeatureItem)]
        if any(_will_run(item) and not item.is_draft for item in found):
            for item in found:
                if item.is_draft:
                    item.add_marker(pytest.mark.skip(reason="its tests were never generated"))
        return result

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Refuse a test that has the marker without the fixture: it would pass without a run."""
        is_marked = isinstance(item, pytest.Function) and item.get_closest_marker("testvibe")
        if is_marked and not _requests_run(item):
            advice = "needs the fixture testvibe_run: request it, or remove the marker"
            raise NoRun(f"@pytest.mark.testvibe {advice}", pytrace=False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Dispatch all runs together before the first test."""
        requests: dict[RunRequest, None] = {}
        for item in session.items:
            if (isinstance(item, features.FeatureItem) or _requests_run(item)) and _will_run(item):
                with suppress(pytest.UsageError):  # the item's own setup reports it
                    if request := self._request_of(item):
                        requests[request] = None
        option = self._config.option
        is_collected = not session.testsfailed or option.continue_on_collection_errors
        if requests and is_collected and not option.collectonly and not option.setupplan:
            worker: dict[str, Any] = getattr(self._config, "workerinput", {})
            # In a worker, each test reports it.
            with suppress(pytest.UsageError) if worker else nullcontext(), _reported_as_usage():
                self.suite.planned = list(requests)
                if worker.get("workerid", FIRST_WORKER) == FIRST_WORKER:
                    self.suite.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Report a feature with what its run has, and what no `xfail` expects as a failure."""
        report = yield
        if hasattr(report, "wasxfail") and call.excinfo and not _is_expected(item, call.excinfo):
            report.outcome = "failed"
            del report.wasxfail
        if call.when == "call" and isinstance(item, features.FeatureItem):
            self._subtests[item.nodeid] = item.complete(report)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Log the tests of a feature's run right before the feature.

        Not of one that is run again, whose report has the outcome `rerun`.
        """
        if report.when == "call":
            subtests = self._subtests.pop(report.nodeid, [])
            if report.outcome in {"passed", "failed", "skipped"}:
                for subtest in subtests:
                    self._config.hook.pytest_runtest_logreport(report=subtest)
        return (yield)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        """Have pytest-html show a feature once: it knows no subtests, and takes each for a test."""
        if isinstance(report, pytest.SubtestReport) and features.is_feature(report):
            cells.clear()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the features that passed after a run that failed."""
        flaky = {
            report.nodeid: value
            for report in terminalreporter.getreports("passed")
            for name, value in report.user_properties
            if name == features.FLAKY
        }
        if flaky:
            terminalreporter.section("TestVibe features that are flaky")
        for node_id, runs in flaky.items():
            terminalreporter.write_line(f"FLAKY {node_id} - {runs}")

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Close the client, and note the runs that were dispatched."""
        if "suite" in vars(self):
            self.suite.close()
            leftovers.note_runs(self._config, self.suite.seen)
            output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
            if output is not None:
                output[leftovers.WORKER_OUTPUT] = self.suite.seen
                lines = leftovers.describe_runs(self._config)
                if exitstatus == pytest.ExitCode.INTERRUPTED and lines:
                    # After Ctrl-C the controller reads no more from its workers.
                    capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
                    with capture.global_and_fixture_disabled() if capture else nullcontext():
                        sys.stderr.write("\n".join(["", *lines, ""]))


@contextmanager
def _reported_as_usage() -> Generator[None]:
    """Report wrong settings as pytest reports wrong options."""
    try:
        yield
    except VibeError as error:
        raise pytest.UsageError(f"testvibe: {error}") from error


def _requests_run(item: pytest.Item) -> bool:
    return "testvibe_run" in getattr(item, "fixturenames", ())


def _will_run(item: pytest.Item) -> bool:
    """Return True if no mark may skip a test: pytest alone evaluates a condition that is a text."""
    conditions: list[Any] = [
        condition
        for mark in item.iter_markers("skipif")
        for condition in mark.args or [mark.kwargs.get("condition")]
    ]
    if any(item.iter_markers("skip")) or any(each is not False for each in conditions):
        return False
    never_run = any(not mark.kwargs.get("run", True) for mark in item.iter_markers("xfail"))
    return bool(item.config.getoption("runxfail")) or not never_run


def _is_expected(item: pytest.Item, found: pytest.ExceptionInfo[BaseException]) -> bool:
    """Return True if `xfail` may expect an exception: no run was cancelled, or is missing."""
    if isinstance(item, features.FeatureItem):
        return isinstance(found.value, features.RunFailed | pytest.xfail.Exception)
    run = getattr(item, "funcargs", {}).get("testvibe_run")
    is_decided = not isinstance(run, Run) or run.is_success or run.is_failure
    return is_decided and not isinstance(found.value, NoRun)
