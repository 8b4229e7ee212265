"""The features' part in a pytest session: what is collected, when runs start, which item is next.

One plugin object for a session. It has all runs dispatched when pytest begins to run tests, and
then moves forward, among the features that are left, the one whose run ended first. What a run
comes to is read in `features`, how it is waited for in `suite`, and what pytest-xdist needs is in
`workers`.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import pytest
from _pytest.skipping import evaluate_skip_marks  # pytest's own reading of skip and skipif

from testvibe_async import ConfigError, VibeError
from testvibe_async.pytest_plugin.choice import Chooser
from testvibe_async.pytest_plugin.declaration import ROOT
from testvibe_async.pytest_plugin.features import FeatureCollector, FeatureItem
from testvibe_async.pytest_plugin.leftovers import Leftovers, is_worker
from testvibe_async.pytest_plugin.options import read_options
from testvibe_async.pytest_plugin.report import describe_error
from testvibe_async.pytest_plugin.suite import Suite, Wanted
from testvibe_async.pytest_plugin.workers import Controller, queued_items

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from testvibe_async import Run
    from testvibe_async.pytest_plugin.choice import Choice
    from testvibe_async.pytest_plugin.suite import Ended

__all__ = ["FeatureSession"]


class FeatureSession:
    """Features in one pytest session."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the options.

        Raises:
            pytest.UsageError: One is wrong.
        """
        self._config = config
        self._options = read_options(config)
        self._chooser: Chooser | None = None
        self._suite: Suite | None = None
        self._session: pytest.Session | None = None
        self._asked: set[str] = set()
        self._soon: dict[pytest.Item, Wanted | None] = {}
        self._controller = Controller(config)

    @classmethod
    def of(cls, config: pytest.Config) -> FeatureSession:
        """Return the session's, which is made and registered at first."""
        if _KEY not in config.stash:
            config.stash[_KEY] = cls(config)
            config.pluginmanager.register(config.stash[_KEY], "testvibe-session")
        return config.stash[_KEY]

    def collects(self, node_ids: Iterable[str]) -> None:
        """Have features collected: those of the options, or of these node ids alone."""
        self._chooser = Chooser(self._options, node_ids)
        self._config.pluginmanager.register(self._controller, "testvibe-controller")

    def serves(self, session: pytest.Session) -> None:
        """Make the runs that the tests of a session ask for."""
        self._session = session

    @property
    def suite(self) -> Suite:
        """The runs; made at first use, without I/O.

        Raises:
            pytest.UsageError: Server, key or project are missing or wrong.
        """
        return self._suite or self._make_suite()

    def _make_suite(self) -> Suite:
        try:
            self._suite = Suite(self._options)
        except ConfigError as error:
            raise pytest.UsageError(f"testvibe: {error}") from error
        return self._suite

    def choose(self) -> list[Choice]:
        """Return the features to collect. Raises as `Chooser.choose` does."""
        assert self._chooser is not None
        return self._chooser.choose(self.suite.list_features)

    def wait_for(self, item: pytest.Item, wanted: Wanted) -> Ended:
        """Wait for an item's run; an item that asks again, as where failures are rerun, gets a new.

        Raises:
            VibeError: It could not be dispatched, or not be observed to its end.
        """
        anew = item.nodeid in self._asked
        self._asked.add(item.nodeid)
        return self.suite.run(wanted, anew=anew)

    def run_of(self, item: pytest.Item) -> Run:
        """Return the finished run that a test's marker asks for; where there is none, fail it."""
        try:
            wanted = self.wanted_by(item)
            if wanted is None:
                pytest.fail("testvibe_run needs @pytest.mark.testvibe('a feature')", pytrace=False)
            return self.wait_for(item, wanted).run
        except (VibeError, pytest.UsageError) as error:
            pytest.fail(describe_error(error), pytrace=False)

    def wanted_by(self, item: pytest.Item) -> Wanted | None:
        """Return the run that an item needs, if any.

        Raises:
            pytest.UsageError: Its marker has wrong arguments.
        """
        if isinstance(item, FeatureItem):
            return item.wanted
        if "testvibe_run" not in getattr(item, "fixturenames", ()):
            return None
        mark = item.get_closest_marker("testvibe")
        if mark is None:
            return None
        return _wanted_of(mark, site_url=self._options.site_url)

    def pytest_report_header(self) -> str:
        """Say which project's features are run."""
        return f"testvibe: {self.suite}"

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Complain now, before tests are collected, where settings are missing."""
        self._session = session
        self._make_suite()

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the features to what a session collects."""
        report = yield
        if self._chooser is not None and isinstance(collector, pytest.Session):
            assert report.result is not None
            features = FeatureCollector.from_parent(  # pyright: ignore[reportUnknownMemberType]
                collector, name=ROOT, nodeid=ROOT, path=collector.path, features=self
            )
            report.result.append(features)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Dispatch what is going to be run, together."""
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
        """After an item, see to it that the next feature is the one that ended first.

        pytest's loop reads `session.items` as it goes. It has torn down as for `nextitem`, which
        any other feature can replace, for they have the same parents.
        """
        session = item.session
        if is_worker(self._config):
            queued = queued_items(session, with_features=self._chooser is not None)
            self._start([item, *([nextitem] if nextitem else []), *queued])
        result = yield
        if isinstance(nextitem, FeatureItem) and _runs_tests(session):
            self._bring_forward(session, session.items.index(nextitem))
        return result

    def _start(self, items: Iterable[pytest.Item]) -> None:
        wanted = [self._wanted_soon(item) for item in items]
        if any(wanted):
            self.suite.start(each for each in wanted if each is not None)

    def _wanted_soon(self, item: pytest.Item) -> Wanted | None:
        """Return the run that an item is going to need; None where it may not get so far."""
        if item not in self._soon:
            try:
                self._soon[item] = self.wanted_by(item) if _is_run(item) else None
            except pytest.UsageError:
                self._soon[item] = None
        return self._soon[item]

    def _bring_forward(self, session: pytest.Session, place: int) -> None:
        """Put at a place of the items, among the features from there on, who need not wait."""
        if self._config.getoption("stepwise", None):
            return
        features = list(takewhile(_is_feature, session.items[place:]))
        wanted = {self._wanted_soon(item): offset for offset, item in enumerate(features)}
        if not wanted:
            return
        first = None if None in wanted else self.suite.next_ended(wanted)  # type: ignore[arg-type]
        session.items.insert(place, session.items.pop(place + wanted[first]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let the time of a feature be its run's, not that of our look at it."""
        report = yield
        if call.when == "call" and isinstance(item, FeatureItem) and item.seconds is not None:
            report.duration = item.seconds
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Let a feature that failed count once for --maxfail, however many of its tests did."""
        is_part = isinstance(report, pytest.SubtestReport) and report.nodeid.startswith(f"{ROOT}::")
        if is_part and report.failed and self._session is not None:
            self._session.testsfailed -= 1
            self._controller.uncount_failure()
        return (yield)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Close the client, and tell what goes on at the service."""
        if self._suite is None:
            return
        self._suite.close()
        leftovers = Leftovers.of(self._config)
        leftovers.hear(ref.to_json() for ref in self._suite.in_flight)
        if is_worker(self._config):
            is_interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
            leftovers.hand_over(self._config, is_interrupted=is_interrupted)


_KEY = pytest.StashKey[FeatureSession]()


def _is_feature(item: pytest.Item) -> bool:
    return isinstance(item, FeatureItem)


def _runs_tests(session: pytest.Session) -> bool:
    """Say whether pytest runs the items that are left, all of them, in this process."""
    option = session.config.option
    if option.collectonly or option.setupplan or is_worker(session.config):
        return False
    return not (session.shouldfail or session.shouldstop)


def _is_run(item: pytest.Item) -> bool:
    """Say whether an item is going to be run, as far as its marks tell."""
    try:
        if evaluate_skip_marks(item) is not None:
            return False
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - pytest tells of it at its setup
        return False
    runs_xfail = item.config.option.runxfail
    return runs_xfail or all(mark.kwargs.get("run", True) for mark in item.iter_markers("xfail"))


def _wanted_of(mark: pytest.Mark, *, site_url: str | None) -> Wanted:
    def read(feature: str, *, config: str | None = None, site_url: str | None = site_url) -> Wanted:
        return Wanted(feature, config=config, site_url=site_url)

    try:
        return read(*mark.args, **mark.kwargs)
    except TypeError as error:
        reason = str(error).removeprefix("_wanted_of.<locals>.read()")
        raise pytest.UsageError(f"@pytest.mark.testvibe(…){reason}") from None
