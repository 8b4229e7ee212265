"""The answers of a dialect: from the documented answer to the one that is sent. Pure.

Words, ids and times; the form of errors; pages of lists; the encoding; what web servers answer by
themselves. A member is known by its name, as the contract has it, at any depth. A cursor is the
number of rows before its page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import attrs

from testvibe_async.testing import Answer, RecordedRequest
from testvibe_async.testing.answers import JSON_TYPE, Refusal, json_body
from testvibe_async.testing.project import as_number

if TYPE_CHECKING:
    from tests.support.dialects import Dialect

DEFAULT_LIMIT = 50
_CURSOR = "after-"
_PROBLEM_TYPE = "application/problem+json; charset=utf-8"
_WORDS = frozenset(
    {
        *("status", "featureStatus", "overallStatus", "overallConclusion", "conclusion"),
        *("state", "verdict", "kind", "source"),
    }
)
_END_MARKS = frozenset({"finishedUtc", "overallConclusion"})
_IDS = frozenset({"id", "runId", "featureId"})
_TESTS = frozenset({"tests", "failures"})
_STATUSES = frozenset(HTTPStatus)
_HTML = "text/html; charset=utf-8"
_IIS = """\
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{status} - {phrase}</title></head>
<body><div id="header"><h1>Server Error</h1></div><h2>{status} - {phrase}</h2></body></html>
"""
_LOGIN = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in</title></head>
<body><form method="post" action="/account/login"><input type="password"></form></body></html>
"""
ODD: Mapping[str, Callable[[Any], object]] = {
    "durationMs": lambda number: f"{number}ms",
    "error": lambda text: {"message": text, "stack": text.splitlines()},
    "log": lambda log: [
        {"level": "info", "text": line}
        for line in (log.splitlines() if isinstance(log, str) else log)
    ],
    "summary": lambda counts: {key: str(count) for key, count in counts.items()},
    "runnerStarted": lambda truth: str(truth).lower(),
    "size": str,
}
"""By the name of an optional field, its value as another type than the documented one."""


def written(answer: Answer, dialect: Dialect, request: RecordedRequest) -> Answer:
    """Return an answer as the dialect writes it.

    Args:
        answer: The documented answer.
        dialect: The dialect.
        request: What it answers.
    """
    if answer.content_type == JSON_TYPE:
        try:
            answer = _json_in_dialect(answer, dialect, request)
        except Refusal as refusal:
            answer = error_in_dialect(refusal.answer(), dialect)
        if answer.content_type == JSON_TYPE:
            answer = attrs.evolve(answer, content_type=dialect.content_type)
    return answer


def _json_in_dialect(answer: Answer, dialect: Dialect, request: RecordedRequest) -> Answer:
    if answer.status >= HTTPStatus.BAD_REQUEST:
        return error_in_dialect(answer, dialect)
    document = translate(json.loads(answer.body), dialect)
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
        return page_of(answer, rows, dialect, request)
    if of_runs:
        del rows[as_number(request.query.get("limit", "")) or DEFAULT_LIMIT :]
    return attrs.evolve(answer, body=json_body(rows))


def _dispatched(ids: dict[str, object], dialect: Dialect) -> object:
    if dialect.dispatch_shape == "data":
        return {"data": ids}
    if dialect.dispatch_shape == "kind":
        kind, key = ("run", "runId") if "runId" in ids else ("generation", "requestId")
        return {kind: {"id": ids.pop(key), **ids}}
    return ids


def error_in_dialect(answer: Answer, dialect: Dialect) -> Answer:
    """Return a documented error as the dialect answers it."""
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        answer = _rate_limited(answer, dialect.rate_limit_answer)
    if dialect.errors == "iis":
        page = _IIS.format(status=answer.status, phrase=phrase(answer.status))
        return attrs.evolve(answer, body=page.encode(), content_type=_HTML)
    if dialect.errors == "code":
        return answer
    problem: dict[str, object] = {
        # 15.5 is about 4xx, 15.6 about 5xx
        "type": f"https://tools.ietf.org/html/rfc9110#section-15.{answer.status // 100 + 1}",
        "title": phrase(answer.status),
        "status": answer.status,
        "detail": json.loads(answer.body)["message"],
    }
    return attrs.evolve(answer, body=json_body(problem), content_type=_PROBLEM_TYPE)


def _rate_limited(answer: Answer, style: str) -> Answer:
    if style == "403_retry_after":
        headers = {"Retry-After": "1", **answer.headers}
        return Refusal(403, "Too many requests.", **headers).answer()
    return answer


def page_of(
    answer: Answer, rows: list[object], dialect: Dialect, request: RecordedRequest
) -> Answer:
    """Answer with the page of a list that a request asks for.

    Args:
        answer: The answer with the whole list.
        rows: All rows, in the order of the list.
        dialect: A dialect that has pages.
        request: The request; its `cursor` and `limit` count.

    Raises:
        Refusal: 400, for a cursor that no page had.
    """
    start = _start(request.query.get("cursor")) if dialect.follows_cursors else 0
    limit = as_number(request.query.get("limit", "")) or dialect.page_size
    end = start + min(limit, dialect.page_size)
    page: object = rows[start:end]
    cursor = f"{_CURSOR}{end}" if end < len(rows) else None
    # On the host that the client has asked, which may be a proxy.
    url = cursor and f"http://{request.headers['Host']}{request.path}?" + urlencode(
        {**request.query, "cursor": cursor}
    )
    match dialect.paging:
        case "cursor":
            page = {"items": page, "nextCursor": cursor}
        case "has_more":
            page = {"items": page, "hasMore": cursor is not None}
        case "total":
            page = {"items": page, "total": len(rows)}
        case _:
            headers = {"Link": f'<{url}>; rel="next"'} if url else {}
            return attrs.evolve(answer, body=json_body(page), headers=headers)
    return attrs.evolve(answer, body=json_body(page), headers={})


def _start(cursor: str | None) -> int:
    if cursor is None:
        return 0
    start = as_number(cursor.removeprefix(_CURSOR)) if cursor.startswith(_CURSOR) else None
    if start is None:
        raise Refusal(400, f"No page has the cursor {cursor!r}.")
    return start


def translate(document: object, dialect: Dialect, *, of_tests: bool = False) -> object:
    """Return a document with all its members as the dialect writes them.

    Args:
        document: The document, or a part of it.
        dialect: The dialect.
        of_tests: True within a list of tests, whose statuses keep their documented words.
    """
    if isinstance(document, list):
        rows = cast("list[object]", document)
        return [translate(row, dialect, of_tests=of_tests) for row in rows]
    if isinstance(document, dict):
        members = cast("dict[str, object]", document)
        return {
            name: _member(name, value, dialect, of_tests=of_tests)
            for name, value in members.items()
        }
    return document


def _member(name: str, value: object, dialect: Dialect, *, of_tests: bool) -> object:
    if name in _END_MARKS and not dialect.shows_end:
        value = None
    if name.endswith("Utc"):
        return _time(value, dialect.times)
    if name in dialect.odd_fields:
        return None if value is None else ODD[name](value)
    if name in _IDS and dialect.ids_as_text and isinstance(value, int):
        return str(value)
    if isinstance(value, str) and name in _WORDS:
        return _word(value if of_tests else dialect.words.get(value, value), dialect.case)
    return translate(value, dialect, of_tests=of_tests or name in _TESTS)


def _word(word: str, case: str) -> str:
    return word.title().replace("_", "") if case == "title" else word


def _time(value: object, style: str) -> object:
    if style == "empty":
        return ""
    if style == "seven_digits" and isinstance(value, str):
        return value.replace("Z", ".1234567Z")
    return value


def phrase(status: int) -> str:
    """Return the words for a status; those of its class if it has none of its own."""
    return HTTPStatus(status if status in _STATUSES else status // 100 * 100).phrase


def login_page() -> Answer:
    """Answer with a form to sign in, as a success."""
    return Answer(200, _LOGIN.encode(), content_type=_HTML)
