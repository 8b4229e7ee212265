"""No telemetry: what is in force where OpenTelemetry's API is not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context

    from testvibe_async._telemetry.interface import Attribute

__all__ = ["NoTelemetry"]


class NoTelemetry:
    """Drops all that it is told."""

    def trace(
        self,
        name: str,
        attributes: Mapping[str, Attribute],
        *,
        link: str | None = None,
    ) -> None:
        """Begin nothing."""

    def traceparent(self) -> None:
        """Return None."""

    def without_span(self, context: Context) -> None:
        """Do nothing."""

    def request(self, operation: str, outcome: str, seconds: float) -> None:
        """Do nothing."""

    def poll(self, way: str, outcome: str) -> None:
        """Do nothing."""

    def pause(self, seconds: float) -> None:
        """Do nothing."""

    def refusal(self) -> None:
        """Do nothing."""

    def dispatch(self, kind: str, outcome: str) -> None:
        """Do nothing."""

    def end_seen(self, kind: str, delay: float) -> None:
        """Do nothing."""

    def commit(self, seconds: float) -> None:
        """Do nothing."""

    def watch_in_flight(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Do nothing."""
