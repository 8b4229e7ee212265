"""A whole report: the items of a batch, named and counted, and the time that they span.

Decides how items are named, in which order they are shown, and the headline. Pure; it never decides
how a format shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence  # noqa: TC003 - get_type_hints(ReportOptions)
from datetime import datetime  # noqa: TC003 - as above
from pathlib import Path  # noqa: TC003 - as above
from typing import Self, TypedDict, Unpack

from attrs import astuple, evolve, frozen

from testvibe_async.batch import StoredBatch  # noqa: TC001 - as above
from testvibe_async.errors import ConfigError
from testvibe_async.models import GenerationLog  # noqa: TC001 - as above
from testvibe_async.outcomes import BatchItem, BatchSummary, Verdict
from testvibe_async.reports.entries import Case, Entry, Item, between
from testvibe_async.reports.reasons import URGENCY, CaseStatus
from testvibe_async.reports.text import distinct, one_line
from testvibe_async.runner.trends import news_of
from testvibe_async.runner.words import counted, counts_of, seconds_of


class ReportOptions(TypedDict, total=False):
    """Options of a report. Each is optional."""

    title: str
    """The title; `"TestVibe"` by default."""

    artifacts: Mapping[int, Sequence[Path]]
    """By run id, the files that `download_artifacts` returned."""

    generation_logs: Mapping[str, GenerationLog]
    """By request id, what `get_generation_log` returned."""

    left_out: Mapping[str, str]
    """The features that were not selected, by their names, each with the reason: `skipped`."""

    history: Sequence[StoredBatch]
    """Earlier batches of the same features, the oldest first: what fails or is flaky and was not
    when it ran last is named as new."""

    started_at: datetime | None
    """The time of the start; by default the earliest time of an item."""

    finished_at: datetime | None
    """The time of the end; by default the latest time of an item."""

    folder: Path
    """Folder of the page.

    Links to the `artifacts` are relative to it, so that they stay valid if both are moved
    together, and screenshots of failed tests are read and embedded. Without a folder, links use
    the paths as given, and nothing is read.
    """


@frozen(kw_only=True)
class Report:
    """The content of a report, for every format."""

    title: str
    """The title, clean and never empty."""

    entries: tuple[Entry, ...]
    """The entries in the order of the batch."""

    summary: BatchSummary
    """The number of items of each verdict."""

    started_at: datetime | None
    """The time of the start; None, as `finished_at` then is, if no time is known."""

    finished_at: datetime | None
    """The time of the end, or the last known time."""

    seconds: float | None
    """Duration of the batch in seconds, without pauses; None if unknown."""

    @classmethod
    def of(cls, items: Iterable[Item], **options: Unpack[ReportOptions]) -> Self:
        """Return the report of a batch.

        Raises:
            ConfigError: A time has no time zone.
        """
        items = list(items)
        started_at, finished_at = options.get("started_at"), options.get("finished_at")
        is_given = started_at is not None or finished_at is not None
        for instant in (started_at, finished_at):
            if instant is not None and instant.tzinfo is None:
                raise ConfigError(
                    f"{instant} has no time zone: pass one that has, as datetime.now(UTC) does"
                )
        # Where another one failed, or is in flight, the report is not green in any case.
        history = options.get("history", ())
        news = {(each.feature.casefold(), each.config): each for each in news_of(items, history)}
        dispatched = BatchSummary.of(item for item in items if item.verdict is not Verdict.SKIPPED)
        unnamed = [
            Entry(
                item=item,
                number=number,
                artifacts=options.get("artifacts", {}),
                logs=options.get("generation_logs", {}),
                is_missing=dispatched.is_success and item.verdict is Verdict.SKIPPED,
                change=news.get(item.key),
            )
            for number, item in enumerate(items, 1)
        ] + [
            Entry(item=BatchItem(feature=name), number=number, left_out=why)
            for number, (name, why) in enumerate(
                options.get("left_out", {}).items(), len(items) + 1
            )
        ]
        names = distinct(entry.called for entry in unnamed)
        entries = tuple(evolve(each, name=name) for each, name in zip(unnamed, names, strict=True))
        attempts = (attempt for entry in entries for attempt in (*entry.earlier, entry))
        known = [at for attempt in attempts for at in astuple(attempt.times) if at is not None]
        started_at = started_at or min(known, default=finished_at)
        finished_at = finished_at or max(known, default=started_at)
        return cls(
            title=one_line(options.get("title", "")) or "TestVibe",
            entries=entries,
            summary=BatchSummary.of(items),
            started_at=started_at,
            finished_at=finished_at,
            seconds=between(started_at, finished_at) if is_given else seconds_of(items) or None,
        )

    @property
    def by_urgency(self) -> list[Entry]:
        """The entries, failures first and flaky ones next, new ones before known ones."""
        return sorted(
            self.entries,
            key=lambda each: (URGENCY.index(each.verdict), not each.is_flaky, not each.news),
        )

    @property
    def news(self) -> list[Entry]:
        """The entries that are newly failing or newly flaky, the most urgent first."""
        return [entry for entry in self.by_urgency if entry.news]

    @property
    def failures(self) -> list[tuple[Entry, Case]]:
        """The tests that failed, without quarantined ones; the most urgent entries first."""
        urgent = (each for each in self.by_urgency if each.verdict is not Verdict.QUARANTINED)
        return [(entry, case) for entry in urgent for case in entry.failures]

    @property
    def flaky(self) -> list[Entry]:
        """The entries that succeeded after an attempt that failed."""
        return [entry for entry in self.entries if entry.is_flaky]

    @property
    def verdicts(self) -> dict[str, int]:
        """The number of entries of each verdict that occurs, failures first."""
        return Counter(entry.word for entry in self.by_urgency)

    @property
    def configs(self) -> list[str]:
        """The configurations that occur, in the order of their first items."""
        return list(dict.fromkeys(entry.config for entry in self.entries if entry.config))

    @property
    def tests_in_words(self) -> str:
        """The number of tests of each status, without operations; empty for no tests."""
        cases = [case for entry in self.entries for case in entry.cases if not case.is_operation]
        found = Counter(case.status for case in cases)
        counts = [f"{found[status]:,} {status}" for status in CaseStatus if found[status]]
        if flaky := sum(case.is_flaky for case in cases):
            counts[0] += f" ({flaky:,} flaky)"  # The first status is `passed`.
        return f"{counted(len(cases), 'test')}: {', '.join(counts)}" if counts else ""

    @property
    def shared_facts(self) -> dict[str, str]:
        """The facts on the place that are the same in all entries that have them."""
        values_by_name = {
            name: {entry.facts[name] for entry in self.entries if name in entry.facts}
            for name in ("siteUrl", "project", "server")
        }
        return {name: values.pop() for name, values in values_by_name.items() if len(values) == 1}

    @property
    def headline(self) -> str:
        """The outcome of the batch, in a few words."""
        counts = counts_of(each.item for each in self.entries if each.left_out is None)
        left_out = sum(each.left_out is not None for each in self.entries)
        return one_line(counts + (f", {left_out:,} left out" if left_out else ""))
