"""The operations that finished last, kept so that attaching to one again costs no request."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testvibe_async._polling.polled import PolledOperation

__all__ = ["FinishedOperations"]

MAX_OPERATIONS = 1000
"""How many are kept. Most outcomes take 1 to 2 KiB of memory."""

MAX_BYTES = 16 * 2**20
"""How large their answers may be together, as JSON: outcomes may be as large as 1 MiB each."""


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
