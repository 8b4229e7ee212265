"""One item of a batch as reports show it: its name, its tests, its attempts, times and facts.

Decides what counts as a test, which tests of several attempts are the same, which
files show a test, and which times an operation has. It never decides how a format shows them.
"""

from __future__ import annotations

import math
import re
from datetime import UTC
from functools import cached_property
from itertools import takewhile
from operator import eq
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from attrs import Factory, evolve, field, frozen

from testvibe_async import BatchItem, CaseResult, GenerationLog, Verdict
from testvibe_async._core.util.serialization import wire_name
from testvibe_async.errors import KindName
from testvibe_async.models import DEFAULT_CONFIG, Snapshot
from testvibe_async.reports.reasons import VERDICTS, CaseStatus, reason_of, status_of, why
from testvibe_async.reports.text import cut, distinct, one_line, tail
from testvibe_async.runner.words import verdict_of, with_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from testvibe_async.runner.trends import Trend


Item = BatchItem[Snapshot]

Kind: TypeAlias = KindName | Literal["dispatch"]
"""The kind of operation of an item: `dispatch` where none was dispatched and shows its kind."""

ID_FIELDS: Mapping[KindName, str] = {"run": "run_id", "generation": "request_id"}
"""By kind, the field of a ref and of an observation with the operation's id."""

IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
_RANKS = (IMAGES, {".zip"}, {".webm", ".mp4"})
"""Endings of files, the most informative first."""

_FAILURES = {CaseStatus.FAILED, CaseStatus.QUARANTINED, CaseStatus.ERROR, CaseStatus.UNKNOWN}


@frozen(kw_only=True, eq=False)
class Case:
    """A test, or an operation without a test that shows its outcome."""

    name: str
    """The name on one line, never empty, unique in its run."""

    status: CaseStatus
    """The result."""

    raw_status: str
    """The service's own status; empty if there is none."""

    seconds: float | None = None
    """The duration in seconds; None if unknown."""

    error: str = ""
    """The whole error, clean; empty if there is none."""

    is_operation: bool = False
    """True if it stands for the operation itself."""

    attempt: int = 1
    """The attempt that it is of, from 1."""

    earlier: tuple[Case, ...] = ()
    """The same test in the attempts before, oldest first."""

    @property
    def is_failed(self) -> bool:
        """True if it was observed to fail."""
        return self.status is CaseStatus.FAILED

    @property
    def is_flaky(self) -> bool:
        """True if it passed after an attempt in which it failed."""
        return self.status is CaseStatus.PASSED and any(case.is_failed for case in self.earlier)

    @property
    def message(self) -> str:
        """The first line of the error."""
        return one_line(self.error.partition("\n")[0])


@frozen(kw_only=True)
class Times:
    """The times of an operation; each None if unknown."""

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
        return between(self.queued_at, self.started_at)

    @property
    def seconds(self) -> float | None:
        """Duration in seconds, including the time in the queue if the start is unknown."""
        return between(self.started_at or self.queued_at, self.finished_at)


@frozen(kw_only=True, eq=False)
class Entry:
    """One item with all that reports show, its texts clean."""

    item: Item
    """The item itself."""

    number: int = 1
    """The place in the order of the batch, from 1."""

    name: str = field(default=Factory(lambda self: self.called, takes_self=True))
    """Feature and configuration, unique in the report."""

    artifacts: Mapping[int, Sequence[Path]] = field(factory=dict[int, "Sequence[Path]"])
    """By run id, the files that its artifacts were downloaded to."""

    logs: Mapping[str, GenerationLog] = field(factory=dict[str, "GenerationLog"])
    """By request id, the logs of generations."""

    attempt: int = field(default=Factory(lambda self: len(self.item.earlier) + 1, takes_self=True))
    """The number of the attempt, from 1."""

    change: Trend | None = None
    """The news of the feature; None if there is none, and for an earlier attempt."""

    left_out: str | None = None
    """The reason why the feature was not selected; None for one of the batch."""

    is_missing: bool = False
    """True if it counts as an error that it was never dispatched."""

    @cached_property
    def earlier(self) -> tuple[Entry, ...]:
        """The attempts before, oldest first; each of them failed, and its ref is not known."""
        bare = evolve(self.item, ref=None, error=None, quarantine=None, earlier=())
        return tuple(
            evolve(self, item=evolve(bare, outcome=outcome), attempt=number, change=None)
            for number, outcome in enumerate(self.item.earlier, 1)
        )

    @property
    def feature(self) -> str:
        """The feature's name, never empty."""
        return one_line(self.item.feature_name) or "(no name)"

    @property
    def config(self) -> str | None:
        """The configuration; None if there is none, or none is known."""
        named = self.item.config or getattr(self.item.outcome, "config", None)
        default = DEFAULT_CONFIG if self.kind == "run" else ""
        return one_line(named or default) or None

    @property
    def called(self) -> str:
        """The feature's name, with the configuration if that is not the default one."""
        return with_config(self.feature, self.config)

    @property
    def kind(self) -> Kind:
        """The kind of operation."""
        if self.item.outcome is not None:
            return self.item.outcome.kind
        return self.item.ref.kind if self.item.ref else "dispatch"

    @property
    def operation(self) -> str:
        """The operation in words: `run 214`, or only its kind if its id is not a number."""
        number = next((each for each in self.ids.values() if isinstance(each, int)), None)
        return self.kind if number is None else f"{self.kind} {number}"

    @property
    def word(self) -> str:
        """The verdict in a word, as it is counted: what was not seen is not in flight."""
        return verdict_of(self.item)

    @property
    def news(self) -> str:
        """The news in words: `newly failing, new since batch 17, …`; empty if there is none."""
        return f"{self.change.change}, {self.change.new_since(UTC)}" if self.change else ""

    @property
    def status(self) -> str:
        """The service's own status if there is an outcome, else the verdict in a word."""
        status = self.item.outcome.status if self.item.outcome else None
        return one_line(status or "", 24) or self.word

    @cached_property
    def reason(self) -> str:
        """The reason in one line, or the number of passed tests."""
        if self.left_out is not None:
            return one_line(self.left_out)
        which = f" (attempt {self.attempt})" if self.earlier else ""
        return reason_of(self.item, self._generation_log) + which

    @property
    def log(self) -> str:
        """The end of the log; empty if there is none."""
        if self._generation_log is None:
            return tail(getattr(self.item.outcome, "log", None) or "")
        sections = (
            "\n".join((f"{each.title or each.section}:", *each.log))
            for each in self._generation_log.sections
            if each.log
        )
        return tail("\n\n".join(sections))

    @property
    def _generation_log(self) -> GenerationLog | None:
        return self.logs.get(self._fact("request_id"))

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the artifacts were downloaded to."""
        return tuple(self.artifacts.get(self._fact("run_id"), ()))

    @property
    def remote_files(self) -> int:
        """The number of artifacts at the service."""
        return len(getattr(self.item.outcome, "artifacts", ()))

    @property
    def times(self) -> Times:
        """The times of the operation."""
        fact = self._fact
        started_at, queued_at = fact("started_at"), fact("created_at")
        if started_at is None:
            queued_at = queued_at or fact("dispatched_at")
        # Of a generation, the service reports only the time of its last change.
        finished_at = fact("finished_at") or fact("updated_at")
        return Times(queued_at=queued_at, started_at=started_at, finished_at=finished_at)

    @property
    def ids(self) -> dict[str, int | str]:
        """The operation's id, by the service's own name for it; empty if it is not known."""
        found = {wire_name(name): self._fact(name) for name in ID_FIELDS.values()}
        return {name: each for name, each in found.items() if each is not None}

    @cached_property
    def facts(self) -> dict[str, str]:
        """The ids and the place of the operation, by the service's own names."""
        places = ("feature_id", "config", "site_url", "project", "server")
        facts = {wire_name(name): self._fact(name) for name in places}
        facts = {**self.ids, **facts, "config": self.config, "change": self.news or None}
        return {name: one_line(str(fact)) for name, fact in facts.items() if fact is not None}

    def _fact(self, name: str) -> Any:  # noqa: ANN401 - each attribute has its own type
        """Return an attribute of the outcome, or else of the ref."""
        found = (getattr(each, name, None) for each in (self.item.outcome, self.item.ref))
        return next((value for value in found if value is not None), None)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The tests of the last attempt, at least one, each with its like in the attempts before.

        The operation is one more where none of them shows that it failed, or that it is flaky.
        """
        results = getattr(self.item.outcome, "tests", ())
        names = distinct(one_line(test.name) or "(no name)" for test in results)
        cases = [self._case(*each) for each in zip(results, names, strict=True)]
        if self.item.verdict in {Verdict.FAILED, Verdict.QUARANTINED}:
            is_shown = any(case.status is VERDICTS[self.item.verdict][0] for case in cases)
        else:
            failures = (case for attempt in self.earlier for case in attempt.failures)
            is_shown = all(case.name in names and not case.is_operation for case in failures)
        return (*cases, *(() if cases and is_shown else [self._operation_case()]))

    @cached_property
    def failures(self) -> tuple[Case, ...]:
        """The tests that failed, also in quarantine, were not observed, or may be dispatched."""
        return tuple(case for case in self.cases if case.status in _FAILURES)

    @property
    def shown(self) -> tuple[Case, ...]:
        """The tests that files and the log belong to: those that failed, else the first one."""
        return self.failures or self.cases[:1]

    @cached_property
    def _files_by_name(self) -> dict[str, tuple[Path, ...]]:
        return files_by_name(self.files, [case.name for case in self.shown])

    def files_of(self, case: Case) -> tuple[Path, ...]:
        """Return the downloaded files that show a test, the most informative first."""
        return self._files_by_name.get(case.name, ())

    def log_of(self, case: Case) -> str:
        """Return the end of the log with the first test that it belongs to, else nothing."""
        return self.log if case in self.shown[:1] else ""

    def _case(self, test: CaseResult, name: str) -> Case:
        status = status_of(test)
        if status is CaseStatus.FAILED and self.item.verdict is Verdict.QUARANTINED:
            status = CaseStatus.QUARANTINED
        like = (case for each in self.earlier for case in each.cases if not case.is_operation)
        return Case(
            name=name,
            status=status,
            raw_status=one_line(test.status or "", 24),
            seconds=_seconds(test.duration_ms),
            error=cut(test.error or ""),
            attempt=self.attempt,
            earlier=tuple(case for case in like if case.name == name),
        )

    def _operation_case(self) -> Case:
        reasons = [] if self.item.verdict is Verdict.SUCCEEDED else [self.reason]
        if self.item.error:  # The whole reason, without the attempt.
            reasons = [
                *(reasons if self.item.verdict is Verdict.UNKNOWN else ()),
                why(self.item.error),
            ]
        return self._as_case(
            CaseStatus.ERROR if self.is_missing else VERDICTS[self.item.verdict][0],
            "\n".join(reasons),
            tuple(attempt.as_failure() for attempt in self.earlier),
        )

    def as_failure(self) -> Case:
        """Return a whole attempt as one case, the errors of its tests included."""
        tests = [f"{case.name}\n{case.error}" for case in self.failures if not case.is_operation]
        return self._as_case(CaseStatus.FAILED, "\n\n".join([self.reason, *tests]))

    def _as_case(self, status: CaseStatus, error: str, earlier: tuple[Case, ...] = ()) -> Case:
        return Case(
            name=self.kind,
            status=status,
            raw_status=self.status,
            seconds=self.times.seconds,
            error=cut(error),
            is_operation=True,
            attempt=self.attempt,
            earlier=earlier,
        )


def _seconds(milliseconds: float | None) -> float | None:
    """Return seconds; None for a number of the service that is no duration."""
    if milliseconds is None or not math.isfinite(milliseconds) or milliseconds < 0:
        return None
    return milliseconds / 1000


def between(start: datetime | None, end: datetime | None) -> float | None:
    """Return seconds, never below 0, since the two may come from different clocks."""
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())


def files_by_name(files: Iterable[Path], names: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Return the files that show each test: screenshots first, then traces and videos.

    A file is that of the test whose name it shares most words with; a test alone has all of them.

    Args:
        files: The files of one run.
        names: The names of the tests that failed, or else the first one.
    """
    found: dict[str, list[Path]] = {name: [] for name in names}
    for file in sorted(files, key=_rank):
        scores = {name: _likeness(name, file) for name in names}
        best = max(scores.values())
        for name, score in scores.items():
            if score == best and (score > 0 or len(names) == 1):
                found[name].append(file)
    return {name: tuple(each) for name, each in found.items()}


def _likeness(name: str, file: Path) -> int:
    """Return the number of leading words shared by a test's name and a file or its folder."""
    wanted = _words(name)
    parts = (file.stem, *file.parts[-3:-1])
    return max(len(list(takewhile(bool, map(eq, wanted, _words(part))))) for part in parts)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower().replace("_", " "))


def _rank(file: Path) -> int:
    suffix = file.suffix.lower()
    return next((n for n, endings in enumerate(_RANKS) if suffix in endings), len(_RANKS))
