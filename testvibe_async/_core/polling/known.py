"""The operations of one client: on which handles exist, and those that finished last.

The operations that finished last are retained, so that attaching to them again costs no request.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from testvibe_async._core.polling.kinds import RECORDS

if TYPE_CHECKING:
    from testvibe_async._core.polling.polled import PolledOperation
    from testvibe_async.refs import Ref

CLOCK_SKEW_SECONDS = 60.0
"""Seconds by which the clock of the machine that dispatched an operation may be ahead."""

MAX_OPERATIONS = 100
"""Maximum number of finished operations retained. Most take 2 to 3 KiB of memory."""

MAX_BYTES = 16 * 2**20
"""Maximum total size in bytes of the retained answers, as JSON; one outcome may be up to 1 MiB."""


class KnownOperations:
    """A client's record of each operation, by the operation's key."""

    def __init__(self) -> None:
        # Handles hold their operation, so it lives as long as any handle on it does.
        self._operations: WeakValueDictionary[tuple[object, ...], PolledOperation[Any]] = (
            WeakValueDictionary()
        )
        self._is_closed = False

    def operation(
        self, ref: Ref, *, sent_at: float | None = None, previous_id: str | None = None
    ) -> PolledOperation[Any]:
        """Return this client's record of an operation, created at first use.

        A service that was reset uses ids again: an observation from before the dispatch belongs to
        an earlier operation with the same id.

        Args:
            ref: The operation's ref.
            sent_at: The loop's clock when this client sent the dispatch, which was answered just
                now; None if the operation was attached.
            previous_id: The `requestId` of the feature's previous generation, if known.
        """
        key = ref.key
        polled = self._operations.get(key)
        if polled is None or _is_earlier(polled, ref, sent_at):
            now = asyncio.get_running_loop().time()
            age = _age(ref) if sent_at is None else now - sent_at
            # An operation must not seem old because another machine's clock is behind.
            began = now - age if age >= CLOCK_SKEW_SECONDS else now
            answered_at = None if sent_at is None else datetime.now(UTC)
            polled = self._operations[key] = RECORDS[ref.kind](
                ref, began=began, answered_at=answered_at, previous_id=previous_id
            )
        return polled

    def __contains__(self, ref: Ref) -> bool:
        """Return whether a handle on the operation exists."""
        return ref.key in self._operations

    def is_in_flight(self, ref: Ref) -> bool:
        """Return whether a handle on the operation exists, and it has not finished."""
        polled = self._operations.get(ref.key)
        return polled is not None and not polled.is_finished

    def in_flight(self) -> Counter[str]:
        """Count the operations that are known and have not finished, by kind; none after the close.

        May be called in another thread: the references are copied in one step.
        """
        operations = [] if self._is_closed else self._operations.valuerefs()
        found = (weak() for weak in operations)
        return Counter(
            polled.ref.kind
            for polled in found
            if polled is not None and polled.is_known and not polled.is_finished
        )

    def close(self) -> list[PolledOperation[Any]]:
        """Stop counting operations, and return all that exist."""
        self._is_closed = True
        return [polled for weak in self._operations.valuerefs() if (polled := weak()) is not None]


class FinishedOperations:
    """The operations that finished last, in the order observed. It only keeps them alive."""

    def __init__(self) -> None:
        self._kept: deque[tuple[PolledOperation[Any], int]] = deque()
        self._bytes = 0

    def keep(self, polled: PolledOperation[Any], size_bytes: int) -> None:
        """Retain an operation, and drop the oldest ones beyond the maximum number or size.

        Args:
            polled: The operation.
            size_bytes: Size of the answer that holds the operation's outcome.
        """
        self._kept.append((polled, size_bytes))
        self._bytes += size_bytes
        while len(self._kept) > MAX_OPERATIONS or self._bytes > MAX_BYTES:
            _, oldest_bytes = self._kept.popleft()
            self._bytes -= oldest_bytes


def _is_earlier(polled: PolledOperation[Any], ref: Ref, sent_at: float | None) -> bool:
    """Return whether the record under an id was last observed before the operation's dispatch."""
    if sent_at is not None:  # The local clock may have been set since.
        seen_at = polled.began if polled.seen_at is None else polled.seen_at
        return polled.is_known and seen_at <= sent_at
    dispatched_at = ref.dispatched_at
    if dispatched_at is None or dispatched_at == polled.ref.dispatched_at:
        return False
    return polled.observed_at is not None and polled.observed_at < dispatched_at


def _age(ref: Ref) -> float:
    """Return the seconds since a dispatch, by two machines' clocks; 0 if its time is unknown."""
    if ref.dispatched_at is None:
        return 0.0
    return (datetime.now(UTC) - ref.dispatched_at).total_seconds()
