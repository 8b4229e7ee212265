"""How a response becomes a value or an error."""

import json
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rooms.wire.documents import answer, request_for
from testvibe_async import errors
from testvibe_async._core.wire import protocol
from testvibe_async._core.wire.endpoints import ENDPOINTS, Request
from testvibe_async._core.wire.protocol import Response, is_clear_refusal

T = TypeVar("T")


def decode(request: Request[T], response: Response) -> T:
    """Turn an answer into a value or an error, as the transport does."""
    protocol.raise_for_status(request, response)
    return protocol.decode(request, response)


def refusal(
    status: int, body: bytes = b"", *, operation: str = "get_feature", **headers: str
) -> Any:
    """Return the error that an answer to an operation is deciphered as."""
    request = request_for(operation)
    with pytest.raises(errors.ResponseError) as caught:
        decode(request, answer(status, body, **headers))
    return caught.value


def error_body(message: object, code: object = "some_code") -> bytes:
    """Return an error document in the service's format."""
    return json.dumps({"error": code, "message": message}).encode()


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b'{"ok": true}', b"null", b'"done"', b"[]"])
def test_a_mutation_is_done_once_it_is_acknowledged(body: bytes) -> None:
    """Any success but one that says false is an acknowledgement."""
    request = request_for("write_file")
    assert decode(request, answer(200, body)) is None
    assert decode(request, answer(204)) is None


@pytest.mark.parametrize("body", [b'{"ok": false}', b"<html>Sign in</html>", b'{"ok": tr'])
def test_a_mutation_is_not_done_where_the_success_says_so(body: bytes) -> None:
    """A success that says false, or is no JSON, such as a proxy's page, is malformed."""
    error = refusal(200, body, operation="write_file")
    assert type(error) is errors.MalformedResponseError
    assert error.status == 200
    assert error.problems


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", None, "the answer has no body"),
        (b"  \n ", None, "the answer has no body"),
        (b"<html>\n <h1>502  Bad\tGateway</h1>", None, "the answer is a web page"),
        (
            b"<html><title>502\n Bad Gateway</title>",
            None,
            "the answer is a web page titled '502 Bad Gateway'",
        ),
        (b"plain words", None, "plain words"),
        (b"[1, 2]", None, "[1, 2]"),
        (b'"text"', None, "text"),
        (b'{"title": "Not Found", "detail": "No such run."}', None, "Not Found: No such run."),
        (b'{"title": "Not Found", "status": 404}', None, "Not Found"),
        (b'{"error": {"code": "conflict", "message": "busy"}}', "conflict", "busy"),
        (b'{"Error": "conflict", "Message": "busy"}', "conflict", "busy"),
        (b'{"message": "only words"}', None, "only words"),
        (b'{"error": 7, "message": "m"}', None, "m"),
        (b'{"error": "conflict"}', "conflict", '{"error": "conflict"}'),
        (b"\xff\xfe\xfd", None, None),
        (b'\xef\xbb\xbf{"error": "bom", "message": "after a BOM"}', "bom", "after a BOM"),
    ],
)
def test_an_error_in_any_format_is_read(body: bytes, code: str | None, message: str | None) -> None:
    """Code and message come from the service's format, or the beginning of the body is shown."""
    error = refusal(500, body)
    assert error.code == code
    if message is None:
        assert error.message
    else:
        assert error.message == message
    is_quoted = '"' in str(error)
    assert is_quoted is not (message or "").startswith("the answer ")
    restored = errors.read_error(error.to_dict())
    assert (str(restored), restored.brief) == (str(error), error.brief)


@pytest.mark.parametrize(
    ("status", "code", "is_refused"),
    [
        *((status, "conflict", True) for status in (400, 401, 403, 404, 409, 422, 429, 451)),
        # A gateway sends these after it has passed a request on, and may be asked to name a code.
        *((status, "too_early", False) for status in (408, 425, 499)),
        *((status, None, False) for status in (302, 400, 403, 404, 409, 499)),
        *((status, "found", False) for status in (200, 202, 301, 302, 307, 500, 502, 503, 599)),
        (None, "conflict", False),
        (None, None, False),
    ],
)
def test_only_the_services_own_word_is_a_refusal(
    status: int | None, code: str | None, *, is_refused: bool
) -> None:
    """A redirect, a bare page and a 5xx may come after the effect of a request."""
    assert is_clear_refusal(status, code) is is_refused


NO_SECONDS = [
    *("", "soon", "-5", "+5", "nan", "inf", "-inf", "1e3", "0x10", "1_0", "5, 7", "\u0665"),
    *("Wed, 10 Jun 2026 14:00:30 +9999999999", "Wed, 10 Jun 99999999999 14:00:30 GMT"),
]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        *((value, 7.0) for value in ("7", " 7 ", "007")),
        ("1.5", 1.5),
        ("999999999", 999_999_999.0),
        ("Wed, 10 Jun 2026 14:00:30 GMT", 30.0),
        ("Wed, 10 Jun 2026 16:00:30 +0200", 30.0),
        ("Wednesday, 10-Jun-26 14:00:30 GMT", 30.0),
        ("Wed, 10 Jun 2026 13:00:00 GMT", 0.0),
        ("Wed, 99 Jun 2026 14:00:30 GMT", None),
        *((value, None) for value in NO_SECONDS),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    """Retry-After is read as RFC 9110 has it, and anything else is no wish at all."""
    assert refusal(429, Retry_After=value).retry_after == seconds
    assert refusal(503, Retry_After=value).retry_after == seconds


def test_a_date_is_counted_from_the_services_clock() -> None:
    """A Retry-After date is measured against the answer's own Date, not against our clock."""
    later = "Mon, 01 Jan 2024 00:00:20 GMT"
    error = refusal(429, Date="Mon, 01 Jan 2024 00:00:00 GMT", Retry_After=later)
    assert error.retry_after == 20.0
    broken = refusal(429, Date="x", Retry_After="Wed, 10 Jun 2026 14:00:30 GMT")
    assert broken.retry_after == 30.0


@given(st.integers(200, 599), st.binary(max_size=80), st.sampled_from(list(ENDPOINTS)))
def test_any_answer_is_a_value_or_an_error(status: int, body: bytes, operation: str) -> None:
    """Nothing that a server may answer raises anything but a ResponseError of one line."""
    error: errors.ResponseError | None = None
    try:
        decode(request_for(operation), answer(status, body))
    except errors.ResponseError as caught:
        error = caught
    assert error is not None or status < 300
    assert error is None or (error.status == status and str(error).isprintable())


def test_the_date_is_the_services_clock_where_it_says() -> None:
    """The instant of an answer is its Date, in UTC; there is none where it can't be read."""
    dated = answer(200, Date="Mon, 01 Jan 2024 00:00:00 GMT")
    assert dated.date == datetime(2024, 1, 1, tzinfo=UTC)
    naive = answer(200, Date="Mon, 01 Jan 2024 00:00:00 -0000")
    assert naive.date == datetime(2024, 1, 1, tzinfo=UTC)
    assert answer(200).date is answer(200, Date="x").date is None


@pytest.mark.parametrize(
    ("body", "headers", "kind"),
    [
        (b"", {"Retry_After": "7"}, errors.RateLimitedError),
        (b'{"error": "rate_limited", "message": "m"}', {}, errors.RateLimitedError),
        (b'{"error": "forbidden", "message": "m"}', {}, errors.ForbiddenError),
        (b"", {}, errors.ForbiddenError),
    ],
)
def test_a_403_may_be_a_429(
    body: bytes, headers: dict[str, str], kind: type[errors.ResponseError]
) -> None:
    """It says when to try again, or has a code that says so."""
    assert type(refusal(403, body, **headers)) is kind


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("body", [b"", b"<html>no such page</html>", b'{"title": "Not Found"}'])
def test_an_assumed_route_that_is_missing_is_no_missing_project(status: int, body: bytes) -> None:
    """Without the service's own code it says which route was assumed, and where to put another.

    With its code it is a project that is missing; and no documented route is missing.
    """
    error = refusal(status, body, operation="list_runs")
    assert type(error) is errors.EndpointNotFoundError
    assert (error.operation, error.route) == ("list_runs", "GET /projects/{project}/runs")
    assert "a route that is assumed" in str(error)
    assert "[endpoints]" in str(error)
    documented = refusal(404, body, operation="get_run")
    assert type(documented) is errors.NotFoundError
    assert "not its own answer" in str(documented)
    own = refusal(404, error_body("No such project.", "not_found"), operation="list_runs")
    assert type(own) is errors.NotFoundError
