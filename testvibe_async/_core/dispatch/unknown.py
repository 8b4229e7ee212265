"""The search for a lost dispatch, as far as it got, and the error of one that stays unknown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import define, field

from testvibe_async._core.dispatch.candidates import Decision, Evidence
from testvibe_async._core.wire import KINDS
from testvibe_async.errors import DispatchUnknownError, NotFoundError, ResponseError
from testvibe_async.ledger import RowState

if TYPE_CHECKING:
    from testvibe_async._core.dispatch.dispatch import Dispatch
    from testvibe_async.errors import UnknownReason, VibeError
    from testvibe_async.ledger import Row
    from testvibe_async.models import Snapshot
    from testvibe_async.refs import Ref

MAX_NAMED = 3
"""Maximum number of candidates that an error's text names."""

NOT_ASKED = Evidence()
"""The evidence before the first search."""

UNSEEN = Decision(reason="unseen")
"""The decision without any evidence."""


@define(eq=False)
class Search:
    """The results of the searches for the operation of a dispatch."""

    failure: VibeError | None = None
    """The reason why the answer of the last attempt is not known."""

    is_misrouted: bool = False
    """True if that answer was not the service's own, while other routes were answered."""

    attempt: object = None
    """The identity of the attempt that was searched last."""

    evidence: Evidence = NOT_ASKED
    """The result of the last search."""

    decision: Decision = UNSEEN
    """The decision by the last search that was answered."""

    shown: dict[Ref, tuple[Snapshot, Ref]] = field(factory=dict["Ref", "tuple[Snapshot, Ref]"])
    """The operations that any search has shown: a later list may leave one out."""

    why: str = ""
    """The reason why the last search could not show more; empty if there is none."""

    @property
    def is_futile(self) -> bool:
        """True if the service could not be asked, and another search would not be answered."""
        return not self.evidence.is_answered and not self.evidence.may_change

    @property
    def shows_nothing(self) -> bool:
        """True if nothing that could be the operation is to be seen."""
        return self.evidence.is_answered and self.decision.is_nothing

    def begin(self, attempt: object) -> None:
        """Forget what was seen of another attempt: it decides nothing of this one."""
        if self.attempt != attempt:
            self.attempt, self.shown, self.decision = attempt, {}, UNSEEN

    def note_lost(self, failure: VibeError, *, is_misrouted: bool) -> None:
        """Note why the answer of an attempt is not known."""
        self.failure, self.is_misrouted = failure, is_misrouted

    def note(self, decision: Decision) -> None:
        """Note what follows from the last search."""
        if self.evidence.is_answered or self.decision.reason == "unseen":
            self.decision, self.why = decision, self.evidence.why


def unknown_error(
    dispatch: Dispatch[Any], *, why: str | None = None, needs_decision: bool = False
) -> DispatchUnknownError:
    """Return the error of a dispatch that is unknown, by what the last search showed.

    Args:
        dispatch: The dispatch.
        why: The reason why no more is known; None for that of the last search.
        needs_decision: True if no further search can settle it.
    """
    search, record = dispatch.search, dispatch.record
    decision, failure = search.decision, search.failure
    reason: UnknownReason = decision.reason
    if record.is_accepted and reason != "ambiguous":
        reason = "accepted"
    shown = _shown(dispatch, decision, reason, search.why if why is None else why)
    error = DispatchUnknownError(
        "; ".join(filter(None, (_hint(failure), shown, _loss(failure)))),
        advice=_advice(dispatch, reason, needs_decision=needs_decision),
        method=dispatch.request.method,
        url=dispatch.parts.transport.url_of(dispatch.request),
        kind=dispatch.kind,
        project=dispatch.project,
        feature=dispatch.feature,
        reason=reason,
        candidates=decision.candidates,
        key=record.key,
        polled_at=None if reason == "unseen" else datetime.now(UTC),
    )
    error.__cause__ = failure
    return error


def unknown_of(row: Row, what: str, *, advice: str) -> DispatchUnknownError:
    """Return the error of a row whose operation is unknown, without a dispatch of this process."""
    return DispatchUnknownError(
        what,
        advice=advice,
        method=KINDS[row.kind].dispatched_by.method,
        url=row.server,
        kind=row.kind,
        project=row.project,
        feature=row.feature,
        reason="accepted" if row.state is RowState.ACCEPTED else "unseen",
        key=row.key,
    )


def _loss(error: VibeError | None) -> str:
    """Describe why it is unknown whether a dispatch took effect."""
    if error is None:
        return "its answer was not received"
    what = "it was not acknowledged" if isinstance(error, ResponseError) else "the answer was lost"
    return f"{what}: {error.brief}"


def _hint(error: VibeError | None) -> str:
    """Return why a proxy, or a server, may have no such route: the name may be the reason."""
    is_misrouted = isinstance(error, NotFoundError) and not error.is_from_service
    return error.advice if error is not None and is_misrouted else ""


def _advice(dispatch: Dispatch[Any], reason: UnknownReason, *, needs_decision: bool) -> str:
    shown_by = KINDS[dispatch.kind].shown_by
    if reason == "accepted":
        return f"look for it in {shown_by}, and do not dispatch it again"
    if dispatch.record.is_keyed:
        if needs_decision:
            return f"check {shown_by}, then settle it with ledger.decide"
        return f"make the same call again, or check {shown_by} and use ledger.decide"
    if reason == "absent":
        return f"check {shown_by} once more, then dispatch again"
    return f"check {shown_by} before dispatching again"


def _shown(dispatch: Dispatch[Any], decision: Decision, reason: UnknownReason, why: str) -> str:
    """Describe what was polled, and what it showed."""
    if reason == "accepted":
        return ""
    if reason == "unseen":
        return f"it could not be polled for ({why})" if why else ""
    polled = f"{KINDS[dispatch.kind].shown_by}, polled until {datetime.now(UTC):%H:%M:%S} UTC, "
    if reason == "absent":
        return f"{polled}showed nothing of it, so most likely nothing started"
    several = " or ".join(map(str, decision.candidates[:MAX_NAMED]))
    return f"{polled}showed {several}, which another may have dispatched"
