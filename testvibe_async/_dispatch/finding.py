"""What is known of a dispatch whose answer was not received, and how far it had come.

Values: they decide what to call it, and what to advise.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from attrs import frozen

from testvibe_async._wire import KINDS
from testvibe_async.errors import DispatchUnknownError

if TYPE_CHECKING:
    from datetime import datetime

    from testvibe_async.errors import UnknownReason
    from testvibe_async.intents import Intent
    from testvibe_async.refs import Ref

__all__ = ["Finding", "Progress"]

MAX_NAMED = 3
"""How many candidates an error's text names."""


@frozen
class Finding:
    """The fate of a dispatch, as far as the service shows it."""

    ref: Ref | None = None
    """Its operation, where exactly one can be."""

    is_nothing: bool = False
    """Whether it is proved that nothing began."""

    reason: UnknownReason = "unseen"
    """Why nobody knows, where neither is the case; see `DispatchUnknownError.reason`."""

    why: str = ""
    """Why it could not be polled for, where the reason is `unseen`."""

    candidates: tuple[Ref, ...] = ()
    polled_at: datetime | None = None
    """When it was polled for last with an answer, by the local clock."""

    def error(self, intent: Intent, what: str) -> DispatchUnknownError:
        """Return the error that says that the effect of a dispatch is unknown.

        Args:
            intent: The dispatch.
            what: What happened to its answer.
        """
        endpoint = KINDS[intent.kind].dispatched_by
        request = endpoint.request(project=intent.project, feature=intent.feature)
        return DispatchUnknownError(
            "; ".join(filter(None, (what, self._shown(intent)))),
            advice=self._advice(intent),
            method=request.method,
            url=request.url(intent.server),
            project=intent.project,
            feature=intent.feature,
            reason=self._reason(intent),
            candidates=self.candidates,
            polled_at=self.polled_at,
            intent=intent,
        )

    def _reason(self, intent: Intent) -> UnknownReason:
        """Return why it is unknown: of a dispatch that was accepted no absence proves anything."""
        return "accepted" if intent.is_accepted and not self.candidates else self.reason

    def _advice(self, intent: Intent) -> str:
        """Say what to do."""
        shown_by = KINDS[intent.kind].shown_by
        if self._reason(intent) == "accepted":
            return f"look for it in {shown_by}, and do not dispatch it again"
        if self.reason == "absent" and self.polled_at is not None:
            return f"look at {shown_by} once more, then dispatch again"
        return f"look at {shown_by} before dispatching again"

    def _shown(self, intent: Intent) -> str:
        """Say what was polled, and what it showed."""
        if self._reason(intent) == "accepted":
            return ""
        if self.reason == "unseen" or self.polled_at is None:
            return f"it could not be polled for ({self.why})" if self.why else ""
        polled = f"{KINDS[intent.kind].shown_by}, polled until {self.polled_at:%H:%M:%S} UTC, "
        if self.reason == "absent":
            return f"{polled}showed nothing of it, so most likely nothing began"
        several = " or ".join(map(str, self.candidates[:MAX_NAMED]))
        return f"{polled}showed {several}, which another may have dispatched"


class Progress(Enum):
    """How far a dispatch has come."""

    IDLE = auto()
    """It is not under way."""

    PENDING = auto()
    """It is under way, and was not sent, or provably had no effect. It can be withdrawn."""

    WRITTEN = auto()
    """It began to be written to a connection: it may have arrived, and no answer has come yet."""

    DISPATCHED = auto()
    """The operation has its id."""
