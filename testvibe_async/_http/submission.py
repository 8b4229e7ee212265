"""The progress of a request that must not be sent twice.

Decides nothing. The dispatcher and the transport change its state, by the transition that is named
for what happened. The dispatcher and a batch withdraw it.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testvibe_async.errors import DispatchUnknownError, VibeError
    from testvibe_async.refs import Ref

__all__ = ["SendState", "Submission"]


class SendState(Enum):
    """How far a dispatch has come."""

    IDLE = auto()
    """No dispatch is under way."""

    PENDING = auto()
    """It is under way, and was not sent, or provably had no effect. It can be withdrawn."""

    SENT = auto()
    """It began to be written to a connection: it may have arrived, and no answer has come yet."""

    DISPATCHED = auto()
    """The operation has its id."""


class Submission:
    """One dispatch, or several in a row for one purpose, such as tests first and then their run."""

    __slots__ = (
        "_began",
        "_on_ref",
        "_patience",
        "before_writing",
        "is_withdrawn",
        "ref",
        "refused",
        "sent_at",
        "state",
        "unknown",
    )

    def __init__(
        self, *, patience: float | None = None, on_ref: Callable[[Ref], object] | None = None
    ) -> None:
        """Make it.

        Args:
            patience: Seconds for which what is refused for its rate is repeated; None to repeat it
                as often as the retry policy says.
            on_ref: Called with each operation that was dispatched or joined.
        """
        self._patience, self._began = patience, 0.0

        self._on_ref = on_ref

        self.state: SendState = SendState.IDLE
        """Changed only by the transitions below."""

        self.sent_at: float = 0.0
        """When it was last sent, by the loop's clock."""

        self.ref: Ref | None = None
        """The operation that was dispatched or joined last."""

        self.unknown: Callable[[str], DispatchUnknownError] | None = None
        """Makes the error that says that nobody knows whether it took effect, and why."""

        self.is_withdrawn: bool = False
        """Whether it must not be sent any more: cancelled, out of time, or the client closes."""

        self.before_writing: Callable[[], Awaitable[None]] | None = None
        """Awaited on each attempt, once it has its connection and nothing of it is written yet.

        What it raises stops the dispatch.
        """

        self.refused: Callable[[VibeError], Awaitable[None]] | None = None
        """Awaited after each attempt that provably had no effect, with its error."""

    @property
    def is_sent(self) -> bool:
        """Whether the service may have seen it, and acted."""
        return self.state is SendState.SENT

    @property
    def patience_left(self) -> float | None:
        """The seconds for which a refusal for the rate is repeated still; None for a call."""
        if self._patience is None:
            return None
        return self._began + self._patience - asyncio.get_running_loop().time()

    def unknown_error(self, what: str) -> DispatchUnknownError:
        """Return the error for a dispatch that has no answer; `what` says why."""
        assert self.unknown is not None
        return self.unknown(what)

    def begin(self) -> None:
        """Start a dispatch: nothing was sent yet."""
        self.state = SendState.PENDING
        self._began = asyncio.get_running_loop().time()

    def mark_sent(self, now: float) -> None:
        """Note that it begins to be written: from now on it may have arrived."""
        self.state, self.sent_at = SendState.SENT, now

    def mark_answered(self, sent: float) -> None:
        """Note that something came of it, though nobody said that it was being sent.

        A mock in place of the session asks no body to write itself.
        """
        if self.state is SendState.PENDING:
            self.mark_sent(sent)

    def mark_refused(self) -> None:
        """Note that this try provably had no effect: it did not arrive, or was clearly refused."""
        self.state = SendState.PENDING

    def mark_dispatched(self, ref: Ref) -> None:
        """Note the operation that it started."""
        self.state = SendState.DISPATCHED
        self.note(ref)

    def note(self, ref: Ref) -> None:
        """Note the operation that serves its purpose: dispatched, or joined."""
        if ref != self.ref:
            self.ref = ref
            if self._on_ref is not None:
                self._on_ref(ref)

    def end(self) -> None:
        """Note that the dispatch is over. If it may have arrived unanswered, it stays `SENT`."""
        if self.state is SendState.PENDING:
            self.state = SendState.IDLE
