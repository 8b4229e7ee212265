"""How far a request has come that must not be sent twice.

Decides nothing: the dispatcher and the transport move it, each by the transition that is named for
what happened, and a batch reads it to learn what can still be withdrawn.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

    __slots__ = ("is_abandoned", "ref", "sent_at", "state")

    def __init__(self) -> None:
        self.state: SendState = SendState.IDLE
        """Changed by the transitions below alone."""

        self.sent_at: float = 0.0
        """When it was last sent, by the loop's clock."""

        self.ref: Ref | None = None
        """The operation that was dispatched last."""

        self.is_abandoned: bool = False
        """Whether its caller was cancelled, so that it must not be sent again."""

    @property
    def may_have_arrived(self) -> bool:
        """Whether the service may have seen it, and acted."""
        return self.state is SendState.SENT

    def begin(self) -> None:
        """Take it up: nothing of it was sent yet."""
        self.state = SendState.PENDING

    def mark_sent(self, now: float) -> None:
        """Note that it is handed to the connection: from now on it may have arrived."""
        self.state, self.sent_at = SendState.SENT, now

    def mark_refused(self) -> None:
        """Note that it provably had no effect: it did not arrive, or was clearly refused."""
        self.state = SendState.PENDING

    def mark_dispatched(self, ref: Ref) -> None:
        """Note the operation that it started."""
        self.state, self.ref = SendState.DISPATCHED, ref

    def end(self) -> None:
        """Lay it down after a failure. What may have arrived stays so: no answer has come."""
        if self.state is SendState.PENDING:
            self.state = SendState.IDLE
