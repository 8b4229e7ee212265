"""Features as pytest's nodes: one collector, and one item for each feature and configuration.

They say what pytest is to make of a run that is over: each test in it is a subtest, and the item
passes if the run did. When a run is made, and which comes next, is `session`'s business.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.subtests import SubtestContext  # what `pytest.SubtestReport` has to hold

from testvibe_async import FeatureNotGeneratedError, VibeError
from testvibe_async.pytest_plugin.declaration import ROOT
from testvibe_async.pytest_plugin.report import describe_error, describe_failure, verdict_of
from testvibe_async.reports.text import cut, one_line

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from testvibe_async import CaseResult, Run
    from testvibe_async.pytest_plugin.choice import Choice
    from testvibe_async.pytest_plugin.session import FeatureSession

__all__ = ["FeatureCollector", "FeatureItem"]


class RunFailed(Exception):  # noqa: N818 - a verdict; the message is the report
    """The run did not pass."""


class FeatureCollector(pytest.Collector):
    """All features that were chosen."""

    def __init__(self, *, features: FeatureSession, **options: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**options)
        self._features = features

    def collect(self) -> Iterator[FeatureItem]:
        """Make the items."""
        try:
            choices = self._features.choose()
        except VibeError as error:
            raise self.CollectError(describe_error(error)) from error
        for choice in choices:
            # As a text: pytest reads brackets at its end as those of parameters, here as anywhere.
            node_id = f"{ROOT}::{choice.name}"
            yield FeatureItem.from_parent(  # pyright: ignore[reportUnknownMemberType]
                self, name=choice.name, nodeid=node_id, choice=choice, features=self._features
            )


class FeatureItem(pytest.Item):
    """One feature with one configuration."""

    def __init__(self, *, choice: Choice, features: FeatureSession, **options: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]
        self.wanted = choice.wanted
        self._is_named = choice.is_named
        self._features = features
        self._run: Run | None = None
        self.add_marker(pytest.mark.testvibe(choice.wanted.feature, config=choice.wanted.config))
        for mark in choice.marks:
            self.add_marker(mark)

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        """Say where it is, which is no file, and how reports call it."""
        return self.path / ROOT, 0, f"Feature: {self.name}"

    @property
    def seconds(self) -> float | None:
        """How long the run took, from its dispatch to its end; None where that is not known."""
        if self._run is None or self._run.finished_at is None or self._run.created_at is None:
            return None
        return (self._run.finished_at - self._run.created_at).total_seconds()

    def runtest(self) -> None:
        """Wait for the run, and report its tests."""
        try:
            ended = self._features.wait_for(self, self.wanted)
        except FeatureNotGeneratedError as error:
            if self._is_named:
                raise
            reason = one_line(f"{self.name!r} can't run: {error.message}")
            raise pytest.skip.Exception(reason, _use_item_location=True) from error
        self._run = ended.run
        self.user_properties.append(("testvibe_run", ended.run.run_id))
        capture: Any = self.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            for case in ended.run.tests:
                self.ihook.pytest_runtest_logreport(report=self._report_of(case))
        if not ended.run.is_success:
            raise RunFailed(describe_failure(ended))

    def _report_of(self, case: CaseResult) -> pytest.SubtestReport:
        verdict = verdict_of(case)
        place = (str(self.path / ROOT), 1)
        error = cut(case.error or f"the service calls it {case.status!r}")
        report = pytest.SubtestReport(
            self.nodeid,
            self.location,
            dict.fromkeys(self.keywords, 1),
            verdict,
            {"passed": None, "failed": error, "skipped": (*place, error)}[verdict],
            "call",
        )
        report.context = SubtestContext(msg=one_line(case.name), kwargs={})
        xfail = self.get_closest_marker("xfail")
        if verdict == "failed" and xfail is not None and not self.config.option.runxfail:
            report.outcome = "skipped"
            report.wasxfail = xfail.kwargs.get("reason", "")
        return report

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401 - pytest's
        """Show what came of the run; no traceback, unless something else went wrong."""
        if isinstance(excinfo.value, RunFailed):
            return str(excinfo.value)
        if isinstance(excinfo.value, VibeError):
            return describe_error(excinfo.value)
        return super().repr_failure(excinfo, style)
