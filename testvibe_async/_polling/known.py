"""The operations of a client: one object each, for as long as somebody holds a handle on it.

The last that finished are kept, so that attaching to one of them again costs no request.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from testvibe_async._polling.polled import PolledOperation
from testvibe_async._polling.states import new_state

if TYPE_CHECKING:
    from testvibe_async._polling.state import OperationState
    from testvibe_async.refs import Ref

__all__ = ["FinishedOperations", "KnownOperations"]

CLOCK_SKEW_SECONDS = 60.0
"""How far ahead the clock of the machine that dispatched an operation may be."""

MAX_OPERATIONS = 1000
"""How many are kept. Most outcomes take 1 to 2 KiB of memory."""

MAX_BYTES = 16 * 2**20
"""How large their answers may be together, as JSON: outcomes may be as large as 1 MiB each."""


class KnownOperations:
    """What a client knows of each operation, by its key."""

    def __init__(self) -> None:
        # Handles hold their operation, so it lives as long as any handle on it does.
        self._operations: WeakValueDictionary[tuple[object, ...], PolledOperation[Any]] = (
            WeakValueDictionary()
        )
        self._is_closed = False

    def operation(
        self, ref: Ref, *, is_dispatched: bool = False, previous_id: str | None = None
    ) -> PolledOperation[Any]:
        """Return what this client has of an operation, made at first use.

        A service that was reset uses ids again: what was seen before a dispatch is not of its
        operation, though it has the same id.

        Args:
            ref: The operation's name.
            is_dispatched: Whether it was just dispatched, and so is in flight.
            previous_id: The `requestId` of the feature's generation before it, if it is known.
        """
        polled = self._operations.get(ref.key)
        if polled is None or _is_earlier(polled.state, ref):
            began = asyncio.get_running_loop().time() - _age(ref)
            answered_at = datetime.now(UTC) if is_dispatched else None
            state = new_state(ref, began=began, answered_at=answered_at, previous_id=previous_id)
            polled = self._operations[ref.key] = PolledOperation(state)
        return polled

    def __contains__(self, ref: Ref) -> bool:
        """Say whether somebody holds a handle on the operation."""
        return ref.key in self._operations

    def in_flight(self) -> Counter[str]:
        """Count the operations that are known and not over, by kind; none once it is closed.

        It may be called in another thread: the references are copied in one step.
        """
        operations = [] if self._is_closed else self._operations.valuerefs()
        found = (weak() for weak in operations)
        return Counter(
            polled.ref.kind
            for polled in found
            if polled is not None and polled.state.is_known and not polled.state.is_finished
        )

    def close(self) -> list[PolledOperation[Any]]:
        """Count none any more, and return all that there are."""
        self._is_closed = True
        return [polled for weak in self._operations.valuerefs() if (polled := weak()) is not None]


class FinishedOperations:
    """The last operations that were seen to end, in this order. It only keeps them alive."""

    def __init__(self) -> None:
        self._kept: deque[tuple[PolledOperation[Any], int]] = deque()
        self._bytes = 0

    def keep(self, polled: PolledOperation[Any], size_bytes: int) -> None:
        """Keep an operation, and let the oldest go where there are too many or they are too large.

        Args:
            polled: The operation.
            size_bytes: The size of the answer that holds its outcome.
        """
        self._kept.append((polled, size_bytes))
        self._bytes += size_bytes
        while len(self._kept) > MAX_OPERATIONS or self._bytes > MAX_BYTES:
            _, oldest_bytes = self._kept.popleft()
            self._bytes -= oldest_bytes


def _is_earlier(state: OperationState[Any], ref: Ref) -> bool:
    """Say whether what is known under an id was last seen before the operation was dispatched."""
    dispatched_at = ref.dispatched_at
    if dispatched_at is None or dispatched_at == state.ref.dispatched_at:
        return False
    return state.observed_at is not None and state.observed_at < dispatched_at


def _age(ref: Ref) -> float:
    """Return the seconds since a dispatch.

    Less than the clocks of two machines may differ by counts as 0: an operation must not be taken
    for old because the clock of the machine that dispatched it is behind.
    """
    if ref.dispatched_at is None:
        return 0.0
    age = (datetime.now(UTC) - ref.dispatched_at).total_seconds()
    return age if age >= CLOCK_SKEW_SECONDS else 0.0
