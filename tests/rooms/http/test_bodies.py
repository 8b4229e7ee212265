"""How much of an answer is read, how it is unpacked, and how many large ones there are at once."""

import asyncio
import gzip
from contextlib import nullcontext
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.peer import http, peer
from tests.support.raising import raised
from testvibe_async import RetryPolicy, errors
from testvibe_async._core.http import session as http_session
from testvibe_async._core.http.response_body import LARGE_BYTES
from testvibe_async._core.wire import Endpoints
from testvibe_async.testing import Emulator, Fault

MEBIBYTE = 2**20
STATUS = b'{"featureStatus": "generated"}'
GZIP = "Content-Encoding: gzip"


def without_length(status: int, body: bytes) -> bytes:
    """Return an answer that ends with its connection."""
    return f"HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n".encode() + body


def packed(status: int, body: bytes) -> bytes:
    """Return an answer whose body is small before it is unpacked."""
    return http(status, gzip.compress(body, mtime=0), GZIP)


@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("answer", [http, packed, without_length])
async def test_an_answer_is_read_up_to_a_bound(excess: int, answer: Any) -> None:
    """A status of 1 MiB is read; one byte more is an error."""
    body = STATUS + b" " * (MEBIBYTE - len(STATUS) + excess)
    async with peer(answer(200, body)) as service, service.client() as client:
        with pytest.raises(errors.MalformedResponseError) if excess else nullcontext():
            status = await client.project().get_generation_status(12)
            assert status.feature_status == "generated"


PACKED = gzip.compress(b'[{"id": "g"}]', mtime=0)
EMPTY = gzip.compress(b"", mtime=0)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (PACKED, "gzip"),
        (PACKED, " X-GZIP"),
        (gzip.compress(b'[{"id"', mtime=0) + gzip.compress(b': "g"}]', mtime=0), "gzip"),
        (PACKED + bytes(100), "gzip"),
        (gzip.compress(b'[{"id": "g"}' + b" " * 1_000_000 + b"]", mtime=0), "gzip"),
        (b'[{"id": "g"}]', "gzip"),
        (b'[{"id": "g"}]', "identity"),
    ],
    ids=["gzip", "old name", "two members", "padded", "much", "not really", "identity"],
)
async def test_a_compressed_answer_is_read(body: bytes, encoding: str) -> None:
    """gzip is asked for and unpacked; what is only called gzip is taken as it is."""
    answer = http(200, body, f"Content-Encoding: {encoding}")
    async with peer(answer) as service, service.client() as client:
        assert [project.id for project in await client.list_projects()] == ["g"]
        assert b"accept-encoding: gzip\r\n" in service.requests[0].lower()


@pytest.mark.parametrize(
    "body",
    [PACKED[:-1], PACKED[:1], b"\x1f no gzip", PACKED + b"\x1f x", EMPTY * 16 + PACKED],
    ids=["cut", "cut at once", "no gzip", "a broken member", "many members"],
)
async def test_a_broken_gzip_is_a_lost_answer(body: bytes) -> None:
    """A body that can't be unpacked did not come whole."""
    async with peer(http(200, body, GZIP)) as service, service.client() as client:
        with pytest.raises(errors.OutcomeUnknownError, match=r"before the end of the body"):
            await client.list_projects()


BIG_LIST = b"[" + b" " * LARGE_BYTES + b" ]"


async def test_a_cancelled_reader(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between its last byte and its decoding, while the key is looked for in it."""
    emulator.fail("list_projects", Fault.body(BIG_LIST))
    async with client_of(emulator, retry=RetryPolicy(attempts=1)) as client:
        for _ in range(3):
            with monkeypatch.context() as patch:
                patch.setattr(http_session, "offload", _never)
                request = Endpoints.LIST_PROJECTS.request()
                reader = asyncio.create_task(client._transport.fetch(request))
                await asyncio.sleep(1)
                reader.cancel()
                await raised(asyncio.CancelledError, reader)
        assert await client.list_projects() == []


async def _never(*_: object) -> None:
    await asyncio.Event().wait()
