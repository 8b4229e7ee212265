"""A whole report: the items of a batch, named and counted, and the time that they span.

Decides how items are named, in which order they are shown, and the headline. Pure; it never decides
how a format shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence  # noqa: TC003 - get_type_hints(ReportOptions)
from functools import cached_property
from pathlib import Path  # noqa: TC003 - as above
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

from attrs import astuple, evolve, frozen

from testvibe_async import BatchItem, BatchSummary, GenerationLog, StoredBatch, Verdict
from testvibe_async.reports.entries import Case, Entry, Item
from testvibe_async.reports.reasons import URGENCY, CaseStatus
from testvibe_async.reports.text import distinct, one_line
from testvibe_async.runner.trends import news_of
from testvibe_async.runner.words import counted, counts_of, seconds_of

if TYPE_CHECKING:
    from datetime import datetime


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

    @classmethod
    def of(cls, items: Iterable[Item], **options: Unpack[ReportOptions]) -> Self:
        """Return the report of a batch."""
        items = list(items)
        history = options.get("history", ())
        news = {(each.feature.casefold(), each.config): each for each in news_of(items, history)}
        # Where another one failed, or is in flight, the report is not green in any case.
        dispatched = BatchSummary.of(item for item in items if item.verdict is not Verdict.SKIPPED)
        entries = [
            Entry(
                item=item,
                artifacts=options.get("artifacts", {}),
                logs=options.get("generation_logs", {}),
                is_missing=dispatched.is_success and item.verdict is Verdict.SKIPPED,
                change=news.get(item.key),
            )
            for item in items
        ]
        for name, why in options.get("left_out", {}).items():
            entries.append(Entry(item=BatchItem(feature=name), left_out=why))
        named = enumerate(zip(entries, distinct(each.called for each in entries), strict=True), 1)
        return cls(
            title=one_line(options.get("title", "")) or "TestVibe",
            entries=tuple(evolve(each, number=number, name=name) for number, (each, name) in named),
        )

    @cached_property
    def items(self) -> list[Item]:
        """The items of the batch, without what was not selected."""
        return [each.item for each in self.entries if each.left_out is None]

    @cached_property
    def summary(self) -> BatchSummary:
        """The number of items of each verdict."""
        return BatchSummary.of(self.items)

    @cached_property
    def _times(self) -> list[datetime]:
        attempts = (attempt for entry in self.entries for attempt in (*entry.earlier, entry))
        return [at for each in attempts for at in astuple(each.times) if at is not None]

    @property
    def started_at(self) -> datetime | None:
        """The first known time; None, as `finished_at` then is, if none is known."""
        return min(self._times, default=None)

    @property
    def finished_at(self) -> datetime | None:
        """The last known time."""
        return max(self._times, default=None)

    @property
    def seconds(self) -> float | None:
        """Duration of the batch in seconds, without pauses; None if unknown."""
        return seconds_of(self.items) or None

    @property
    def by_urgency(self) -> list[Entry]:
        """The entries, failures first and flaky ones next, new ones before known ones."""
        return sorted(
            self.entries,
            key=lambda each: (
                URGENCY.index(each.item.verdict),
                not each.item.is_flaky,
                not each.news,
            ),
        )

    @property
    def news(self) -> list[Entry]:
        """The entries that are newly failing or newly flaky, the most urgent first."""
        return [entry for entry in self.by_urgency if entry.news]

    @property
    def failures(self) -> list[tuple[Entry, Case]]:
        """The tests that failed, without quarantined ones; the most urgent entries first."""
        urgent = (each for each in self.by_urgency if each.item.verdict is not Verdict.QUARANTINED)
        return [(entry, case) for entry in urgent for case in entry.failures]

    @property
    def flaky(self) -> list[Entry]:
        """The entries that succeeded after an attempt that failed."""
        return [entry for entry in self.entries if entry.item.is_flaky]

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
        left_out = len(self.entries) - len(self.items)
        return one_line(counts_of(self.items) + (f", {left_out:,} left out" if left_out else ""))
