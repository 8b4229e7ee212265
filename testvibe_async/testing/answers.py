"""Answers of the service: JSON, the shape of its errors, and their documented codes.

Pure. It knows nothing of operations, of state, or of sockets.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON_TYPE = "application/json; charset=utf-8"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    429: "rate_limited",
}


@attrs.frozen
class Answer:
    """One answer, before it is sent."""

    status: int
    """The HTTP status."""

    body: bytes
    """The body, without compression."""

    content_type: str = JSON_TYPE
    """The `Content-Type`; empty for no such header."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Further headers."""

    verbatim: bool = False
    """True if no middleware changes it."""


class Refusal(Exception):  # noqa: N818 - raised to leave an operation early, not because of a bug
    """The service's refusal of a request: an answer of 400 and above."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        """Make a refusal.

        Args:
            status: The HTTP status; it decides the error's code.
            message: The text for people.
            headers: Headers of the answer.
        """
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers = headers

    def answer(self) -> Answer:
        """Return the answer to send."""
        return error_answer(self.status, self.message, self.headers)


def json_body(document: object) -> bytes:
    """Encode a document; a lone surrogate, which UTF-8 cannot carry, becomes a question mark."""
    return _encode(document).encode("utf-8", "replace")


def json_answer(document: object, status: int = 200) -> Answer:
    """Answer with a document."""
    return Answer(status, json_body(document))


def json_object(body: bytes) -> dict[str, object]:
    """Decode a request's body.

    Raises:
        Refusal: 400, where it is not one JSON object.
    """
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"The body is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise Refusal(400, "The body must be a JSON object.")
    return cast("dict[str, object]", document)


def error_answer(status: int, message: str, headers: Mapping[str, str]) -> Answer:
    """Answer with an error in its one documented shape, with the code of its status."""
    of_server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    fallback = "internal_error" if of_server else "invalid_request"
    document = {"error": _CODES.get(status, fallback), "message": message}
    return Answer(status, json_body(document), headers=headers)


OK = json_answer({"ok": True})
