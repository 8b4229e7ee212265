"""The plugin object of a pytest session that runs features.

Decides what is collected and skipped, when runs are dispatched, and which item is next: all runs
are dispatched when pytest begins to run tests, and then the feature whose run finished first is
moved forward among those that are left. It never reads results (`features`), nor waits in an event
loop (`suite`).

With pytest-xdist all features go to one worker, whose one client dispatches and polls them all, so
that `--testvibe-max-in-flight` holds for the session; the other workers have the other tests.
pytest-xdist is optional, and imported where it schedules tests.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

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
from testvibe_async.pytest_plugin.leftovers import is_worker, leave
from testvibe_async.pytest_plugin.options import ROOT, read_options
from testvibe_async.pytest_plugin.results import describe_error
from testvibe_async.pytest_plugin.suite import RunRequest, Suite
from testvibe_async.reports import why

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable

    from testvibe_async import Run
    from testvibe_async.events import OutageStarted

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
        self._requests: dict[pytest.Item, RunRequest] = {}
        """The run of each item that is sure to ask for one."""

        self._subtests: dict[str, list[pytest.SubtestReport]] = {}
        """The tests of each feature's run, until the feature's report is logged."""

    @classmethod
    def of(cls, config: pytest.Config) -> FeatureSession:
        """Return the object of a session; the first call makes and registers it."""
        if _KEY not in config.stash:
            config.stash[_KEY] = cls(config)
            config.pluginmanager.register(config.stash[_KEY], "testvibe-session")
        return config.stash[_KEY]

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
        reporter: pytest.TerminalReporter | None
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None:
            return
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
            item.stash[_RUN] = self.suite.result(request, item.nodeid).run
            return item.stash[_RUN]
        except (VibeError, pytest.UsageError) as error:
            raise NoRun(describe_error(error), pytrace=False) from None

    def _request_of(self, item: pytest.Item) -> RunRequest | None:
        """Return the run that an item asks for; None if it asks for none.

        Raises:
            pytest.UsageError: The marker has wrong arguments, or there are several.
        """
        if isinstance(item, FeatureItem):
            return item.run_request
        mark = item.get_closest_marker("testvibe")
        if sum(own.name == "testvibe" for own in item.own_markers) > 1:
            raise pytest.UsageError("@pytest.mark.testvibe(…) twice: a test has one run")
        site = {"site_url": self._options.site_url}
        try:
            return mark and marked_request(*mark.args, **{**site, **mark.kwargs})
        except TypeError as error:
            reason = str(error).removeprefix("marked_request()")
            raise pytest.UsageError(f"@pytest.mark.testvibe(…){reason}") from None

    def pytest_report_header(self) -> str:
        """Name the project whose features are run."""
        return f"testvibe: {self.suite}"

    def pytest_sessionstart(self) -> None:
        """Report missing settings now, before tests are collected."""
        with _told_as_usage():
            self.suite.project()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> object:  # noqa: ANN401 - xdist is optional
        """Replace the schedules that would spread features over the workers."""
        if self._node_ids is None or config.getoption("dist") not in {"load", "worksteal"}:
            return None
        from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # noqa: PLC0415 - likewise

        class FeaturesTogether(LoadScopeScheduling):  # type: ignore[misc]  # likewise
            """A schedule that sends all features to one worker, and each other test to any."""

            def _split_scope(self, nodeid: str) -> str:
                return ROOT if nodeid.startswith(f"{ROOT}::") else nodeid

        return FeaturesTogether(config, log)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the features to what a session collects."""
        report = yield
        if self._node_ids is not None and isinstance(collector, pytest.Session):
            assert report.result is not None
            features = FeatureCollector.from_parent(  # pyright: ignore[reportUnknownMemberType]
                collector,
                name=ROOT,
                nodeid=ROOT,
                path=collector.path,
                suite=self.suite,
                choose=partial(choose, self._options, self._node_ids, self.suite.select),
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
        if any(_will_run(item) and not item.is_draft for item in features):
            for item in features:
                if item.is_draft and not self._options.generate:
                    item.add_marker(pytest.mark.skip(reason="its tests were never generated"))
        return result

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Refuse a test that has the marker without the fixture: it would pass without a run."""
        is_marked = isinstance(item, pytest.Function) and item.get_closest_marker("testvibe")
        if is_marked and not _requests_run(item):
            raise NoRun(
                "@pytest.mark.testvibe needs the fixture testvibe_run: request it, or remove the "
                "marker",
                pytrace=False,
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Dispatch all runs together before the first test."""
        for item in session.items:
            if (isinstance(item, FeatureItem) or _requests_run(item)) and _will_run(item):
                with suppress(pytest.UsageError):  # the item's own setup reports it
                    if request := self._request_of(item):
                        self._requests[item] = request
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
            with suppress(pytest.UsageError):  # the test's own setup reports it
                self._start([item, *([nextitem] if nextitem else []), *self._queued(session)])
        result = yield
        if isinstance(nextitem, FeatureItem) and _runs_tests(session):
            self._bring_forward(session, session.items.index(nextitem))
        return result

    def _queued(self, session: pytest.Session) -> list[pytest.Item]:
        """Return the items after the next one that this worker of pytest-xdist is sure to run."""
        dist = getattr(session.config.known_args_namespace, "dist", None)
        if dist == "worksteal" and self._node_ids is None:
            return []  # another worker may take them
        plugins = session.config.pluginmanager.get_plugins()
        queue = next((plugin.torun for plugin in plugins if hasattr(plugin, "torun")), None)
        if queue is None:  # `torun` is not public: a later pytest-xdist may have none
            return []
        with queue.lock() as places:
            return [session.items[place] for place in places if isinstance(place, int)]

    def _start(self, items: Iterable[pytest.Item]) -> None:
        requests = [self._requests[item] for item in items if item in self._requests]
        if requests:
            with _told_as_usage():
                self.suite.start(requests)

    def _bring_forward(self, session: pytest.Session, place: int) -> None:
        """Move the first feature that need not wait to a place among the items.

        Features from that place up to the next other test are candidates. A wait here is no part of
        any test, so pytest-timeout would not end it: after as long as it gives to one test, the
        feature at the place waits for its run itself.
        """
        features = list(takewhile(_is_feature, session.items[place:]))
        if not features or self._config.getoption("stepwise", None):
            return
        offsets = {self._requests.get(item): offset for offset, item in enumerate(features)}
        first = None
        if None not in offsets:
            requests = [request for request in offsets if request is not None]
            first = self.suite.next_finished(requests, timeout=_time_limit(features[0]))
        session.items.insert(place, session.items.pop(place + offsets.get(first, 0)))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Report a feature with what its run has, and what no `xfail` expects as a failure."""
        report = yield
        if hasattr(report, "wasxfail") and call.excinfo and not _is_expected(item, call.excinfo):
            report.outcome = "failed"
            del report.wasxfail
        if call.when == "call" and isinstance(item, FeatureItem):
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
        if report.nodeid.startswith(f"{ROOT}::") and isinstance(report, pytest.SubtestReport):
            cells.clear()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the features that passed after a run that failed."""
        reports = terminalreporter.getreports("passed")
        properties = {report.nodeid: dict(report.user_properties) for report in reports}
        flaky = {node_id: each for node_id, each in properties.items() if FLAKY in each}
        if flaky:
            terminalreporter.section("TestVibe features that are flaky")
        for node_id, each in flaky.items():
            runs = f"{each[EARLIER_RUNS]}, run {each[RUN]} passed"
            terminalreporter.write_line(f"FLAKY {node_id} - {runs}")

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Close the client, and note the operations that are still running."""
        if self._suite is not None:
            is_interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
            is_whole = not is_interrupted and exitstatus != pytest.ExitCode.INTERNAL_ERROR
            self._suite.close(is_whole=is_whole)
            leave(self._config, self._suite.in_flight.values(), is_interrupted=is_interrupted)


_KEY = pytest.StashKey[FeatureSession]()
_RUN = pytest.StashKey["Run"]()


@contextmanager
def _told_as_usage() -> Generator[None]:
    """Report wrong settings as pytest reports wrong options."""
    try:
        yield
    except VibeError as error:
        raise pytest.UsageError(f"testvibe: {error}") from error


def _requests_run(item: pytest.Item) -> bool:
    return "testvibe_run" in getattr(item, "fixturenames", ())


def marked_request(
    feature: str,
    *,
    config: str | None = None,
    site_url: str | None = None,
    project: str | None = None,
) -> RunRequest:
    """Return the run that a marker of these arguments asks for."""
    for name, value in {"config": config, "site_url": site_url, "project": project}.items():
        if not isinstance(value, str | None):
            raise TypeError(f" takes a text as {name}, not {value!r}")
    return RunRequest(feature, config=config, site_url=site_url, project=project)


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


def _time_limit(item: pytest.Item) -> float | None:
    """Return the seconds that pytest-timeout gives to a test; None if there is no limit."""
    seconds: Any = item.config.getoption("timeout", None) or os.environ.get("PYTEST_TIMEOUT")
    with suppress(ValueError):  # without pytest-timeout
        seconds = seconds or item.config.getini("timeout")
    if (mark := item.get_closest_marker("timeout")) is not None:
        seconds = mark.kwargs.get("timeout", *mark.args[:1])
    return float(seconds or 0) or None


def _is_expected(item: pytest.Item, found: pytest.ExceptionInfo[BaseException]) -> bool:
    """Return True if `xfail` may expect an exception: no run was cancelled, or is missing."""
    if isinstance(item, FeatureItem):
        return isinstance(found.value, RunFailed | pytest.xfail.Exception)
    run = item.stash.get(_RUN, None)
    is_decided = run is None or run.is_success or run.is_failure
    return is_decided and not isinstance(found.value, NoRun)


def _is_feature(item: pytest.Item) -> bool:
    return isinstance(item, FeatureItem)


def _runs_tests(session: pytest.Session) -> bool:
    """Return True if pytest runs all remaining items in this process."""
    option = session.config.option
    if option.collectonly or option.setupplan or is_worker(session.config):
        return False
    return not (session.shouldfail or session.shouldstop)
