"""Conversion of entries to JSON documents and back. Pure.

An error is read back as an instance of its class, with its message and the fields that callers
decide by.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from testvibe_async import errors, models
from testvibe_async._batch.entry import Entry, EntryState
from testvibe_async._dispatch import Job
from testvibe_async._wire import KINDS, read
from testvibe_async.errors import VibeError
from testvibe_async.intents import Intent
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot


def entry_document(entry: Entry[Any]) -> dict[str, Any]:
    """Return the document to save of an entry, without values that are None or empty."""
    document: dict[str, Any] = {"state": entry.state, "feature": entry.job.feature}
    job = entry.job
    repetition = job.repetition if job.repetition > 1 else None
    values = {"name": job.name, "config": job.config, "repetition": repetition}
    nested = {
        "intent": entry.intent,
        "ref": entry.ref,
        "named": entry.named,
        "error": entry.error,
    }
    document |= {name: value for name, value in values.items() if value is not None}
    document |= {name: value.to_dict() for name, value in nested.items() if value is not None}
    if entry.outcomes:
        document["outcomes"] = [outcome.to_dict() for outcome in entry.outcomes]
    return document


def read_entry(index: int, document: Mapping[str, Any], *, kind: KindName) -> Entry[Any]:
    """Return the entry that `entry_document` describes.

    Raises:
        ConfigError, ValueError, KeyError, TypeError, AttributeError: The document is damaged.
    """
    return Entry(
        index=index,
        job=Job(
            document["feature"],
            document.get("name"),
            document.get("config"),
            document.get("repetition", 1),
        ),
        kind=kind,
        state=EntryState(document["state"]),
        intent=_stored(Intent, document.get("intent")),
        ref=_stored(Ref, document.get("ref")),
        named=_stored(Ref, document.get("named")),
        outcomes=[_read_outcome(kind, each) for each in document.get("outcomes", ())],
        error=_read_error(document["error"]) if "error" in document else None,
    )


def _stored(kind: Any, document: object) -> Any:  # noqa: ANN401 - a class with from_json
    return None if document is None else kind.from_json(json.dumps(document))


def _read_outcome(kind: KindName, document: object) -> Snapshot:
    body = json.dumps(document).encode()
    return read(body, KINDS[kind].snapshot)


def _read_error(document: Mapping[str, Any]) -> VibeError:
    kinds: dict[str, type[VibeError]] = {**vars(models), **vars(errors)}
    kind = kinds.get(document["type"], VibeError)
    error = kind.__new__(kind, document["message"])
    error.args = (document["message"],)
    error.__dict__.update(_defaults_of(error), **_fields_of(document))
    error.__cause__ = _read_error(document["cause"]) if "cause" in document else None
    if isinstance(error, errors.ResponseError):
        error.is_from_service = error.code is not None
    return error


def _defaults_of(error: VibeError) -> dict[str, Any]:
    text = str(error.args[0])
    if isinstance(error, errors.TransportError):
        return {"what": text, "method": "", "url": "", "attempts": 1}
    if isinstance(error, errors.WaitTimeoutError):
        return {"status": None, "elapsed": 0.0, "last_seen_at": None, "failures": 0}
    fields = dict.fromkeys(("status", "code", "retry_after")) | {"message": text}
    return fields | {"method": "", "url": "", "problems": (text,), "newer_request_id": ""}


def _fields_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error's fields, as far as its document has them."""
    fields: dict[str, Any] = {
        name: document[name]
        for name in ("status", "project", "feature", "reason", "failures", "what")
        if name in document
    }
    if "lastSeenUtc" in document:
        fields["last_seen_at"] = datetime.fromisoformat(document["lastSeenUtc"])
    if "error" in document:
        fields["code"] = document["error"]
    if "said" in document:
        fields["message"] = document["said"]
    if "ref" in document:
        fields["ref"] = _stored(Ref, document["ref"])
    if "reason" in document:
        candidates = cast("list[object]", document.get("candidates", []))
        fields["candidates"] = tuple(_stored(Ref, each) for each in candidates)
        polled_at = document.get("polledUtc")
        fields["polled_at"] = polled_at and datetime.fromisoformat(polled_at)
        fields["intent"] = _stored(Intent, document.get("intent"))
    return fields
