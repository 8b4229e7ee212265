"""A hostile service: whatever it sends raises an error, soon and in little memory.

Each answer here meets a plain call, and one poll of a wait, which has to go on. Lengths and
numbers are those of an attacker who has one connection; time is virtual, so that the bounds of time
are those that the client sets itself.
"""

import asyncio
import json
import re
import tracemalloc
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import define, evolve, frozen

from tests.support.amounts import amount, some
from tests.support.peer import http, scripted
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, RunFailedError, errors

TIMEOUT = 30.0


MEBIBYTE = 2**20


MOST_MEMORY = 160 * MEBIBYTE
"""Twice the 64 MiB that a body may have, and what lies around."""


SMALL_MEMORY = 20 * MEBIBYTE
"""What an answer may take that should be a status: 1 MiB of it is read."""


OK = b"HTTP/1.1 200 OK\r\n"


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@frozen
class Answer:
    """What is sent: a beginning, and then the same again and again."""

    head: bytes
    again: bytes = b""
    times: int = 0
    pause: float = 0.0
    """Virtual seconds before each."""


def document(body: bytes, *headers: str, status: int = 200) -> Answer:
    """Return an answer that holds a document."""
    return Answer(http(status, body, *headers))


def run(run_id: object, **fields: Any) -> bytes:
    """Return a run's digest, over and well."""
    digest = {"runId": run_id, "status": "passed", "finishedUtc": "2026-06-10T16:02:54Z"}
    return json.dumps({**digest, **fields}).encode()


@define
class Service:
    """A service that answers some requests with what it was given, and the others well."""

    answer: Answer
    strikes: str
    """A pattern: the targets of the requests that are struck."""
    times: int | None
    """How many are; None for all."""
    sent: int = 0
    received: int = 0
    """How many were struck."""
    runs: int = 0
    ends_at: float = 0.0
    """When its runs end, in virtual time."""

    def choose(self, method: str, target: str) -> Answer:
        """Say how a request is answered."""
        if re.search(self.strikes, target) and self.received != self.times:
            self.received += 1
            return self.answer
        if method == "POST":
            self.runs += 1
            return document(json.dumps({"runId": self.runs, "featureId": 1}).encode(), status=202)
        poll = re.search(r"/runs/(\d+)$", target)
        if poll is None:
            return document(b"[]")
        goes_on = {"status": "running", "finishedUtc": None} if now() < self.ends_at else {}
        return document(run(int(poll[1]), **goes_on))

    async def send(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        """Send until the client has had enough."""
        writer.write(answer.head)
        for _ in range(answer.times):
            await asyncio.sleep(answer.pause)
            writer.write(answer.again)
            self.sent += len(answer.again)
            await writer.drain()
        await writer.drain()


@asynccontextmanager
async def service(
    answer: Answer, strikes: str = "", *, times: int | None = 1
) -> AsyncGenerator[tuple[Service, Client]]:
    """Start a service and a client of it; every handler of a connection is over at the end."""
    hostile = Service(answer, strikes, times)
    handlers: set[Any] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        request = peer.requests[-1]
        await reader.readexactly(int(request.headers.get("content-length", 0)))
        await hostile.send(writer, hostile.choose(request.decode().split()[0], request.target))

    async with scripted(serve) as peer:
        async with peer.client() as client:
            yield hostile, client
        await asyncio.gather(*handlers)


@asynccontextmanager
async def bounded(
    seconds: float = TIMEOUT + 1, *, memory: int = MOST_MEMORY
) -> AsyncGenerator[None]:
    """Check that so much virtual time passes at the most, and that little memory is taken."""
    began = now()
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
    assert now() - began <= seconds


def bomb() -> bytes:
    """Return 2 MiB of gzip that unfold to 512, and then go on."""
    packer = zlib.compressobj(1, wbits=31)
    first, again = (
        packer.compress(bytes(MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return first + again * 511


MALFORMED, LOST = errors.MalformedResponseError, errors.OutcomeUnknownError


FLOODS: dict[str, tuple[Answer, type[errors.VibeError]]] = {
    "headers": (Answer(OK, b"X-A: " + b"a" * 999 + b"\r\n", 80_000), MALFORMED),
    "a header": (Answer(OK + b"X-A: ", b"a" * 1024, 80_000), MALFORMED),
    "a status line": (Answer(b"HTTP/1.1 200 ", b"a" * 1024, 80_000), MALFORMED),
    "interim answers": (Answer(b"", b"HTTP/1.1 100 X\r\n\r\n" * 1000, 5), LOST),
    "slow interim answers": (Answer(b"", b"HTTP/1.1 100 X\r\n\r\n", 10_000, pause=1.0), LOST),
    "another protocol": (
        Answer(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
        errors.ResponseError,
    ),
    "a body": (Answer(OK + b"\r\n", bytes(65536), 4000), MALFORMED),
    "chunks": (Answer(CHUNKED, b"10000\r\n" + bytes(65536) + b"\r\n", 4000), MALFORMED),
    "tiny chunks": (Answer(CHUNKED, b"1\r\na\r\n" * 1000, 10), LOST),
    "a chunk's extension": (Answer(CHUNKED + b"1;", b"a" * 1024, 2_000), LOST),
    "trailers": (Answer(CHUNKED + b"0\r\n", b"X: a\r\n" * 1000, 1000), MALFORMED),
    "a body by the second": (
        Answer(OK + b"Content-Length: 999\r\n\r\n", b"a", 999, pause=1.0),
        LOST,
    ),
    "a head by the second": (Answer(OK, b"X", 9999, pause=1.0), LOST),
    "a length of ages": (Answer(OK + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n"), MALFORMED),
    "a length below 0": (Answer(OK + b"Content-Length: -1\r\n\r\n"), MALFORMED),
    "no body": (Answer(b"HTTP/1.1 204 X\r\n\r\n"), MALFORMED),
    "a bomb": (document(bomb(), "Content-Encoding: gzip"), MALFORMED),
    "a bomb of brotli": (document(bomb(), "Content-Encoding: br"), MALFORMED),
    "a bomb of zstd": (document(bomb(), "Content-Encoding: zstd"), MALFORMED),
    "a bomb twice": (document(bomb(), "Content-Encoding: gzip, gzip"), MALFORMED),
    "a redirect": (
        document(b"", "Location: /api/v1/ops/projects", status=307),
        errors.ResponseError,
    ),
}


MANY = amount(60_000, few=1_000)


BODIES: dict[str, bytes] = {
    "lists without end": b"[" * 100_000,
    "objects without end": b'{"a":' * 100_000,
    "lists in lists": b"[" * 100_000 + b"]" * 100_000,
    "an id of 10,000 digits": b'{"runId": ' + b"9" * 10_000 + b', "status": "running"}',
    "an id beyond all floats": b'{"runId": 1e999, "status": "running"}',
    "an id that is no number": b'{"runId": NaN, "status": "running"}',
    "an id of a megabyte": b'{"runId": "' + b"x" * MEBIBYTE + b'", "status": "running"}',
    "an id of escapes": b'{"runId": "\\u001b[2J\\ud800\\u202e\\u0007\\r\\n", "status": "running"}',
    "half a character": b'{"runId": "\xff\xed\xa0\x80"}',
    "many wrong rows": b"[" + b"1," * MANY + b"1]",
    "many wrong tests": run("one", tests=[{}] * MANY),
    "many wrong names": run("one", tests=[{"name": 7}] * MANY, artifacts=[0] * MANY),
    "many wrong fields": json.dumps({f"{number}": [] for number in range(MANY)}).encode(),
}


@pytest.mark.parametrize("flood", some(FLOODS, few=3))
async def test_a_flood_ends_a_call(flood: str) -> None:
    """The call raises a VibeError within its timeout, and the sending ends, too."""
    answer, kind = FLOODS[flood]
    async with service(answer, times=None) as (hostile, client):
        async with bounded():
            error = await raised(kind, client.list_projects())
        assert type(error) is kind
        assert str(error).isprintable()
        assert hostile.received <= 2  # aiohttp itself sends a read again where a connection is lost
        assert hostile.sent < 72 * MEBIBYTE
        hostile.times = hostile.received
        assert await client.list_projects() == []


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("flood", ["a body", "chunks", "a bomb"])
async def test_a_flood_in_place_of_a_status_ends_soon(flood: str, status: int) -> None:
    """Little is read of what should be small: the connection is closed, and not drained."""
    answer, _ = FLOODS[flood]
    answer = evolve(answer, head=answer.head.replace(b"200", str(status).encode(), 1))
    async with service(answer, times=None) as (hostile, client):
        project = client.project()
        async with bounded(1, memory=SMALL_MEMORY):
            with pytest.raises(errors.ResponseError, match="is larger than 1 MiB") as caught:
                await project.get_generation_status(12)
        assert caught.value.status == status
        assert hostile.received == 1
        assert hostile.sent < 8 * MEBIBYTE


@pytest.mark.parametrize("operation", ["status", "list"])
async def test_many_bombs_at_once_take_little_more_than_one(operation: str) -> None:
    """Large answers are unpacked two at a time, and each until it is too large."""
    async with service(FLOODS["a bomb"][0], times=None) as (_, client):
        project = client.project()
        is_list = operation == "list"
        calls = [
            project.list_runs() if is_list else project.get_generation_status(12)
            for _ in range(amount(5, few=3))
        ]
        async with bounded(memory=MOST_MEMORY + SMALL_MEMORY if is_list else SMALL_MEMORY * 2):
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(each) for each in results} == {errors.MalformedResponseError}


MILLION = 1_000_000


HEAPS: dict[str, bytes] = {
    "brackets": b"[" * 3 * MILLION,
    "objects in a document": b'{"path": "a", "kind": [' + b"{}," * MILLION + b"{}]}",
    "rows": b"[" + b"{}," * MILLION + b"{}]",
    "objects in a row": b'[{"path": "a", "kind": [' + b"{}," * MILLION + b"{}]}]",
    "braces": b'{"a":' * MILLION,
    "digits": b'{"path": ' + b"9" * 3 * MILLION + b"}",
}


@pytest.mark.parametrize("name", some(HEAPS, few=3))
async def test_a_heap_of_values_takes_little_memory(name: str) -> None:
    """3 MB of what would take 75: it is refused before it does."""
    async with service(document(HEAPS[name]), "/files") as (_, client):
        project = client.project()
        call = project.list_files() if "row" in name else project.read_file("a")
        async with bounded(memory=60 * MEBIBYTE):
            error = await raised(errors.MalformedResponseError, call)
        assert str(error).isprintable()
        assert len(str(error)) < 1000


@pytest.mark.parametrize("name", [*FLOODS, *BODIES])
async def test_a_hostile_answer_is_one_poll_that_failed(name: str) -> None:
    """A wait goes on after a poll that was flooded, or can't be read; the next shows the end."""
    answer = FLOODS[name][0] if name in FLOODS else document(BODIES[name])
    async with service(answer, "/runs/1$") as (hostile, client):
        operation = await client.project().run_feature("Checkout")
        assert (await operation.wait(timeout=2 * TIMEOUT)).is_success
        assert hostile.received == 1


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("name", BODIES)
async def test_a_hostile_document_is_an_error(name: str, status: int) -> None:
    """It says in a few printable words what was wrong; of a refusal the status counts."""
    async with service(document(BODIES[name], status=status)) as (_, client):
        async with bounded():
            error = await raised(errors.ResponseError, client.project().get_run(1))
        assert error.status == status
        assert isinstance(error, errors.MalformedResponseError) == (status == 200)
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        assert await client.list_projects() == []


@pytest.mark.parametrize("rows", [b'{"runId":9,"status":"running"}', b"7", b"{}"])
async def test_a_list_of_very_many_rows_delays_no_wait(rows: bytes) -> None:
    """Waits that share a list end as they would without it, and it is soon left alone."""
    body = b"[" + b",".join([rows] * 5 * MANY) + b"]"
    async with service(document(body), r"/runs\?", times=None) as (hostile, client):
        hostile.ends_at = 20.0
        project = client.project()
        operations = [await project.run_feature("Checkout") for _ in range(5)]
        outcomes = await client.gather(*operations)
        assert [outcome.run_id for outcome in outcomes] == [1, 2, 3, 4, 5]
        assert hostile.received == 2  # once before the first run, and once to poll
        assert now() < TIMEOUT


@pytest.mark.parametrize(
    "value",
    ["31536000", "-1", "nan", "inf", "1e999", "", "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"],
    ids=lambda value: value[:10],
)
async def test_no_pause_is_longer_than_two_minutes(value: str) -> None:
    """Whatever the Retry-After, the wait goes on within 120 s and one poll."""
    refusal = document(b"{}", f"Retry-After: {value}", status=429)
    async with service(refusal, "/runs/1$") as (hostile, client):
        operation = await client.project().run_feature("Checkout")
        assert (await operation).is_success
        assert hostile.received == 1
        assert now() < 120 + 10


async def test_what_a_terminal_would_obey_is_not_in_a_message() -> None:
    """The error of a failed run is fit for a terminal, whatever its tests and feature say."""
    nasty = "\x1b[2J\x1b]0;title\x07\u202e\r\n"
    failed = {"name": nasty, "status": "failed", "error": nasty + "x" * MEBIBYTE}
    digest = run(1, status="failed", featureName=nasty, tests=[failed])
    async with service(document(digest), "/runs/1$") as (_, client):
        outcome = await client.project().get_run(1)
    assert outcome.tests[0].name == nasty
    with pytest.raises(RunFailedError) as caught:
        outcome.raise_for_status()
    message = str(caught.value)
    assert all(char.isprintable() or char == "\n" for char in message)
    assert len(message) < 2000
