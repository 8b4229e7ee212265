"""The API key is in no error, log or repr, wherever a server repeats it."""

import json
import logging
import traceback
from collections.abc import Callable

import pytest

from tests.support.peer import KEY, http, peer
from tests.support.raising import raised
from testvibe_async import ResponseError, UnauthorizedError, VibeError


def all_of(error: BaseException) -> str:
    """Return all words of an error and of what it came from."""
    words = traceback.format_exception(error)
    one: BaseException | None = error
    while one is not None:
        words += [str(one), repr(one), repr(one.args), repr(vars(one))]
        one = one.__cause__ or one.__context__
    return "\n".join(words)


def key_in(request: bytes) -> bytes:
    """Return the line of a request that holds the key."""
    return next(line for line in request.split(b"\r\n") if b"tvb_" in line)


ECHOES: dict[str, Callable[[bytes], bytes]] = {
    "message": lambda request: http(400, b'{"error": "x", "message": "' + key_in(request) + b'"}'),
    "code": lambda request: http(400, b'{"error": "' + key_in(request) + b'", "message": "m"}'),
    "500-body": lambda request: http(500, request),
    "200-body": lambda request: http(200, request),
    "field": lambda request: http(200, b'{"id": "' + key_in(request) + b'", "runId": 1}'),
    "location": lambda request: http(
        302, b"", "Location: /login/" + key_in(request).decode().split()[-1]
    ),
    "status-line": lambda request: b"HTTP/1.1 4xx " + key_in(request) + b"\r\n\r\n",
    "no-http": lambda request: key_in(request) + b"\r\n\r\n",
    "header": lambda request: (
        b"HTTP/1.1 200 OK\r\n" + key_in(request).replace(b":", b"") + b"\r\n\r\n"
    ),
    "length": lambda request: (
        b"HTTP/1.1 200 OK\r\nContent-Length: " + key_in(request) + b"\r\n\r\n"
    ),
}


@pytest.mark.parametrize("answer", ECHOES.values(), ids=ECHOES)
async def test_an_echo_of_the_key_is_not_shown(
    answer: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever a server repeats the key, no error, cause, log or dict holds it."""
    caplog.set_level(logging.DEBUG)
    async with peer(answer) as service, service.client() as client:
        error = await raised(ResponseError, client.project().get_feature("Checkout"))
        assert KEY in service.requests[0].decode()
    assert KEY not in all_of(error)
    assert KEY not in json.dumps(error.to_dict())
    assert KEY not in caplog.text


CUT_ECHOES: dict[str, bytes] = {
    "head": b"HTTP/1.1 200 OK\r\nX-Echo: %b\r\nY: b\r\n",
    "status line": b"HTTP/1.1 200 %b",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n%b",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n%b",
    "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 47\r\n\r\n%b",
}


@pytest.mark.parametrize("answer", CUT_ECHOES)
async def test_no_echo_that_is_cut_off(answer: str, caplog: pytest.LogCaptureFixture) -> None:
    """An echo before a lost connection is in no error or cause, whole or in part."""
    caplog.set_level(logging.DEBUG)

    def echo(request: bytes) -> bytes:
        return CUT_ECHOES[answer] % key_in(request).split()[-1]

    async with peer(echo) as service, service.client() as client:
        error = await raised(VibeError, client.project().get_feature("Checkout"))
    assert KEY[4:12] not in all_of(error)
    assert KEY[4:12] not in caplog.text
    assert str(error).isprintable()
    assert len(str(error)) < 500


async def test_an_echo_of_the_key_is_masked() -> None:
    """An error shows a placeholder where the key was."""
    body = f'{{"error": "x", "message": "No such key: {KEY}"}}'.encode()
    async with peer(http(401, body)) as service, service.client() as client:
        error = await raised(UnauthorizedError, client.list_projects())
    assert error.message == "No such key: tvb_..."


async def test_a_short_key_is_not_searched_for_in_answers() -> None:
    """A key that may be part of a word damages no answer."""
    body = b'[{"id": "7f3c", "name": "test"}]'
    async with peer(http(200, body)) as service, service.client(api_key="test") as client:
        (project,) = await client.list_projects()
    assert project.name == "test"
