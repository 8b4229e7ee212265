"""The progress of a request that must not be sent twice.

Decides nothing. The dispatcher and the transport change its state, by the transition that is named
for what happened. The dispatcher and a batch withdraw it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async.errors import DispatchUnknownError
    from testvibe_async.refs import Ref

__all__ = ["SendState", "Submission"]


class SendState(Enum):
    """How far a dispatch has come."""

    IDLE = auto()
    """No dispatch is under way."""

    PENDING = auto()
    """It is under way, and was not sent, or provably had no effect. It can be withdrawn."""

    SENT = auto()
    """It may have arrived and taken effect, and no answer has come yet."""

    DISPATCHED = auto()
    """The operation has its id."""


class Submission:
    """One dispatch, or several in a row for one purpose, such as tests first and then their run."""

    __slots__ = ("is_withdrawn", "ref", "sent_at", "state", "unknown")

    def __init__(self) -> None:
        self.state: SendState = SendState.IDLE
        """Changed only by the transitions below."""

        self.sent_at: float = 0.0
        """When it was last sent, by the loop's clock."""

        self.ref: Ref | None = None
        """The operation that was dispatched last."""

        self.unknown: Callable[[str], DispatchUnknownError] | None = None
        """Makes the error that says that nobody knows whether it took effect, and why."""

        self.is_withdrawn: bool = False
        """Whether it must not be sent any more: cancelled, out of time, or the client closes."""

    @property
    def may_have_arrived(self) -> bool:
        """Whether the service may have seen it, and acted."""
        return self.state is SendState.SENT

    def begin(self) -> None:
        """Start a dispatch: nothing was sent yet."""
        self.state = SendState.PENDING

    def mark_sent(self, now: float) -> None:
        """Note that it is being sent: from now on it may have arrived."""
        self.state, self.sent_at = SendState.SENT, now

    def mark_refused(self) -> None:
        """Note that this try provably had no effect: it did not arrive, or was clearly refused."""
        self.state = SendState.PENDING

    def mark_dispatched(self, ref: Ref) -> None:
        """Note the operation that it started."""
        self.state, self.ref = SendState.DISPATCHED, ref

    def end(self) -> None:
        """Note that the dispatch is over. If it may have arrived unanswered, it stays `SENT`."""
        if self.state is SendState.PENDING:
            self.state = SendState.IDLE
