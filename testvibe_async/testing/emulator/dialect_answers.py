"""The answers of a dialect: from the documented answer to the one that is sent.

Pure. It decides where members stand, the status, the headers and the encoding. Their values are
those of `dialect_values`, errors those of `dialect_errors`, pages those of `paging`.
"""

from __future__ import annotations

import gzip
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import attrs

from .answers import JSON_TYPE, Answer, Refusal, json_body
from .dialect_errors import error_in_dialect
from .dialect_values import translate
from .paging import DEFAULT_LIMIT, page_of
from .project import as_number

if TYPE_CHECKING:
    from .dialect import Dialect
    from .requests import RecordedRequest

__all__ = ["in_dialect"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DONE = {"ok": True}


def in_dialect(answer: Answer, dialect: Dialect, request: RecordedRequest) -> Answer:
    """Return an answer as the dialect writes it.

    Args:
        answer: The documented answer.
        dialect: The dialect.
        request: What it answers.
    """
    if answer.verbatim:
        return answer
    if answer.content_type == JSON_TYPE:
        try:
            answer = _json_in_dialect(answer, dialect, request)
        except Refusal as refusal:
            answer = error_in_dialect(refusal.answer(), dialect)
        answer = _encoded(answer, dialect)
    if dialect.gzip and answer.body and "gzip" in request.headers.get("Accept-Encoding", ""):
        answer = attrs.evolve(
            answer,
            body=gzip.compress(answer.body, mtime=0),
            headers={**answer.headers, "Content-Encoding": "gzip"},
        )
    return answer


def _json_in_dialect(answer: Answer, dialect: Dialect, request: RecordedRequest) -> Answer:
    if answer.status >= HTTPStatus.BAD_REQUEST:
        return error_in_dialect(answer, dialect)
    document: object = json.loads(answer.body)
    if document == _DONE and dialect.empty_mutations:
        return Answer(204, b"", content_type="")
    document = translate(document, dialect)
    if isinstance(document, list):
        return _list(answer, cast("list[object]", document), dialect, request)
    if answer.status == HTTPStatus.ACCEPTED:
        ids = _dispatched(cast("dict[str, object]", document), dialect)
        return attrs.evolve(answer, status=dialect.dispatch_status, body=json_body(ids))
    return attrs.evolve(answer, body=json_body(document))


def _list(answer: Answer, rows: list[object], dialect: Dialect, request: RecordedRequest) -> Answer:
    of_runs = request.operation == "list_runs"
    if of_runs and dialect.oldest_first:
        rows.reverse()
    if dialect.paging is not None:
        page = page_of(rows, dialect, request)
        return attrs.evolve(answer, body=json_body(page.document), headers=page.headers)
    if of_runs:
        del rows[as_number(request.query.get("limit", "")) or DEFAULT_LIMIT :]
    return attrs.evolve(answer, body=json_body(rows))


def _dispatched(ids: dict[str, object], dialect: Dialect) -> object:
    if not dialect.dispatch_feature_id:
        del ids["featureId"]
    match dialect.dispatch_shape:
        case "data":
            return {"data": ids}
        case "kind":
            kind, key = ("run", "runId") if "runId" in ids else ("generation", "requestId")
            return {kind: {"id": ids.pop(key), **ids}}
        case _:
            return ids


def _encoded(answer: Answer, dialect: Dialect) -> Answer:
    """Return the answer with the dialect's `Content-Type` and byte order mark, if it is JSON."""
    content_type = answer.content_type
    if content_type == JSON_TYPE:
        content_type = dialect.content_type
    body = answer.body
    if dialect.byte_order_mark and "html" not in content_type and body:
        body = _BYTE_ORDER_MARK + body
    return attrs.evolve(answer, body=body, content_type=content_type)
