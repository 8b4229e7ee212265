"""What the rest of the package records of itself: traces of operations and batches, and counts.

It decides nothing, and no failure of it may reach those who call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from contextvars import Context

__all__ = ["Attribute", "Telemetry", "Trace"]

Attribute: TypeAlias = "str | int | float | bool | None"
"""The value of an attribute; None is left out."""


class Trace(Protocol):
    """The span of one operation, or of a batch, from its beginning until `end`."""

    def use(self) -> AbstractContextManager[object]:
        """Let the spans that begin inside, such as those of requests, be its children."""
        ...

    def add(self, attributes: Mapping[str, Attribute]) -> None:
        """Set attributes."""
        ...

    def event(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Add something that happened now."""
        ...

    def end(self, *, failure: str | None = None) -> None:
        """End it; `failure` says why it is a failed one. A second time does nothing."""
        ...


class Telemetry:
    """Where traces and counts go: nowhere, unless a subclass takes them."""

    is_recording: bool = False
    """Whether anything is recorded: where nothing is, hot paths make no calls."""

    def trace(
        self,
        name: str,  # noqa: ARG002 - what a subclass is told
        attributes: Mapping[str, Attribute],  # noqa: ARG002 - the same
        *,
        link: str | None = None,  # noqa: ARG002 - the same
    ) -> Trace | None:
        """Begin a span below the current one; None where nobody records it.

        Args:
            name: What it is of.
            attributes: What is known of it.
            link: The `traceparent` of a span that it goes on with.
        """
        return None

    def traceparent(self) -> str | None:
        """Return the current span, as W3C's Trace Context writes it; None without one."""
        return None

    def without_span(self, context: Context) -> None:
        """Let no span be the current one in a context."""

    def request(self, operation: str, outcome: str, seconds: float) -> None:
        """Count a request; `outcome` is its HTTP status, or `no answer`."""

    def poll(self, way: str, outcome: str) -> None:
        """Count a poll, by `list` or by `id`, as `answered` or with the name of its error."""

    def pause(self, seconds: float) -> None:
        """Count a pause of all traffic, which the service asked for."""

    def refusal(self) -> None:
        """Count a request that was refused for the rate of requests."""

    def dispatch(self, kind: str, outcome: str) -> None:
        """Count a dispatch: `dispatched`, `adopted`, `unknown`, or the name of its error."""

    def end_seen(self, kind: str, delay: float) -> None:
        """Record how many seconds after the end of an operation it was seen."""

    def commit(self, seconds: float) -> None:
        """Record a commit of a journal, and how long it took."""

    def watch_in_flight(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Ask now and then how many operations of each kind are in flight.

        Args:
            count: A bound method, which is held weakly. It may be called in another thread.
        """
