"""The plugin object of a pytest session that runs features.

It decides what is collected, when runs are dispatched, and which item is next: all runs are
dispatched when pytest begins to run tests, and then the feature whose run finished first is moved
forward among those that are left. It never reads results (`features`), nor waits in an event loop
(`suite`), nor knows pytest-xdist (`workers`).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import TYPE_CHECKING

import pytest

from testvibe_async import VibeError
from testvibe_async.events import OutageEnded
from testvibe_async.pytest_plugin.choice import choose, reason_for
from testvibe_async.pytest_plugin.features import (
    EARLIER_RUNS,
    FLAKY,
    RUN,
    FeatureCollector,
    FeatureItem,
    RunFailed,
)
from testvibe_async.pytest_plugin.leftovers import Leftovers
from testvibe_async.pytest_plugin.marker import (
    marked_request,
    requests_run,
    time_limit,
    will_run,
)
from testvibe_async.pytest_plugin.options import ROOT, read_options
from testvibe_async.pytest_plugin.report import describe_error
from testvibe_async.pytest_plugin.suite import Suite
from testvibe_async.pytest_plugin.workers import Controller, is_worker, queued_items

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable

    from testvibe_async import Run
    from testvibe_async.events import OutageStarted
    from testvibe_async.pytest_plugin.suite import FinishedRun, RunRequest

__all__ = ["FeatureSession"]


class NoRun(pytest.fail.Exception):  # type: ignore[misc,name-defined]
    """A test that needs a run has none; no `xfail` expects that."""

    __module__ = "builtins"  # pytest prints it before the name


class FeatureSession:
    """The features, and the runs that tests ask for, in one pytest session."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the options.

        Raises:
            pytest.UsageError: One is wrong.
        """
        self._config = config
        self._options = read_options(config)
        self._node_ids: Collection[str] | None = None
        """The only features to collect; empty for all that the options select, None for none."""

        self._suite: Suite | None = None
        self._asked: set[str] = set()
        self._expected: dict[pytest.Item, RunRequest | None] = {}
        """The run that each item is going to need, as far as it was asked."""

        self._subtests: dict[str, list[pytest.SubtestReport]] = {}
        """The tests of each feature's run, until the feature's report is logged."""

    @classmethod
    def of(cls, config: pytest.Config) -> FeatureSession:
        """Return the one of a session; the first call makes and registers it."""
        if _KEY not in config.stash:
            config.stash[_KEY] = cls(config)
            config.pluginmanager.register(config.stash[_KEY], "testvibe-session")
        return config.stash[_KEY]

    def enable_collection(self, node_ids: Collection[str]) -> None:
        """Let features be collected: those of the options, or only those of these node ids.

        Raises:
            pytest.UsageError: pytest has no subtests yet.
        """
        if pytest.version_tuple < (9,):
            raise pytest.UsageError(
                f"features as tests need pytest 9, and this is pytest {pytest.__version__}; "
                "@pytest.mark.testvibe and the fixtures work with pytest 8"
            )
        self._node_ids = node_ids
        self._config.pluginmanager.register(Controller(), "testvibe-controller")

    @property
    def suite(self) -> Suite:
        """The runs; made at first use, without I/O.

        Raises:
            pytest.UsageError: Server or key are missing or wrong.
        """
        if self._suite is None:
            with _told_as_usage():
                self._suite = Suite(self._options, self._tell)
        return self._suite

    def _tell(self, event: OutageStarted | OutageEnded) -> None:
        """Print a line on an outage at once; a worker of pytest-xdist prints nothing."""
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin(
            "terminalreporter"
        )
        if reporter is None:
            return
        if isinstance(event, OutageEnded):
            line = f"the service answers again, after {event.seconds:.0f} s"
        else:
            line = f"the service does not answer, trying again: {describe_error(event.error)}"
        reporter.ensure_newline()
        reporter.write_line(f"testvibe: {line}")

    def wait_for(self, item: pytest.Item, request: RunRequest) -> FinishedRun:
        """Wait for an item's run; an item that asks again, to rerun a failure, gets a new one.

        Raises:
            VibeError: It could not be dispatched, or not be polled to its end.
        """
        anew = item.nodeid in self._asked
        self._asked.add(item.nodeid)
        return self.suite.run(request, anew=anew)

    def run_of(self, item: pytest.Item) -> Run:
        """Return the finished run that a test's marker asks for; fail the test if there is none."""
        try:
            request = self._request_of(item)
            if request is None:
                raise NoRun("testvibe_run needs @pytest.mark.testvibe('a feature')", pytrace=False)
            return self.wait_for(item, request).run
        except (VibeError, pytest.UsageError) as error:
            raise NoRun(describe_error(error), pytrace=False) from None

    def _request_of(self, item: pytest.Item) -> RunRequest | None:
        if isinstance(item, FeatureItem):
            return item.run_request
        return marked_request(item, site_url=self._options.site_url)

    def pytest_report_header(self) -> str:
        """Name the project whose features are run."""
        return f"testvibe: {self.suite}"

    def pytest_sessionstart(self) -> None:
        """Report missing settings now, before tests are collected."""
        with _told_as_usage():
            self.suite.named_project()

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the features to what a session collects."""
        report, node_ids = (yield), self._node_ids
        if node_ids is not None and isinstance(collector, pytest.Session):
            assert report.result is not None
            features = FeatureCollector.from_parent(  # pyright: ignore[reportUnknownMemberType]
                collector,
                name=ROOT,
                nodeid=ROOT,
                path=collector.path,
                choose=lambda: choose(self._options, node_ids, self.suite.select),
                wait_for=self.wait_for,
            )
            report.result.append(features)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Mark what rules skip or expect to fail, and skip drafts if other features run."""
        result = yield
        features = [item for item in items if isinstance(item, FeatureItem)]
        for item in features:
            names = (item.run_request.feature, str(item.run_request))
            if (reason := reason_for(self._options.skip, *names)) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
            if (reason := reason_for(self._options.xfail, *names)) is not None:
                item.add_marker(pytest.mark.xfail(reason=reason))
        drafts = [] if self._options.generate else [item for item in features if item.is_draft]
        if any(will_run(item) and not item.is_draft for item in features):
            for item in drafts:
                item.add_marker(pytest.mark.skip(reason="its tests were never generated"))
        return result

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Refuse a test that has the marker without the fixture: it would pass without a run."""
        is_marked = isinstance(item, pytest.Function) and item.get_closest_marker("testvibe")
        if is_marked and not requests_run(item):
            raise NoRun(
                "@pytest.mark.testvibe needs the fixture testvibe_run: request it, or remove the "
                "marker",
                pytrace=False,
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Dispatch all runs together before the first test."""
        option = self._config.option
        is_collected = not session.testsfailed or option.continue_on_collection_errors
        if is_collected and _runs_tests(session):
            self._start(session.items)
            self._bring_forward(session, 0)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """After an item, move forward the feature whose run finished first.

        pytest's loop reads `session.items` as it goes. It has torn down for `nextitem`, which any
        other feature can replace, because all features have the same parents.
        """
        session = item.session
        if is_worker(self._config):
            queued = queued_items(session, with_features=self._node_ids is not None)
            with suppress(pytest.UsageError):  # the test's own setup reports it
                self._start([item, *([nextitem] if nextitem else []), *queued])
        result = yield
        if isinstance(nextitem, FeatureItem) and _runs_tests(session):
            self._bring_forward(session, session.items.index(nextitem))
        return result

    def _start(self, items: Iterable[pytest.Item]) -> None:
        requests = [self._expected_request(item) for item in items]
        if any(requests):
            with _told_as_usage():
                self.suite.start(request for request in requests if request is not None)

    def _expected_request(self, item: pytest.Item) -> RunRequest | None:
        """Return the run that an item is going to need; None if it may never ask for it."""
        if item not in self._expected:
            try:
                is_sure = isinstance(item, FeatureItem) or requests_run(item)
                self._expected[item] = (
                    self._request_of(item) if is_sure and will_run(item) else None
                )
            except pytest.UsageError:  # the item's own setup reports it
                self._expected[item] = None
        return self._expected[item]

    def _bring_forward(self, session: pytest.Session, place: int) -> None:
        """Move the first feature that need not wait to a place among the items.

        Features from that place up to the next other test are candidates. A wait here is no part of
        any test, so pytest-timeout would not end it: after as long as it gives to one test, the
        feature at the place waits for its run itself.
        """
        if self._config.getoption("stepwise", None):
            return
        features = list(takewhile(_is_feature, session.items[place:]))
        offsets = {self._expected_request(item): offset for offset, item in enumerate(features)}
        if not offsets:
            return
        requests = dict.fromkeys(request for request in offsets if request is not None)
        first = None
        if len(requests) == len(offsets):
            first = self.suite.next_finished(requests, timeout=time_limit(features[0]))
        session.items.insert(place, session.items.pop(place + offsets.get(first, 0)))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Report a feature's duration as that of its run, with its tests and its artifacts."""
        report = yield
        if hasattr(report, "wasxfail") and call.excinfo and not _is_expected(item, call.excinfo):
            report.outcome = "failed"
            del report.wasxfail
        if call.when == "call" and isinstance(item, FeatureItem):
            self._subtests[item.nodeid] = item.subtests(report)
            report.duration = item.seconds or report.duration
            if item.extras:
                vars(report).setdefault("extras", []).extend(item.extras)
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
        if report.nodeid.startswith(f"{ROOT}::") and isinstance(report, pytest.SubtestReport):
            cells.clear()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the features that passed after a run that failed."""
        reports = terminalreporter.getreports("passed")
        flaky = {
            report.nodeid: dict(report.user_properties)
            for report in reports
            if (FLAKY, "true") in report.user_properties
        }
        if flaky:
            terminalreporter.section("TestVibe features that are flaky")
        for node_id, properties in flaky.items():
            runs = f"{properties[EARLIER_RUNS]}, run {properties[RUN]} passed"
            terminalreporter.write_line(f"FLAKY {node_id} - {runs}")

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Close the client, and note the operations that go on at the service."""
        if self._suite is None:
            return
        is_ended = exitstatus in {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR}
        self._suite.close(is_whole=not is_ended)
        leftovers = Leftovers.of(self._config)
        leftovers.add(ref.to_json() for ref in self._suite.in_flight)
        if is_worker(self._config):
            is_interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
            leftovers.hand_over(self._config, is_interrupted=is_interrupted)


_KEY = pytest.StashKey[FeatureSession]()


@contextmanager
def _told_as_usage() -> Generator[None]:
    """Report wrong settings as pytest reports wrong options."""
    try:
        yield
    except VibeError as error:
        raise pytest.UsageError(f"testvibe: {error}") from error


def _is_expected(item: pytest.Item, found: pytest.ExceptionInfo[BaseException]) -> bool:
    """Return True if `xfail` may expect an exception: of a feature, a run that failed."""
    if isinstance(item, FeatureItem):
        return isinstance(found.value, RunFailed | pytest.xfail.Exception)
    return not isinstance(found.value, NoRun)


def _is_feature(item: pytest.Item) -> bool:
    return isinstance(item, FeatureItem)


def _runs_tests(session: pytest.Session) -> bool:
    """Return True if pytest runs all remaining items in this process."""
    option = session.config.option
    if option.collectonly or option.setupplan or is_worker(session.config):
        return False
    return not (session.shouldfail or session.shouldstop)
