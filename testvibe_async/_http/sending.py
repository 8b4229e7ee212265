"""The interface between the transport and a request that must not be sent twice.

It decides nothing: `_dispatch.dispatch` has the only implementation, which owns the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from testvibe_async.errors import VibeError


class Sending(Protocol):
    """A request with side effects, while it is being sent."""

    is_withdrawn: bool
    """True if it must not be sent any more: cancelled, out of time, or the client closes."""

    @property
    def patience_left(self) -> float | None:
        """Seconds for which a rate-limited request is still retried; None for the retry policy."""
        ...

    async def before_writing(self) -> None:
        """Do what must precede the first byte, on each attempt that has its connection.

        An exception from this method stops the request.
        """

    def mark_written(self, now: float) -> None:
        """Note that writing begins: from now on, the request may have arrived."""

    def mark_answered(self, sent: float) -> None:
        """Note that an answer or error came, whether or not writing was observed."""

    async def mark_refused(self, error: VibeError) -> None:
        """Note that this attempt provably had no effect: it was not sent, or clearly refused."""
