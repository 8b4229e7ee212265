"""Features as pytest's nodes: one collector, and one item for each feature and configuration.

Decides how pytest, Allure and pytest-html report a finished run: each test in it is a subtest, and
the item passes if the run did. `session` decides when a run is dispatched, and which item is next.

A `SubtestReport` is pytest's own, and pytest alone counts it. It is logged with the report of its
feature, not before: of a feature that another plugin runs again, only the last run counts.
"""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from html import escape
from importlib import import_module
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from testvibe_async import Verdict, VibeError
from testvibe_async.pytest_plugin.options import ROOT
from testvibe_async.pytest_plugin.results import describe_error
from testvibe_async.reports import CaseStatus, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Literal

    from testvibe_async.pytest_plugin.choice import Choice
    from testvibe_async.pytest_plugin.results import Result
    from testvibe_async.pytest_plugin.suite import RunRequest, Suite
    from testvibe_async.reports import Case

__all__ = ["EARLIER_RUNS", "FLAKY", "RUN", "FeatureCollector", "FeatureItem", "RunFailed"]

RUN = "testvibe_run"
EARLIER_RUNS = "testvibe_earlier_runs"
FLAKY = "testvibe_flaky"
"""The property of a report whose feature passed after a run that failed."""


class RunFailed(AssertionError):  # noqa: N818 - a verdict; the message is the report
    """A run that did not pass; to reports, a failed test and not a broken one.

    Nothing else is what `xfail` expects of a feature.
    """


class FeatureCollector(pytest.Collector):
    """The collector of all chosen features."""

    def __init__(
        self,
        *,
        suite: Suite,
        choose: Callable[[], list[Choice]],
        **options: Any,  # noqa: ANN401 - pytest's
    ) -> None:
        super().__init__(**options)
        self._suite = suite
        self._choose = choose

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
                self, name=choice.name, nodeid=node_id, choice=choice, suite=self._suite
            )


class FeatureItem(pytest.Item):
    """One feature with one configuration."""

    def __init__(self, *, choice: Choice, suite: Suite, **options: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]
        self.run_request: RunRequest = choice.request
        self.is_draft: bool = choice.is_draft
        self._suite = suite
        self._result: Result | None = None
        self.add_marker(pytest.mark.testvibe(choice.request.feature, config=choice.request.config))

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        """Return its place, which is no file, and its title in reports."""
        return self.path / ROOT, 0, f"Feature: {self.name}"

    def runtest(self) -> None:
        """Wait for the run; fail if it did not pass."""
        self._result = None
        self._result = result = self._suite.result(self.run_request, self.nodeid)
        properties: dict[str, object] = {}
        if run_id := result.entry.facts.get("runId"):
            properties[RUN] = run_id
        if result.item.earlier:
            runs = ", ".join(f"run {each.run_id} {each.status}" for each in result.item.earlier)
            properties[EARLIER_RUNS] = one_line(runs)
        if result.item.is_flaky:
            properties[FLAKY] = "true"
        others = [
            each for each in self.user_properties if each[0] not in {RUN, EARLIER_RUNS, FLAKY}
        ]
        self.user_properties[:] = [*others, *properties.items()]
        if self.config.pluginmanager.has_plugin("allure_listener"):
            tell_allure(result)
        run = result.run
        if result.item.verdict is Verdict.QUARANTINED:
            pytest.xfail(str(result.item.quarantine))
        if run.is_failure or result.item.verdict is Verdict.FAILED:
            raise RunFailed
        run.raise_for_status()

    def complete(self, report: pytest.TestReport) -> list[pytest.SubtestReport]:
        """Add the run's duration and artifacts to the item's report; return those of its tests.

        Args:
            report: The feature's own. If its failure is expected, so are those of its tests.
        """
        if self._result is None or self._result.item.outcome is None:
            return []
        times = self._result.entry.times
        if times.queued_at is not None and times.finished_at is not None:
            report.duration = (times.finished_at - times.queued_at).total_seconds()
        if extras := html_extras(self.config, self._result.files):
            vars(report).setdefault("extras", []).extend(extras)
        return [self._report_of(case, report) for case in self._result.cases]

    def _report_of(self, case: Case, whole: pytest.TestReport) -> pytest.SubtestReport:
        from _pytest.subtests import SubtestContext  # noqa: PLC0415 - it has no public name

        outcome, error = outcome_of(case)
        place = (str(self.path / ROOT), 1)
        report = pytest.SubtestReport(
            self.nodeid,
            self.location,
            dict.fromkeys(self.keywords, 1),
            outcome,
            {"passed": None, "failed": error, "skipped": (*place, error)}[outcome],
            "call",
        )
        report.context = SubtestContext(msg=case.name, kwargs={})
        if outcome == "failed" and whole.skipped and hasattr(whole, "wasxfail"):
            report.outcome = "skipped"
            report.wasxfail = whole.wasxfail
        return report

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401 - pytest's
        """Describe the result; show a traceback only if something else failed."""
        if isinstance(excinfo.value, RunFailed | VibeError):
            return self._result.describe() if self._result else describe_error(excinfo.value)
        return super().repr_failure(excinfo, style)


def outcome_of(case: Case) -> tuple[Literal["passed", "failed", "skipped"], str]:
    """Return what pytest calls the end of a test, and the test's error, else its status."""
    error = case.error or f"the service calls it {case.raw_status!r}"
    if case.status in {CaseStatus.FAILED, CaseStatus.QUARANTINED}:
        return "failed", error
    return ("passed" if case.status is CaseStatus.PASSED else "skipped"), error


def tell_allure(result: Result) -> None:
    """Add a step for each test of a run, and its artifacts, to the item that Allure reports now."""
    allure: Any = import_module("allure")
    for case in result.cases:
        outcome, error = outcome_of(case)
        with suppress(AssertionError, pytest.skip.Exception), allure.step(case.name):
            # What is raised is what Allure takes for the status of a step.
            if outcome == "failed":
                raise AssertionError(error)
            if outcome == "skipped":
                raise pytest.skip.Exception(error)
    for path in result.files:
        kind, _ = guess_type(path.name)
        allure.attach.file(
            str(path), name=path.name, attachment_type=kind, extension=path.suffix[1:]
        )


def html_extras(config: pytest.Config, files: Collection[Path]) -> list[dict[str, Any]]:
    """Return what pytest-html shows beside a run: its images, and links to its other artifacts."""
    page: str | None = getattr(config.option, "htmlpath", None)
    if page is None or not files:
        return []
    extras: Any = import_module("pytest_html.extras")
    folder = (config.invocation_params.dir / os.path.expandvars(page)).expanduser().parent
    found: list[dict[str, Any]] = []
    for path in files:
        kind = guess_type(path.name)[0] or ""
        if kind.startswith("image/"):
            content = base64.b64encode(path.read_bytes()).decode()
            found.append(extras.image(content, path.name, kind, path.suffix[1:]))
        else:
            link = quote(Path(os.path.relpath(path, folder)).as_posix())
            found.append(extras.url(link, escape(path.name)))
    return found
