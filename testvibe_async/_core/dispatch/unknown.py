"""The error of a dispatch that may have taken effect: what was seen, and advice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from testvibe_async._core.wire import KINDS
from testvibe_async.errors import DispatchUnknownError, NotFoundError, ResponseError

if TYPE_CHECKING:
    from testvibe_async._core.dispatch.candidates import Decision
    from testvibe_async._core.dispatch.dispatch import Dispatch
    from testvibe_async.errors import UnknownReason, VibeError

MAX_NAMED = 3
"""Maximum number of candidates that an error's text names."""


def unknown_error(dispatch: Dispatch[Any], *, needs_decision: bool = False) -> DispatchUnknownError:
    """Return the error of a dispatch that is unknown, by what the last search showed.

    Args:
        dispatch: The dispatch.
        needs_decision: True if no further search can settle it.
    """
    decision, why = dispatch.decision, dispatch.why
    reason: UnknownReason = decision.reason
    if dispatch.is_accepted and reason != "ambiguous":
        reason = "accepted"
    shown = _shown(dispatch, decision, reason, why)
    error = DispatchUnknownError(
        "; ".join(filter(None, (_hint(dispatch.failure), shown, _loss(dispatch.failure)))),
        advice=_advice(dispatch, reason, needs_decision=needs_decision),
        method=dispatch.request.method,
        url=dispatch.parts.transport.url_of(dispatch.request),
        kind=dispatch.kind,
        project=dispatch.project,
        feature=dispatch.feature,
        reason=reason,
        candidates=decision.candidates,
        key=dispatch.key,
        polled_at=None if reason == "unseen" else datetime.now(UTC),
    )
    error.__cause__ = dispatch.failure
    return error


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
    if dispatch.is_keyed:
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
