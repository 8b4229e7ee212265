"""The rows of one dispatch in its ledger: the attempts to make it, by any process.

The row of an attempt is stored before the first byte of its request. This module decides which row
is the last, whose attempt it is, and that a row which was stored too late is not sent.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from attrs import define, field

from testvibe_async._core.dispatch.unknown import unknown_of
from testvibe_async._core.util import escape
from testvibe_async._core.util.waiting import NO_CONTEXT, cancelling
from testvibe_async._core.wire import KINDS
from testvibe_async.errors import ContradictionError, OperationNotFoundError, VibeError
from testvibe_async.events import logger
from testvibe_async.ledger import RowState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from testvibe_async.ledger import Ledger, Row
    from testvibe_async.refs import Ref

INTENT_SECONDS = 5.0
"""Maximum age in seconds of a row when its request is written; with an older one it is not sent."""

NOTE_SECONDS = 10.0
"""Seconds in which a ledger must note what became known."""


class ClaimedError(VibeError):
    """Another call has inserted the row of this attempt: the request must not be written."""

    def __init__(self) -> None:
        super().__init__("another call makes this attempt")


class NotRecordedError(VibeError):
    """The ledger did not store the row in time: the request must not be written."""


@define(eq=False, kw_only=True)
class Record:
    """The rows of one dispatch in its ledger."""

    ledger: Ledger
    key: str
    """The key of the rows."""

    is_keyed: bool = False
    """True if the caller chose the key, so that the ledger may have rows of earlier calls."""

    item: str = ""
    """The item of a batch that the rows are of; empty for a single dispatch."""

    row: Row | None = None
    """The row of the last attempt, by any process; None if there was none."""

    previous: Row | None = None
    """The row of an attempt that has finished, after which this is the next one."""

    on_row: Callable[[Row], object] | None = None
    """Called with each row of another attempt."""

    _own: Row | None = field(default=None, init=False)
    """The row of the last attempt of this dispatch; others' are only read."""

    _is_stored: bool = field(default=True, init=False)
    """False until the ledger is given a row whose request was written unseen."""

    @property
    def next_number(self) -> int:
        """The number of the next attempt."""
        last = self.row or self.previous
        return 1 if last is None else last.number + 1

    @property
    def ref(self) -> Ref | None:
        """The operation of the last attempt, if it is known."""
        return None if self.row is None else self.row.ref

    @property
    def is_own(self) -> bool:
        """True if this dispatch made the last attempt."""
        return self.row is self._own is not None

    @property
    def is_anothers(self) -> bool:
        """True while the attempt is that of another call, which may still have its answer."""
        return self.row is not None and self.row.state is RowState.INTENDED and not self.is_own

    @property
    def is_accepted(self) -> bool:
        """True if the service accepted the request, by an answer whose id can't be read."""
        return self.row is not None and self.row.state is RowState.ACCEPTED

    async def read(self, server: str, project: str) -> Row | None:
        """Return the row of the last attempt, read from the ledger if it is not known."""
        if self.row is None:
            self.row = last_row(await self.ledger.rows(self.key), server, project, self.item)
        return self.row

    async def owners_of(self, ref: Ref) -> list[Row]:
        """Return the rows of other dispatches that have an operation, as far as they can be read.

        A failure of the ledger is only logged: the operation must not be lost with it.
        """
        row = self.row
        assert row is not None
        try:
            async with asyncio.timeout(NOTE_SECONDS):
                related = await self.ledger.related(row.server, row.project, [ref])
        except Exception as error:  # noqa: BLE001 - a caller's ledger may raise anything
            logger.error("the ledger could not be read: %s", escape(repr(error)))
            return []
        return [each for each in related if each.ref == ref and each.identity != row.identity]

    def replace(self, row: Row) -> None:
        """Note the row of another attempt, or the present one as another process knows it."""
        self.row = row
        if self.on_row is not None:
            self.on_row(row)

    async def claim(self, row: Row) -> None:
        """Have the ledger store the row of an attempt, which is made now.

        Raises:
            ClaimedError: Another call makes this attempt.
            NotRecordedError: The ledger failed, or took too long.
        """
        if self.ledger.is_immediate:
            stored = await self.ledger.insert(row)
        else:
            stored = await self._insert_in_time(row)
        if stored.token != row.token:
            self.replace(stored)
            raise ClaimedError
        self._take(row)

    def claim_unseen(self, new_row: Callable[[], Row]) -> None:
        """Note the row of an attempt that was written unseen; the ledger stores it later."""
        if not self.is_own:
            self._take(new_row())
            self._is_stored = False

    def _take(self, row: Row) -> None:
        self._own = row
        self.replace(row)

    async def _insert_in_time(self, row: Row) -> Row:
        """Have a ledger that takes its time store a row, in time.

        Raises:
            NotRecordedError: It failed, or took too long.
        """
        loop = asyncio.get_running_loop()
        began, limit = loop.time(), asyncio.timeout(INTENT_SECONDS)
        try:
            async with limit:
                stored = await self.ledger.insert(row)
        except (Exception, asyncio.CancelledError) as error:
            # It may have been stored all the same, and is not sent.
            if isinstance(error, asyncio.CancelledError) and cancelling():
                row.state = RowState.NOT_STARTED
                await noted(self.ledger, row)
                raise
            if limit.expired():
                self._take(row)
            raise NotRecordedError(_why_not_recorded(error, limit)) from error
        # The loop's clock stops while the machine sleeps, and the wall clock may be set back.
        age = max((datetime.now(UTC) - row.intended_at).total_seconds(), loop.time() - began)
        if stored.token == row.token and age > INTENT_SECONDS:
            self._take(row)
            what = f"its row was stored after {age:.3g} s, and {INTENT_SECONDS:g} s are allowed"
            raise NotRecordedError(what)
        return stored

    async def note(
        self,
        state: RowState,
        *,
        ref: Ref | None = None,
        error: VibeError | None = None,
        adopted: bool = False,
    ) -> None:
        """Note in the ledger what became known of the last attempt, unless more is known."""
        row = self.row
        assert row is not None
        if row.ref is not None and state in {RowState.UNKNOWN, RowState.NOT_STARTED}:
            return  # Another call, which shares the row, has found its operation.
        if row.note(state, ref=ref, error=error, adopted=adopted):
            is_stored, self._is_stored = self._is_stored, True
            await noted(self.ledger, row, is_stored=is_stored)

    async def note_refused(self, error: VibeError) -> None:
        """Note that the last attempt of this dispatch, if it has no answer, had no effect."""
        if self.is_own and self.row is not None and self.row.state is RowState.INTENDED:
            await self.note(RowState.NOT_STARTED, error=error)

    async def join(self, new_row: Callable[[], Row], ref: Ref) -> bool:
        """Store an operation that serves the purpose of the dispatch, as one that it started.

        Where another call has made the attempt, and nothing started, the operation is that of the
        next one.

        Returns:
            False if the attempt of another call may have started an operation of its own.

        Raises:
            TimeoutError: The ledger took too long.
        """
        async with asyncio.timeout(NOTE_SECONDS):
            while True:
                row = new_row()
                row.state, row.ref, row.adopted = RowState.DISPATCHED, ref, True
                stored = await self.ledger.insert(row)
                self.replace(stored)
                if stored.token == row.token or stored.ref is not None:
                    return True
                if stored.is_open:
                    return False


def last_row(rows: Iterable[Row], server: str, project: str, item: str) -> Row | None:
    """Return the last row of a dispatch among those of its key."""
    place = server, project, item
    own = [row for row in rows if (row.server, row.project, row.item) == place]
    return max(own, key=lambda row: row.number, default=None)


async def noted(ledger: Ledger, row: Row, *, is_stored: bool = True) -> None:
    """Have a ledger note what became known of a row; a failure is only logged, with the row.

    The operation must not be lost with the ledger.

    Args:
        ledger: The ledger.
        row: The row.
        is_stored: False to insert the row.
    """
    try:
        async with NO_CONTEXT if ledger.is_immediate else asyncio.timeout(NOTE_SECONDS):
            await (ledger.note(row) if is_stored else ledger.insert(row))
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and cancelling():
            raise
        what = f"{row.state} {'' if row.ref is None else row.ref.to_json()}"
        logger.error("the ledger could not note a dispatch (%r): %s", error, escape(what))


_REFUTING = (OperationNotFoundError, ContradictionError)
"""The errors which show that an operation that was found, or named, is not that of a dispatch."""


def refute(row: Row, error: VibeError, *, is_keyed: bool = True) -> bool:
    """Take an adopted operation from a row if an error refutes it; return whether it does.

    Another operation may be named then, if the caller knows the key.
    """
    if not row.adopted or not isinstance(error, _REFUTING):
        return False
    what = f"the operation that was found is not its own ({error.brief})"
    then = ", then settle it with ledger.decide" if is_keyed else " before dispatching again"
    advice = f"check {KINDS[row.kind].shown_by}{then}"
    unknown = unknown_of(row, what, advice=advice)
    unknown.__cause__ = error
    if not row.note(RowState.UNKNOWN, error=unknown):
        return False
    row.ref = None
    return True


def _why_not_recorded(error: BaseException, limit: asyncio.Timeout) -> str:
    """Describe how a ledger failed to store a row."""
    if limit.expired():
        return f"its ledger did not store the row within {INTENT_SECONDS:g} s"
    if isinstance(error, asyncio.CancelledError):
        return "its ledger was cancelled before it had stored the row"
    return f"its row could not be stored: {error}"
