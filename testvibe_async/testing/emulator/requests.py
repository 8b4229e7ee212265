"""What was asked of the emulator: one record a request, and the journal that keeps them.

Tests read it to count what a client sent. It decides nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Journal", "RecordedRequest"]


@attrs.define(eq=False, kw_only=True)
class RecordedRequest:
    """One request, as it came, and the status that it was answered with."""

    operation: str | None
    """The service's name of the operation; None for a route that does not exist."""
    method: str
    path: str
    """The raw path, still percent-encoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes
    at: float
    """When it came, in emulator seconds."""
    run_id: int | None = None
    """The run that the path names; None where it names none that exists."""
    feature: str | None = None
    """The name of the feature that the path, or the run, names; None where there is none."""
    status: int | None = None
    """The status answered; None while it is not answered, and where the connection was cut."""


class Journal:
    """Every request to one origin, in the order in which they came."""

    def __init__(self, *, keep: bool = True) -> None:
        """Make an empty journal.

        Args:
            keep: Whether requests are kept, or only counted by operation.
        """
        self.requests: list[RecordedRequest] = []
        self._keep = keep
        self._counts: Counter[str | None] = Counter()

    def add(self, request: RecordedRequest) -> None:
        """Take a request down, before it is answered."""
        self._counts[request.operation] += 1
        if self._keep:
            self.requests.append(request)

    def count(self, operation: str, when: Callable[[RecordedRequest], bool] | None) -> int:
        """Count the requests for an operation, `"*"` for any, that fulfil a condition."""
        if when is None:
            return self._counts.total() if operation == "*" else self._counts[operation]
        if not self._keep:
            raise ValueError(
                "This emulator keeps no requests (record=False): count without a condition."
            )
        return sum(
            1
            for request in self.requests
            if operation in {"*", request.operation} and when(request)
        )
