"""What is known of each feature of a batch, by its place in the order asked.

Makes the items and counts the verdicts. It decides nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import evolve

from testvibe_async.models import Generation, Run
from testvibe_async.outcomes import BatchItem, BatchSummary, Verdict

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from testvibe_async._dispatch import Job
    from testvibe_async._http import Submission
    from testvibe_async.errors import VibeError
    from testvibe_async.operations import Operation
    from testvibe_async.refs import Ref

__all__ = ["Records"]

SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)


class Records(Generic[SnapshotT]):
    """The features of a batch, as far as they were read, and how far each has come."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        """What was asked for."""
        self.operations: dict[int, Operation[SnapshotT]] = {}
        """What was dispatched, the latest attempt of each."""
        self.generations: dict[int, Ref] = {}
        """The generations of runs that were withdrawn while they waited for their tests."""
        self.earlier: defaultdict[int, list[SnapshotT]] = defaultdict(list)
        """The outcomes of attempts that failed and were followed by another."""
        self.submissions: dict[int, tuple[asyncio.Task[Any], Submission]] = {}
        """The dispatches under way, each with the task that waits for it."""
        self.unanswered: dict[int, Submission] = {}
        """The dispatches that were sent and had no answer when the batch ended."""
        self.finished: dict[int, BatchItem[SnapshotT]] = {}
        """The items that are final, except that a late answer adds the ref."""
        self._verdicts: Counter[Verdict] = Counter()
        self._flaky = 0

    def finish(self, place: int, item: BatchItem[SnapshotT]) -> None:
        """Keep a final item."""
        self.finished[place] = item
        self._verdicts[item.verdict] += 1
        self._flaky += item.is_flaky

    def refs(self, is_meant: Callable[[Operation[SnapshotT]], bool]) -> list[Ref]:
        """Return the refs of all that was dispatched, or of the operations that are meant."""
        refs = {place: each.ref for place, each in self.operations.items() if is_meant(each)}
        late = {place: each.ref for place, each in self.unanswered.items() if each.ref}
        found = self.generations | late | refs
        return [found[place] for place in sorted(found)]

    def items(self, *, is_stopped: bool) -> list[BatchItem[SnapshotT]]:
        """Return what is known of each at this moment, in the order asked."""
        return [self._item(place, is_stopped=is_stopped) for place in range(len(self.jobs))]

    def _item(self, place: int, *, is_stopped: bool) -> BatchItem[SnapshotT]:
        item, unanswered = self.finished.get(place), self.unanswered.get(place)
        if item is None:
            _, submission = self.submissions.get(place, (None, None))
            if submission is None or not submission.is_sent:
                is_waiting = not is_stopped and place not in self.operations
                return self.new_item(place, None, is_waiting=is_waiting)
            return self.new_item(place, submission.unknown_error("its answer has not come yet"))
        if unanswered is not None and unanswered.ref is not None:
            return evolve(item, ref=unanswered.ref, error=None)
        return item

    def new_item(
        self, place: int, error: VibeError | None, *, is_waiting: bool = False
    ) -> BatchItem[SnapshotT]:
        """Make the item of one, as it stands."""
        job, operation = self.jobs[place], self.operations.get(place)
        return BatchItem(
            feature=job.feature,
            name=job.name,
            config=job.config,
            ref=self.generations.get(place) if operation is None else operation.ref,
            outcome=None if operation is None else operation.outcome,
            error=error,
            is_waiting=is_waiting,
            earlier=tuple(self.earlier.get(place, ())),
        )

    def summary(self, in_flight: int) -> BatchSummary:
        """Count the verdicts, without making the items.

        Args:
            in_flight: How many are dispatched and waited for.
        """
        count = self._verdicts
        sent = sum(submission.is_sent for _, submission in self.submissions.values())
        return BatchSummary(
            succeeded=count[Verdict.SUCCEEDED],
            failed=count[Verdict.FAILED],
            errors=count[Verdict.ERROR],
            in_flight=count[Verdict.IN_FLIGHT] + in_flight,
            unknown=count[Verdict.UNKNOWN] + sent,
            flaky=self._flaky,
            waiting=len(self.jobs) - count.total() - in_flight - sent,
            skipped=count[Verdict.SKIPPED],
        )
