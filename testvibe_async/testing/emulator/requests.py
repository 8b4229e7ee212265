"""The record of the requests to an origin, from which tests count what a client sent.

It decides whether requests are kept or only counted. It never answers one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RecordedRequest", "RequestLog"]


@attrs.define(eq=False, kw_only=True)
class RecordedRequest:
    """One request, as received, and the status of its answer."""

    operation: str | None
    """The service's name of the operation; None if no route matches."""
    method: str
    path: str
    """The raw path, still percent-encoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """The headers; the case of a name does not matter."""
    body: bytes
    at: float
    """The time of arrival, in emulator seconds."""
    run_id: int | None = None
    """The run that the path names; None if it names none that exists."""
    feature: str | None = None
    """The name of the feature of the path or of the run; None if there is none."""
    status: int | None = None
    """The status of the answer; None before it, and if the connection was cut."""


class RequestLog:
    """All requests to one origin, in the order of arrival."""

    def __init__(self, *, keep: bool = True) -> None:
        """Make an empty log.

        Args:
            keep: True to keep requests; False only counts them by operation.
        """
        self.requests: list[RecordedRequest] = []
        self._keep = keep
        self._counts: Counter[str | None] = Counter()

    def add(self, request: RecordedRequest) -> None:
        """Record a request, before it is answered."""
        self._counts[request.operation] += 1
        if self._keep:
            self.requests.append(request)

    def count(self, operation: str, when: Callable[[RecordedRequest], bool] | None) -> int:
        """Count requests.

        Args:
            operation: Their operation; `"*"` for any.
            when: A condition on them. None: all.

        Raises:
            ValueError: There is a condition, but requests are not kept.
        """
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
