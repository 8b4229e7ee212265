"""The state of a dispatch whose answer was not received, and the progress of any dispatch.

These values decide how to name the result, and what to advise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from testvibe_async._wire import KINDS
from testvibe_async.errors import DispatchUnknownError
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from datetime import datetime

    from testvibe_async.errors import UnknownReason
    from testvibe_async.intents import Intent

Known: TypeAlias = Callable[[Sequence[Ref]], Awaitable[Iterable[object]]]
"""Returns the operations of other dispatches, and the intents of open ones.

It is called with the operations that a search has shown, and may return others too.
"""

MAX_NAMED = 3
"""Maximum number of candidates that an error's text names."""


@frozen
class Finding:
    """The fate of a dispatch, as far as the service shows it."""

    ref: Ref | None = None
    """The dispatch's operation, if exactly one is possible."""

    is_nothing: bool = False
    """True if it is proved that nothing started."""

    reason: UnknownReason = "unseen"
    """The reason why the fate is unknown, otherwise; see `DispatchUnknownError.reason`."""

    why: str = ""
    """The failure to poll for the operation, if the reason is `unseen`."""

    candidates: tuple[Ref, ...] = ()
    """The operations that it may have started, as far as any answer has shown."""

    polled_at: datetime | None = None
    """The local clock at the last answered poll for the operation."""

    @property
    def is_unseen(self) -> bool:
        """True if no poll was answered."""
        return self.ref is None and not self.is_nothing and self.reason == "unseen"

    def error(self, intent: Intent, what: str) -> DispatchUnknownError:
        """Return the error of a dispatch whose effect is unknown.

        Args:
            intent: The dispatch.
            what: Description of the failed answer, for the message.
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
            candidates=self.candidates if self.reason == "ambiguous" else (),
            polled_at=self.polled_at,
            intent=intent,
        )

    def _reason(self, intent: Intent) -> UnknownReason:
        """Return why the fate is unknown: for an accepted dispatch, absence proves nothing."""
        is_accepted = intent.is_accepted and self.reason != "ambiguous"
        return "accepted" if is_accepted else self.reason

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


def knowing(others: Callable[[], Iterable[object]]) -> Known:
    """Return the knowledge of a process that has all other dispatches in memory."""

    async def known(_refs: Sequence[Ref]) -> Iterable[object]:
        return others()

    return known


class Progress(Enum):
    """The progress of a dispatch."""

    IDLE = auto()
    """The dispatch is not under way."""

    PENDING = auto()
    """Under way, and either not sent or provably without effect. The dispatch can be withdrawn."""

    WRITTEN = auto()
    """Writing to a connection has started: it may have arrived, and there is no answer yet."""

    LOST = auto()
    """It may have taken effect, and its answer was lost. The dispatch is being reconciled."""

    UNANSWERED = auto()
    """It has ended, and it is unknown whether it took effect."""

    DISPATCHED = auto()
    """The operation's id is known."""
