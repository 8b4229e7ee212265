"""The interface through which the package records traces of operations and batches, and metrics.

All but the start of a span is made from the events that hooks receive too. It decides nothing, and
none of its failures may reach the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

Attribute: TypeAlias = "str | int | float | bool | None"
"""The value of an attribute; None is left out."""


class Trace(Protocol):
    """The span of one dispatch, or of a batch, from its beginning until `end`."""

    def use(self) -> AbstractContextManager[object]:
        """Make this the parent of the spans that start inside."""
        ...

    def add(self, attributes: Mapping[str, Attribute]) -> None:
        """Set attributes."""
        ...

    def end(self, *, failure: str | None = None) -> None:
        """End the span, as failed if `failure` gives a reason."""
        ...


class Subscriber:
    """The subscriber of one client's events: it drops them, unless a subclass records them."""

    functions: Callable[[], Mapping[str, Callable[[Any], None]]] = dict
    """Returns the functions to call at events, each by the name of its hook."""

    in_flight: Callable[[], Mapping[str, int]] = dict
    """Returns the number of the client's operations in flight, by kind; called in any thread."""

    def close(self) -> None:
        """End the spans of operations whose end was not observed: no more events will come."""


class Telemetry:
    """The recorder of traces and metrics: it drops them, unless a subclass records them."""

    is_recording: bool = False
    """True if anything may be recorded; otherwise hot paths make no calls."""

    def subscriber(self) -> Subscriber:
        """Return the subscriber of a new client's events."""
        return Subscriber()

    def trace(
        self,
        name: str,  # noqa: ARG002 - a subclass uses it
        attributes: Mapping[str, Attribute],  # noqa: ARG002 - the same
    ) -> Trace | None:
        """Start a span below the current one; return None if it is not recorded.

        Args:
            name: The name of the span.
            attributes: The attributes known at the start.
        """
        return None

    def traceparent(self) -> str | None:
        """Return the current span, in the form of W3C's Trace Context; None without one."""
        return None
