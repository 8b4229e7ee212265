"""Items as they are stored: how far each has come, and what is known of it, read back.

Journals and durable batches keep the same states, and make the same items of them. It does no I/O.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, cast

from attrs import frozen

from testvibe_async import errors, models
from testvibe_async._wire import read
from testvibe_async.errors import DispatchUnknownError, VibeError
from testvibe_async.intents import Intent
from testvibe_async.models import Generation, Run
from testvibe_async.outcomes import BatchItem
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async._dispatch import Job

__all__ = ["ItemState", "Restored", "is_refusal", "item_of", "restored", "unknown_error"]


class ItemState(StrEnum):
    """How far one feature of a journal has come."""

    PLANNED = "planned"
    """It is to be dispatched."""

    INTENDED = "intended"
    """Its request may have been sent, and nobody saw the answer."""

    DISPATCHED = "dispatched"
    """Its operation has an id, and was not seen to end."""

    OVER = "over"
    """Its outcome is known."""

    REFUSED = "refused"
    """The service refused it; the error is known."""

    DROPPED = "dropped"
    """Nobody knows whether it began, and somebody decided to leave it so."""


@frozen
class Restored:
    """Where a feature stands that was planned before."""

    state: ItemState
    ref: Ref | None
    outcome: Run | Generation | None
    error: VibeError | None
    intent: Intent | None
    generation: Ref | None
    """The generation of a run's missing tests, where its batch dispatched one."""
    earlier: list[Run | Generation]
    """The outcomes of the attempts before."""


def restored(  # noqa: PLR0913 - the columns, each by name
    state: ItemState,
    *,
    kind: Literal["run", "generation"],
    ref: str | None,
    outcome: str | None,
    error: str | None,
    intent: Intent | None,
    generation: str | None,
    earlier: Iterable[str],
) -> Restored:
    """Read where a feature stands; the texts are JSON."""
    return Restored(
        state,
        None if ref is None else Ref.from_json(ref),
        None if outcome is None else _read_outcome(kind, outcome),
        None if error is None else _read_error(error),
        intent,
        None if generation is None else Ref.from_json(generation),
        [_read_outcome(kind, text) for text in earlier],
    )


def is_refusal(error: VibeError | None) -> bool:
    """Say whether an error is the last word on a feature that was not dispatched.

    A refusal of the key, or of a request too many, is none: it says nothing of the feature.
    """
    may_pass = {401, 403, 429}
    return isinstance(error, errors.ResponseError) and error.status not in may_pass


_PASSED = (DispatchUnknownError, errors.WaitTimeoutError)
"""What is no news of a feature that is to be dispatched."""


def item_of(job: Job, found: Restored) -> BatchItem[Any]:
    """Return what is known of a feature, without asking the service."""
    error = found.error
    if found.state is ItemState.INTENDED and not isinstance(error, DispatchUnknownError):
        error = unknown_error(job, found.intent, "the process ended before the answer came")
    elif found.state is ItemState.DROPPED or (
        found.state is ItemState.PLANNED and isinstance(error, _PASSED)
    ):
        error = None
    return BatchItem(
        feature=job.feature,
        name=job.name,
        config=job.config,
        ref=found.ref or found.generation,
        outcome=found.outcome,
        error=error,
        is_waiting=found.state is ItemState.PLANNED and error is None,
        earlier=tuple(found.earlier),
    )


def _read_outcome(kind: Literal["run", "generation"], text: str) -> Run | Generation:
    if kind == "run":
        return read(text.encode(), Run)
    return read(text.encode(), Generation)


def _read_error(text: str) -> VibeError:
    """Return an error like the one that was stored: of its class, with its message."""
    document = cast("dict[str, Any]", json.loads(text))
    kinds: dict[str, type[VibeError]] = {**vars(models), **vars(errors)}
    kind = kinds.get(document["type"], VibeError)
    error = kind.__new__(kind, document["message"])
    error.args = (document["message"],)
    error.__dict__.update(_defaults_of(error), **_fields_of(document))
    return error


def _defaults_of(error: VibeError) -> dict[str, Any]:
    text = str(error.args[0])
    if isinstance(error, errors.TransportError):
        return {"what": text, "method": "", "url": "", "attempts": 1}
    if isinstance(error, errors.WaitTimeoutError):
        return {"status": None, "elapsed": 0.0, "last_seen_at": None, "failures": 0}
    fields = {"code": None, "message": text, "method": "", "url": "", "retry_after": None}
    return fields | {"problems": (text,), "newer_request_id": ""}


def _fields_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return an error's fields, as far as its document has them."""
    fields: dict[str, Any] = {
        name: document[name]
        for name in ("status", "project", "feature", "reason")
        if name in document
    }
    if "failures" in document:
        fields["failures"] = document["failures"]
    if "lastSeenUtc" in document:
        fields["last_seen_at"] = datetime.fromisoformat(document["lastSeenUtc"])
    if "error" in document:
        fields["code"] = document["error"]
    if "ref" in document:
        fields["ref"] = Ref.from_json(json.dumps(document["ref"]))
    if "reason" in document:
        fields["candidates"] = tuple(
            Ref.from_json(json.dumps(each)) for each in document.get("candidates", ())
        )
        polled_at = document.get("polledUtc")
        fields["polled_at"] = polled_at and datetime.fromisoformat(polled_at)
        intent = document.get("intent")
        fields["intent"] = intent and Intent.from_json(json.dumps(intent))
    return fields


def unknown_error(job: Job, intent: Intent | None, what: str) -> DispatchUnknownError:
    """Return the error of a dispatch that is open.

    Args:
        job: What was to be dispatched.
        intent: Its intent.
        what: What happened to its answer.
    """
    return DispatchUnknownError(
        f"{what}; it may have taken effect, so go on with the batch, which looks for it",
        method="POST",
        url="" if intent is None else intent.server,
        project="" if intent is None else intent.project,
        feature=job.feature,
        intent=intent,
    )
