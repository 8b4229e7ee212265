"""The dispatches of a batch that are under way.

Decides what becomes of one that is withdrawn, or has no answer when the batch ends. It never
decides which feature is dispatched.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from testvibe_async._http import SendState, Submission
from testvibe_async._journal import RowRecorder
from testvibe_async._util.waiting import wait_uncancelled
from testvibe_async.errors import NotSentError, WaitTimeoutError
from testvibe_async.models import Generation, Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async._batch.reconciliation import Reconciliation
    from testvibe_async._batch.records import Records
    from testvibe_async._dispatch import Job
    from testvibe_async._journal import Rows
    from testvibe_async.intents import Recorder
    from testvibe_async.operations import Operation
    from testvibe_async.refs import Ref

__all__ = ["Sending"]

SnapshotT = TypeVar("SnapshotT", bound=Run | Generation)


class Sending(Generic[SnapshotT]):
    """Dispatches one feature at a time for each of its callers."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        dispatch: Callable[
            [Job, float | None, Submission, Recorder | None], Awaitable[Operation[SnapshotT]]
        ],
        *,
        kind: Literal["run", "generation"],
        attach: Callable[[Ref], Operation[SnapshotT]],
        records: Records[SnapshotT],
        reconciliation: Reconciliation,
        rows: Rows | None,
    ) -> None:
        """Make it; nothing is sent yet.

        Args:
            dispatch: Dispatches one feature.
            kind: What it dispatches.
            attach: Makes the operation of a ref.
            records: Where it is kept what is under way, and what has no answer.
            reconciliation: Is notified of each dispatch.
            rows: Where intents and refs are noted; None for no journal.
        """
        self._dispatch = dispatch
        self._kind = kind
        self._attach = attach
        self._records = records
        self._reconciliation = reconciliation
        self._rows = rows

    async def dispatch(self, place: int, *, deadline: float | None) -> Operation[SnapshotT] | None:
        """Dispatch one; None where it was withdrawn before it was sent.

        Raises:
            DispatchUnknownError: The batch ended before the answer came.
        """
        task, submission = asyncio.current_task(), Submission()
        assert task is not None
        submission.ref = self._records.generations.get(place)
        self._records.submissions[place] = task, submission
        try:
            recorder = None if self._rows is None else RowRecorder(self._rows, place)
            job = self._records.jobs[place]
            operation = await self._dispatch(job, deadline, submission, recorder)
        except (asyncio.CancelledError, NotSentError, WaitTimeoutError) as error:
            if submission.ref is not None and submission.ref.kind == self._kind:
                # It was withdrawn while its recorder noted it.
                self._reconciliation.note_dispatched()
                return self._attach(submission.ref)
            if submission.ref is not None:
                self._records.generations[place] = submission.ref
            if isinstance(error, WaitTimeoutError) or not submission.is_withdrawn:
                raise
            if submission.is_sent:
                self._records.unanswered[place] = submission
                what = "the batch ended before its answer came"
                raise submission.unknown_error(what) from None
            return None
        else:
            self._reconciliation.note_dispatched()
            return operation
        finally:
            del self._records.submissions[place]
            self._reconciliation.note_progress()

    def withdraw(self, *, is_timed_out: bool) -> None:
        """Send nothing more. What was sent already is still waited for.

        Args:
            is_timed_out: Whether the reason is the time-out. A dispatch that waits for a generation
                is then left alone: it has the same deadline, and ends with an error of its own.
        """
        for task, submission in self._records.submissions.values():
            submission.is_withdrawn = True
            is_pending = submission.state is SendState.PENDING
            if is_pending or (submission.state is not SendState.SENT and not is_timed_out):
                task.cancel()

    async def give_up(self, *, within_seconds: float) -> None:
        """Wait for the answers to what was sent, and no longer than this; then it is unknown."""
        until = asyncio.get_running_loop().time() + within_seconds
        sent = [
            task for task, submission in self._records.submissions.values() if submission.is_sent
        ]
        await wait_uncancelled(sent, until=until)
        for task, submission in self._records.submissions.values():
            if submission.is_sent:
                task.cancel()  # Its item is unknown then; an answer that comes late still counts.
