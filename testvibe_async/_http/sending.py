"""What the transport reports of a request that must not be sent twice, and asks before it writes.

It decides nothing: `_dispatch.dispatch` has the one implementation, which owns the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from testvibe_async.errors import VibeError

__all__ = ["Sending"]


class Sending(Protocol):
    """A request that may act, on its way."""

    is_withdrawn: bool
    """Whether it must not be sent any more: cancelled, out of time, or the client closes."""

    @property
    def patience_left(self) -> float | None:
        """The seconds for which a refusal for the rate is repeated still; None for a call."""
        ...

    async def before_writing(self) -> None:
        """Do what must come before the first byte: on each attempt, once it has its connection.

        What this raises stops the request.
        """

    def mark_written(self, now: float) -> None:
        """Note that it begins to be written: from now on it may have arrived."""

    def mark_answered(self, sent: float) -> None:
        """Note that something came of it, whether or not it was seen to be written."""

    async def mark_refused(self, error: VibeError) -> None:
        """Note that this attempt provably had no effect: not sent, or clearly refused."""
