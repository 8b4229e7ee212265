"""The errors of a dialect: their form, and the answer to one request too many.

Pure. The status of an error is the documented one, except that of a rate limit.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs

from .answers import Answer, Refusal, json_body
from .pages import error_page, phrase

if TYPE_CHECKING:
    from .dialect import Dialect

__all__ = ["error_in_dialect"]

_PROBLEM_TYPE = "application/problem+json; charset=utf-8"
_TYPES = "https://tools.ietf.org/html/rfc9110#section-15"


def error_in_dialect(answer: Answer, dialect: Dialect) -> Answer:
    """Return a documented error as the dialect answers it."""
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        answer = _rate_limited(answer, dialect.rate_limit_answer)
    document: dict[str, str] = json.loads(answer.body)
    code, message = document["error"], document["message"]
    match dialect.errors:
        case "problem":
            body = json_body(_problem(answer.status, message))
            return attrs.evolve(answer, body=body, content_type=_PROBLEM_TYPE)
        case "iis" | "nginx":
            page = error_page(answer.status, dialect.errors)
            return attrs.evolve(page, headers=answer.headers)
        case "nested":
            return attrs.evolve(
                answer, body=json_body({"error": {"code": code, "message": message}})
            )
        case "text":
            return attrs.evolve(answer, body=json_body(message))
        case "capitalized":
            return attrs.evolve(answer, body=json_body({"Error": code, "Message": message}))
        case _:
            return answer


def _rate_limited(answer: Answer, style: str) -> Answer:
    message = "Too many requests."
    match style:
        case "403_retry_after":
            return Refusal(403, message).answer(**{"Retry-After": "1", **answer.headers})
        case "403_code":
            # The body has the code of a 429.
            headers = {k: v for k, v in answer.headers.items() if k != "Retry-After"}
            return attrs.evolve(answer, status=403, headers=headers)
        case _:
            return answer


def _problem(status: int, detail: str) -> dict[str, object]:
    return {
        "type": f"{_TYPES}.{status // 100 + 1}",  # 15.5 is about 4xx, 15.6 about 5xx
        "title": phrase(status),
        "status": status,
        "detail": detail,
    }
