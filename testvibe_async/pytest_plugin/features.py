"""Features as pytest's nodes: one collector, and one item for each feature and configuration.

Decides what is specific to pytest about a selection (node ids and drafts), and how pytest reports a
finished run: each test in it is a subtest, and the item passes if the run did. The runner decides
the meaning of a word, for every surface. `session` decides when a run is dispatched.

A `SubtestReport` is pytest's own, and pytest alone counts it. It is logged with the report of its
feature, not before: of a feature that another plugin runs again, only the last run counts.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from typing import TYPE_CHECKING, Any, Literal

import pytest
from attrs import evolve

from testvibe_async import Feature, IncompleteListError, NotFoundError, Verdict, VibeError
from testvibe_async.models import DRAFT
from testvibe_async.pytest_plugin.options import ROOT
from testvibe_async.pytest_plugin.results import Result, describe_error, headline
from testvibe_async.pytest_plugin.suite import RunRequest, Suite
from testvibe_async.reports.reasons import CaseStatus
from testvibe_async.reports.text import one_line
from testvibe_async.runner.names import did_you_mean

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator, Sequence

    from testvibe_async.reports.entries import Case
    from testvibe_async.runner.selection import Selection
RUN = "testvibe_run"
"""The property of a report with the id of its run."""

FLAKY = "testvibe_flaky"
"""The property of a report whose feature passed after a run that failed: its runs."""


class RunFailed(AssertionError):  # noqa: N818 - a verdict; the message is the report
    """A run that did not pass; to reports, a failed test and not a broken one.

    Nothing else is what `xfail` expects of a feature.
    """


class FeatureCollector(pytest.Collector):
    """The collector of all chosen features."""

    def __init__(self, *, suite: Suite, node_ids: Collection[str], **options: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**options)
        self._suite = suite
        self._node_ids = node_ids

    def collect(self) -> Iterator[FeatureItem]:
        """Make the items."""
        try:
            chosen = choose(self._node_ids, self._suite)
        except VibeError as error:
            raise self.CollectError(describe_error(error)) from error
        for node_id, request, is_draft in chosen:
            # Given as a text, because pytest takes brackets at the end of a name for parameters.
            yield FeatureItem.from_parent(  # pyright: ignore[reportUnknownMemberType]
                self,
                name=node_id.removeprefix(f"{ROOT}::"),
                nodeid=node_id,
                run_request=request,
                is_draft=is_draft,
                suite=self._suite,
            )


class FeatureItem(pytest.Item):
    """One feature with one configuration."""

    def __init__(
        self,
        *,
        run_request: RunRequest,
        is_draft: bool,
        suite: Suite,
        **options: Any,  # noqa: ANN401 - pytest's
    ) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType]
        self.run_request: RunRequest = run_request
        self.is_draft: bool = is_draft
        """True if the service lists it as never generated, and it was not asked for by its name."""
        self._suite = suite
        self._result: Result | None = None
        self.add_marker(pytest.mark.testvibe(run_request.feature, config=run_request.config))

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        """Return its place, which is no file, and its title in reports."""
        return self.path / ROOT, 0, f"Feature: {self.name}"

    def runtest(self) -> None:
        """Wait for the run; fail if it did not pass."""
        self._result = None
        self._result = result = self._suite.result(self.run_request, self.nodeid)
        entry = result.entry
        runs = [f"{each.operation} {each.status}" for each in (*entry.earlier, entry)]
        own = {RUN: entry.facts.get("runId"), FLAKY: ", ".join(runs) if entry.item.is_flaky else ""}
        both = dict(self.user_properties) | own
        self.user_properties[:] = [(name, value) for name, value in both.items() if value]
        run = result.run
        if entry.item.verdict is Verdict.QUARANTINED:
            pytest.xfail(str(entry.item.quarantine))
        if run.is_failure or entry.item.verdict is Verdict.FAILED:
            raise RunFailed(headline(entry))
        run.raise_for_status()

    def complete(self, report: pytest.TestReport) -> list[pytest.SubtestReport]:
        """Add the run's duration to the item's report; return those of its tests.

        Args:
            report: The feature's own. If its failure is expected, so are those of its tests.
        """
        if self._result is None or self._result.entry.item.outcome is None:
            return []
        times = self._result.entry.times
        if times.queued_at is not None and times.finished_at is not None:
            report.duration = (times.finished_at - times.queued_at).total_seconds()
        return [self._report_of(case, report) for case in self._result.cases]

    def _report_of(self, case: Case, whole: pytest.TestReport) -> pytest.SubtestReport:
        from _pytest.subtests import SubtestContext  # noqa: PLC0415 - it has no public name

        outcome, error = outcome_of(case)
        skipped = (str(self.path / ROOT), 1, error)
        details = {"passed": None, "failed": error, "skipped": skipped}[outcome]
        report = pytest.SubtestReport(
            self.nodeid,
            self.location,
            dict.fromkeys(self.keywords, 1),
            outcome,
            details,
            "call",
            seconds=case.seconds or 0.0,  # Not its duration, which the feature's own has already.
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


def separate_cases(config: pytest.Config) -> None:
    """Have a JUnit report show each test of a run as a case of its own.

    pytest 9 adds them to the case of their test: readers then show one failure of several, and
    count fewer cases than the report says.
    """
    from _pytest.junitxml import xml_key  # noqa: PLC0415 - pytest has no hook for that

    xml: Any = config.stash.get(xml_key, None)
    if xml is None:
        return
    open_case = xml._opentestcase  # noqa: SLF001

    def open_own_case(report: Any) -> Any:  # noqa: ANN401 - pytest's
        if not isinstance(report, pytest.SubtestReport) or not is_feature(report):
            return open_case(report)
        name = str(report.context.msg)
        own = copy(report)
        own.nodeid += f"::{name}"
        case = open_case(own)
        feature = report.nodeid.removeprefix(f"{ROOT}::")
        case.attrs.update(classname=f"{ROOT}.{feature}", name=name)
        case.duration = vars(report)["seconds"]
        return case

    xml._opentestcase = open_own_case  # noqa: SLF001


def is_feature(report: pytest.TestReport) -> bool:
    """Return whether a report is that of a feature, or of a test of its run."""
    return report.nodeid.startswith(f"{ROOT}::")


def choose(node_ids: Collection[str], suite: Suite) -> list[tuple[str, RunRequest, bool]]:
    """Return the features to collect, in the order of the words, else in the service's.

    Those without tests that only a glob matches come last. Each has its node id, its
    run, and True for a draft that was not asked for by its name.

    Args:
        node_ids: The node ids of the only features to collect. Empty: all that the options select.
        suite: Has the options, and knows what words mean.

    Raises:
        pytest.Collector.CollectError: A node id matches no feature.
        VibeError: The service could not be asked, or has no such feature or configuration.
    """
    if f"{ROOT}::" in node_ids:  # the node id of the collector means all features
        node_ids = ()
    selection = _selected(node_ids, suite)
    left_out = [each for each in selection.left_out if node_ids or not each.is_suggestion]
    drafts = {each.id for each in left_out if (each.status or "").casefold() == DRAFT}
    by_id = {
        node_id.casefold(): (node_id, own, getattr(feature, "id", None) in drafts)
        for feature, request in _requests([*selection.features, *left_out])
        for config in selection.configs
        for own in [evolve(request, config=config, site_url=suite.options.site_url)]
        for node_id in [f"{ROOT}::{_item_name(own)}"]
    }
    if missing := [node_id for node_id in node_ids if node_id.casefold() not in by_id]:
        meant = did_you_mean(missing[0], [node_id for node_id, _, _ in by_id.values()])
        raise pytest.Collector.CollectError(
            f"no feature is {missing[0]!r}{meant and f': {meant}'}; pytest --testvibe "
            "--collect-only -q lists them, with [NAME] if there is --testvibe-config NAME"
        )
    named = [by_id[node_id.casefold()] for node_id in dict.fromkeys(node_ids)]
    return [(*each[:2], False) for each in named] or list(by_id.values())


def _selected(node_ids: Collection[str], suite: Suite) -> Selection:
    """Return what the options select, or all features and suggestions to find node ids among.

    Where the service has no whole list, a plain node id has a name that can be asked for.
    """
    words = () if node_ids else suite.options.select
    try:
        only_excludes = all(word.startswith("!") for word in words)
        return suite.select(["*", *words] if only_excludes else words)
    except (NotFoundError, IncompleteListError) as error:
        if node_ids:
            names = [node_id.removeprefix(f"{ROOT}::") for node_id in node_ids]
            for config in suite.options.config:
                names = [name.removesuffix(f"[{config}]") for name in names]
            return suite.select(names)
        error.add_note("To name features: --testvibe-select NAME, without * and ?")
        raise


def _item_name(request: RunRequest) -> str:
    """Return the name of a run's item, on one line that is safe to print.

    pytest takes what follows the first bracket for parameters, and adds a bracket at the end if
    there is none.
    """
    name = one_line(str(request))
    return name if name.endswith("]") else name.replace("[", "(").replace("]", ")")


def _requests(features: Sequence[Any]) -> Iterator[tuple[str | Feature, RunRequest]]:
    """Yield each feature with its request. Of several with one name, each has its id in its own.

    The service reads a name of digits as an id, and a server before it may read a slash as one of
    the path: such features are requested by their ids.
    """
    numbers = Counter(each.name.casefold() for each in features if not isinstance(each, str))
    for each in features:
        if isinstance(each, str):
            yield each, RunRequest(each)
            continue
        is_only = numbers[each.name.casefold()] == 1
        name = each.name or str(each.id)
        is_sure = is_only and not name.isdecimal() and not {*name} & {*"/\\"}
        title = name if is_only or not each.name else f"{name} ({each.id})"
        yield each, RunRequest(title, feature_id=None if is_sure else each.id)


def outcome_of(case: Case) -> tuple[Literal["passed", "failed", "skipped"], str]:
    """Return what pytest calls the end of a test, and the test's error, else its status."""
    error = case.error or f"the service calls it {case.raw_status!r}"
    if case.status in {CaseStatus.FAILED, CaseStatus.QUARANTINED}:
        return "failed", error
    return ("passed" if case.status is CaseStatus.PASSED else "skipped"), error
