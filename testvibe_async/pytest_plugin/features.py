"""Features as pytest's nodes: one collector, and one item for each feature and configuration.

They decide how pytest reports a finished run: each test in it is a subtest, and the item passes if
the run did. They never decide when a run is dispatched, or which item is next: see `session`.

A `SubtestReport` is pytest's own, and pytest alone counts it. It is logged with the report of its
feature, not before: of a feature that another plugin runs again, only the last run counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async import VibeError
from testvibe_async.pytest_plugin.attachments import html_extras, tell_allure
from testvibe_async.pytest_plugin.options import ROOT
from testvibe_async.pytest_plugin.report import (
    describe_case,
    describe_error,
    describe_failure,
    verdict_of,
)
from testvibe_async.reports import one_line

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from testvibe_async import CaseResult, Run
    from testvibe_async.pytest_plugin.choice import Choice
    from testvibe_async.pytest_plugin.suite import FinishedRun, RunRequest

    WaitFor = Callable[[pytest.Item, RunRequest], FinishedRun]
    """Waits for an item's run."""

__all__ = ["EARLIER_RUNS", "FLAKY", "RUN", "FeatureCollector", "FeatureItem"]


class RunFailed(AssertionError):  # noqa: N818 - a verdict; the message is the report
    """A run that did not pass; to reports, a failed test and not a broken one.

    Nothing else is what `xfail` expects of a feature.
    """


RUN = "testvibe_run"
EARLIER_RUNS = "testvibe_earlier_runs"
FLAKY = "testvibe_flaky"
"""The property of a report whose feature passed after a run that failed."""


class FeatureCollector(pytest.Collector):
    """The collector of all chosen features."""

    def __init__(
        self,
        *,
        choose: Callable[[], list[Choice]],
        wait_for: WaitFor,
        **options: Any,  # noqa: ANN401 - pytest's
    ) -> None:
        super().__init__(**options)
        self._choose = choose
        self._wait_for = wait_for

    def collect(self) -> Iterator[FeatureItem]:
        """Make the items."""
        try:
            choices = self._choose()
        except VibeError as error:
            raise self.CollectError(describe_error(error)) from error
        for choice in choices:
            # Given as a text, because pytest takes brackets at the end of a name for parameters.
            node_id = f"{ROOT}::{choice.name}"
            yield FeatureItem.from_parent(  # pyright: ignore[reportUnknownMemberType]
                self, name=choice.name, nodeid=node_id, choice=choice, wait_for=self._wait_for
            )


class FeatureItem(pytest.Item):
    """One feature with one configuration."""

    def __init__(self, *, choice: Choice, wait_for: WaitFor, **options: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]
        self.run_request: RunRequest = choice.request
        self.is_draft: bool = choice.is_draft
        self._wait_for = wait_for
        self._run: Run | None = None
        self.extras: list[dict[str, Any]] = []
        """What pytest-html shows beside the result."""
        self.add_marker(pytest.mark.testvibe(choice.request.feature, config=choice.request.config))

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        """Return its place, which is no file, and its title in reports."""
        return self.path / ROOT, 0, f"Feature: {self.name}"

    @property
    def seconds(self) -> float | None:
        """Seconds from the run's dispatch to its end; None if unknown."""
        if self._run is None or self._run.finished_at is None or self._run.created_at is None:
            return None
        return (self._run.finished_at - self._run.created_at).total_seconds()

    def runtest(self) -> None:
        """Wait for the run; fail if it did not pass."""
        self._run, self.extras = None, []
        finished = self._wait_for(self, self.run_request)
        self._run = run = finished.run
        self.user_properties[:] = [
            *(each for each in self.user_properties if each[0] not in {RUN, EARLIER_RUNS, FLAKY}),
            *_properties(finished),
        ]
        tell_allure(self.config, finished)
        self.extras = html_extras(self.config, finished)
        if run.is_failure:
            raise RunFailed(describe_failure(finished))
        run.raise_for_status()

    def subtests(self, whole: pytest.TestReport) -> list[pytest.SubtestReport]:
        """Return the reports of the run's tests; none if there is no finished run.

        Args:
            whole: The feature's own report. If its failure is expected, so are those of its tests.
        """
        cases = () if self._run is None else self._run.tests
        return [self._report_of(case, whole) for case in cases]

    def _report_of(self, case: CaseResult, whole: pytest.TestReport) -> pytest.SubtestReport:
        from _pytest.subtests import SubtestContext  # noqa: PLC0415 - it has no public name

        verdict = verdict_of(case)
        place = (str(self.path / ROOT), 1)
        error = describe_case(case)
        report = pytest.SubtestReport(
            self.nodeid,
            self.location,
            dict.fromkeys(self.keywords, 1),
            verdict,
            {"passed": None, "failed": error, "skipped": (*place, error)}[verdict],
            "call",
        )
        report.context = SubtestContext(msg=one_line(case.name), kwargs={})
        if verdict == "failed" and whole.skipped and hasattr(whole, "wasxfail"):
            report.outcome = "skipped"
            report.wasxfail = whole.wasxfail
        return report

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401 - pytest's
        """Describe the run; show a traceback only if something else failed."""
        if isinstance(excinfo.value, RunFailed):
            return str(excinfo.value)
        if isinstance(excinfo.value, VibeError):
            return describe_error(excinfo.value)
        return super().repr_failure(excinfo, style)


def _properties(finished: FinishedRun) -> list[tuple[str, object]]:
    """Return what reports show of the runs, such as `--junitxml` and the terminal's summary."""
    properties: list[tuple[str, object]] = [(RUN, finished.run.run_id)]
    if finished.earlier:
        runs = ", ".join(f"run {run.run_id} {run.status}" for run in finished.earlier)
        properties.append((EARLIER_RUNS, one_line(runs)))
    if finished.is_flaky:
        properties.append((FLAKY, "true"))
    return properties
