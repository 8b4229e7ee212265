"""One item of a batch as reports show it: its name, its tests, its attempts, times and facts.

Decides what counts as a test, which tests of several attempts are the same, and which times an
operation has. It never decides how a format shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import evolve, frozen

from testvibe_async.models import DEFAULT_CONFIG, Generation, Run
from testvibe_async.outcomes import BatchItem, Verdict
from testvibe_async.reports.cases import Case, CaseStatus, to_cases
from testvibe_async.reports.reasons import reason_of, why
from testvibe_async.reports.text import cut, one_line, tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from testvibe_async.models import GenerationLog

__all__ = ["Entry", "Item", "describe"]

Item = BatchItem[Run | Generation]


Kind = Literal["run", "generation", "dispatch"]
"""The kind of operation of an item: `dispatch` where none was dispatched and shows its kind."""


@frozen(kw_only=True)
class Times:
    """The times of an operation; each None where it is not known."""

    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def began_at(self) -> datetime | None:
        """The first known time."""
        return self.queued_at or self.started_at or self.finished_at

    @property
    def queue_seconds(self) -> float | None:
        """Time in the queue, in seconds."""
        return _between(self.queued_at, self.started_at)

    @property
    def seconds(self) -> float | None:
        """Duration in seconds, with the time in the queue where the start is not known."""
        return _between(self.started_at or self.queued_at, self.finished_at)


@frozen(kw_only=True)
class Entry:
    """One item with all that reports show, its texts clean."""

    number: int
    """The place in the order of the batch, from 1."""

    name: str
    """Feature and configuration, unique in the report."""

    feature: str
    """The feature's name, never empty."""

    config: str | None
    """The configuration; None where there is none, or none is known."""

    kind: Kind
    """The kind of operation."""

    verdict: Verdict
    """The verdict of the item."""

    status: str
    """The service's own status where there is an outcome, else the verdict."""

    reason: str
    """One line that says why, or how many tests passed."""

    error_type: str
    """The class of the item's error; empty where there is none."""

    cases: tuple[Case, ...]
    """The tests, at least one."""

    log: str
    """The end of the log; empty where there is none."""

    files: tuple[Path, ...]
    """The files that the artifacts were downloaded to."""

    remote_files: int
    """The number of artifacts at the service."""

    times: Times
    """The times of the operation."""

    facts: dict[str, str]
    """What identifies the operation, by the service's own names."""

    is_flaky: bool
    """Whether it succeeded after an attempt that failed."""

    earlier: tuple[Entry, ...]
    """The attempts before, oldest first; each of them failed."""

    @property
    def operation(self) -> str:
        """The operation in words: `run 214`, or only its kind where a person can't use its id."""
        return f"{self.kind} {self.facts['runId']}" if "runId" in self.facts else self.kind

    @property
    def failures(self) -> tuple[Case, ...]:
        """The tests that failed, could not be observed, or may have been dispatched."""
        return tuple(case for case in self.cases if case.status in _FAILURES)


_FAILURES = {CaseStatus.FAILED, CaseStatus.ERROR, CaseStatus.UNKNOWN}


def describe(
    item: Item,
    *,
    number: int,
    name: str,
    artifacts: Mapping[int, Sequence[Path]],
    log: GenerationLog | None = None,
) -> Entry:
    """Return the entry of an item.

    Args:
        item: The item of a batch.
        number: Its place in the order of the batch, from 1.
        name: Its name in this report.
        artifacts: The files that artifacts were downloaded to, by run id.
        log: The log of a generation; None where there is none.
    """
    run = item.outcome if isinstance(item.outcome, Run) else None
    earlier = tuple(
        describe(attempt, number=number, name=name, artifacts=artifacts)
        for attempt in _earlier_attempts(item)
    )
    times = _times(item)
    reason = reason_of(item, log) + (f" (attempt {len(earlier) + 1})" if earlier else "")
    return Entry(
        number=number,
        name=name,
        feature=feature_of(item),
        config=config_of(item),
        kind=_kind(item),
        verdict=_verdict(item),
        status=_status(item),
        reason=reason,
        error_type=type(item.error).__name__ if item.error else "",
        cases=_cases(item, reason, earlier),
        log=tail(_log_text(log) if log else (run.log or "" if run else "")),
        files=tuple(artifacts.get(_run_id(item) or -1, ())),
        remote_files=len(run.artifacts) if run else 0,
        times=times,
        facts=_facts(item),
        is_flaky=item.is_flaky,
        earlier=earlier,
    )


def feature_of(item: Item) -> str:
    """Return the feature's name, never empty."""
    return one_line(item.feature_name) or "(no name)"


def config_of(item: Item) -> str | None:
    """Return the configuration; None where there is none, or none is known."""
    named = item.config or (item.outcome.config if isinstance(item.outcome, Run) else None)
    if _kind(item) == "run":
        named = named or DEFAULT_CONFIG
    return one_line(named or "") or None


def _kind(item: Item) -> Kind:
    match item.outcome:
        case Run():
            return "run"
        case Generation():
            return "generation"
        case _:
            return item.latest_ref.kind if item.latest_ref else "dispatch"


def _verdict(item: Item) -> Verdict:
    """Return the verdict; an error where it was not seen, so that no gate lets it pass."""
    return Verdict.ERROR if item.is_unseen else item.verdict


def _status(item: Item) -> str:
    if item.is_unseen:
        return "not seen"
    status = item.outcome.status if item.outcome else None
    return one_line(status or "", 24) or item.verdict


_CASE_STATUSES = {
    Verdict.SUCCEEDED: CaseStatus.PASSED,
    Verdict.FAILED: CaseStatus.FAILED,
    Verdict.ERROR: CaseStatus.ERROR,
    Verdict.UNKNOWN: CaseStatus.UNKNOWN,
    Verdict.IN_FLIGHT: CaseStatus.PENDING,
    Verdict.WAITING: CaseStatus.PENDING,
    Verdict.SKIPPED: CaseStatus.SKIPPED,
}


def _earlier_attempts(item: Item) -> list[Item]:
    """Return an item for each attempt before the last; which ref it had is not known."""
    return [
        evolve(item, outcome=outcome, ref=None, generation_ref=None, error=None, earlier=())
        for outcome in item.earlier
    ]


def _cases(item: Item, reason: str, earlier: Sequence[Entry]) -> tuple[Case, ...]:
    """Return the tests of the last attempt, each with those of that name in the attempts before.

    The operation is one more case where none of them shows that it failed, or that it is flaky.
    """
    tests = to_cases(item.outcome.tests) if isinstance(item.outcome, Run) else ()
    names = {case.name for case in tests}
    attempt = len(earlier) + 1
    tests = tuple(
        evolve(case, attempt=attempt, earlier=_same(case.name, earlier)) for case in tests
    )
    if item.verdict is Verdict.FAILED:
        is_shown = any(case.is_failed for case in tests)
    else:
        failures = (case for attempt in earlier for case in attempt.failures)
        is_shown = all(case.name in names and not case.is_operation for case in failures)
    if tests and is_shown:
        return tests
    return (*tests, _operation_case(item, reason, earlier))


def _same(name: str, earlier: Sequence[Entry]) -> tuple[Case, ...]:
    """Return the tests of a name in the attempts before."""
    return tuple(
        evolve(case, attempt=number)
        for number, attempt in enumerate(earlier, 1)
        for case in attempt.cases
        if case.name == name and not case.is_operation
    )


def _operation_case(item: Item, reason: str, earlier: Sequence[Entry]) -> Case:
    return Case(
        name=_kind(item),
        status=_CASE_STATUSES[_verdict(item)],
        raw_status=_status(item),
        seconds=_times(item).seconds,
        error=_error(item, reason),
        is_operation=True,
        attempt=len(earlier) + 1,
        earlier=tuple(_attempt_case(attempt, number) for number, attempt in enumerate(earlier, 1)),
    )


def _error(item: Item, reason: str) -> str:
    match item.verdict:
        case Verdict.SUCCEEDED:
            return ""
        case Verdict.UNKNOWN:
            return cut(f"{reason}\n{why(item.error)}")
        case _:
            return cut(why(item.error) if item.error else reason)


def _attempt_case(attempt: Entry, number: int) -> Case:
    """Return a whole attempt as one case, the errors of its tests included."""
    tests = [f"{case.name}\n{case.error}" for case in attempt.failures if not case.is_operation]
    return Case(
        name=attempt.kind,
        status=CaseStatus.FAILED,
        raw_status=attempt.status,
        seconds=attempt.times.seconds,
        error=cut("\n\n".join([attempt.reason, *tests])),
        is_operation=True,
        attempt=number,
    )


def _log_text(log: GenerationLog) -> str:
    parts = [
        "\n".join((f"{section.title or section.section}:", *section.log))
        for section in log.sections
        if section.log
    ]
    return "\n\n".join(parts)


def _times(item: Item) -> Times:
    dispatched_at = item.latest_ref.dispatched_at if item.latest_ref else None
    match item.outcome:
        case Run(created_at=created, started_at=started, finished_at=finished):
            return Times(
                queued_at=created or (None if started else dispatched_at),
                started_at=started,
                finished_at=finished,
            )
        case Generation(updated_at=updated):
            return Times(queued_at=dispatched_at, finished_at=updated)
        case _:
            return Times(queued_at=dispatched_at)


def _facts(item: Item) -> dict[str, str]:
    facts = {
        "runId": _first("run_id", item.outcome, item.latest_ref),
        "requestId": _first("request_id", item.outcome, item.latest_ref),
        "featureId": _first("feature_id", item.outcome, item.latest_ref),
        "config": config_of(item),
        "siteUrl": _first("site_url", item.outcome),
        "project": _first("project", item.latest_ref),
        "server": _first("server", item.latest_ref),
    }
    return {name: one_line(str(fact)) for name, fact in facts.items() if fact is not None}


def _run_id(item: Item) -> int | None:
    run_id = item.outcome.run_id if isinstance(item.outcome, Run) else None
    return run_id if run_id is not None else getattr(item.latest_ref, "run_id", None)


def _first(name: str, *sources: object) -> object:
    """Return the attribute of the first source where it is not None."""
    found = (getattr(source, name, None) for source in sources)
    return next((value for value in found if value is not None), None)


def _between(start: datetime | None, end: datetime | None) -> float | None:
    """Return seconds, never below 0, since the two may come from different clocks."""
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())
