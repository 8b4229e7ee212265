"""What goes over the wire, what comes back, and what becomes of it when something goes wrong."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
import threading
import traceback
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from attrs import evolve, fields
from yarl import URL

from tests.conftest import client_of
from testvibe_async import (
    Client,
    ClientClosedError,
    ConfigError,
    ForbiddenError,
    Hooks,
    MalformedResponseError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    Paused,
    RateLimitedError,
    RequestFinished,
    ResponseError,
    RetryPolicy,
    RetryScheduled,
    ServerError,
    TransportError,
    UnauthorizedError,
    VibeError,
)
from testvibe_async._http import session as _http
from testvibe_async._http import transport as _transport
from testvibe_async._wire.endpoints import LIST_PROJECTS
from testvibe_async._wire.protocol import Response
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from testvibe_async import Event, Project
    from testvibe_async.testing import Emulator

KEY = "tvb_" + "SecretKey" * 4 + "0000000"
ONCE = RetryPolicy(attempts=1)

READ = "get_feature"
# Each of the calls that must not happen twice, and the operation that it is.
ONCE_ONLY: dict[str, Callable[[Project], Awaitable[object]]] = {
    "create_feature": lambda p: p.create_feature("New", "Feature: New"),
    "update_feature": lambda p: p.update_feature("Checkout", gherkin="Feature: C"),
    "delete_feature": lambda p: p.delete_feature("Checkout"),
    "generate_feature": lambda p: p.generate_feature("Checkout"),
    "cancel_generation": lambda p: p.cancel_generation("Checkout"),
    "run_feature": lambda p: p.run_feature("Checkout"),
    "write_file": lambda p: p.write_file("Features/a.feature", "Feature: A"),
}
once_only = pytest.mark.parametrize("operation", ONCE_ONLY)


class Peer:
    """A server that says what it was told to say, and keeps what it heard."""

    def __init__(self, url: str, heard: list[bytes]) -> None:
        self.url = url
        self.heard = heard

    def client(self, **options: Any) -> Client:
        """Return a client of it, that tries once."""
        return Client(self.url, api_key=KEY, project="p", retry=ONCE, **options)


@asynccontextmanager
async def peer(answer: bytes | Callable[[bytes], bytes]) -> AsyncGenerator[Peer]:
    """Answer each connection's first request with these bytes, and close."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer if isinstance(answer, bytes) else answer(heard[-1]))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Peer(f"http://127.0.0.1:{port}", heard)


def http(status: int, body: bytes = b"", *lines: str) -> bytes:
    """Return an answer as it is on the wire."""
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def now() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


def hooks_into(seen: list[Any]) -> Hooks:
    """Return hooks that keep every event."""
    return Hooks(**dict.fromkeys((hook.name for hook in fields(Hooks)), seen.append))


# Requests as they are sent


async def test_the_key_travels_in_one_header_alone(emulator: Emulator) -> None:
    """The key is in `Authorization`, and in no URL, query, body or other header."""
    async with client_of(emulator) as client:
        await client.project().write_file("Features/a", "x")
        await client.project().read_file("Features/a")
        await client.project().list_runs(feature="Checkout", limit=1)
    assert len(emulator.requests) == 3
    for request in emulator.requests:
        assert request.headers["Authorization"] == f"Bearer {emulator.api_key}"
        others = {name: value for name, value in request.headers.items() if name != "Authorization"}
        assert emulator.api_key not in repr((request.path, request.query, others, request.body))


async def test_a_body_is_utf_8_json(emulator: Emulator) -> None:
    """A body is JSON in UTF-8, not in escapes, with its content type."""
    async with client_of(emulator) as client:
        await client.project().write_file("Features/ü", "✓")
    (request,) = emulator.requests
    assert "✓".encode() in request.body
    assert request.headers["Content-Type"] == "application/json"


async def test_connections_are_kept(emulator: Emulator) -> None:
    """Calls one after the other share a connection: there is one session, made at first use."""
    made = 0
    trace = aiohttp.TraceConfig()

    async def count(*_: object) -> None:
        nonlocal made
        made += 1

    trace.on_connection_create_end.append(count)
    async with (
        aiohttp.ClientSession(trace_configs=[trace]) as session,
        client_of(emulator, session=session) as client,
    ):
        for _ in range(5):
            await client.list_projects()
    assert made == 1


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("is_ours", [True, False], ids=["own-session", "passed-in"])
async def test_no_more_requests_than_allowed_are_under_way(
    emulator: Emulator, most: int, *, is_ours: bool
) -> None:
    """max_connections bounds what is under way at once, also in a session that allows more."""
    emulator.fail("*", Fault.delay(1.0))
    async with (
        aiohttp.ClientSession() as session,
        client_of(emulator, max_connections=most, session=None if is_ours else session) as client,
    ):
        await asyncio.gather(*(client.list_projects() for _ in range(6)))
    times = [request.at for request in emulator.requests]
    assert now() == pytest.approx(6 / most)
    assert sorted(times) == pytest.approx([place // most for place in range(6)])


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, "\ud800"])
async def test_a_body_that_is_no_json_is_refused(emulator: Emulator, value: Any) -> None:
    """What JSON or UTF-8 can't hold is a ConfigError, and nothing is sent."""
    async with client_of(emulator) as client:
        with pytest.raises(ConfigError):
            await client.request("POST", "/projects", body={"x": value})
    assert emulator.count() == 0


# Faults on the way


@pytest.mark.parametrize(
    ("fault", "kind", "sent"),
    [
        (Fault.reset(), OutcomeUnknownError, 4),
        (Fault.lost(), OutcomeUnknownError, 4),
        (Fault.truncated(), OutcomeUnknownError, 4),
        (Fault.hang(), OutcomeUnknownError, 4),
        (Fault.garbage(), MalformedResponseError, 1),
        (Fault.status(500), ServerError, 4),
        (Fault.status(502, body=b"<html>Bad Gateway</html>"), ServerError, 4),
        (Fault.status(503), ServerError, 4),
        (Fault.status(503, retry_after=2), ServerError, 4),
        (Fault.status(429), RateLimitedError, 4),
        (Fault.status(429, retry_after=2), RateLimitedError, 4),
        (Fault.status(400), ResponseError, 1),
        (Fault.status(401), UnauthorizedError, 1),
        (Fault.status(403), ForbiddenError, 1),
        (Fault.status(404), NotFoundError, 1),
        (Fault.status(409), ResponseError, 1),
        (Fault.body(b"<html>Sign in</html>", content_type="text/html"), MalformedResponseError, 1),
        (Fault.body(b""), MalformedResponseError, 1),
        (Fault.body(b'{"id": 1'), MalformedResponseError, 1),
    ],
    ids=[
        "reset",
        "lost",
        "truncated",
        "hang",
        "garbage",
        "500",
        "502-html",
        "503",
        "503-retry-after",
        "429",
        "429-retry-after",
        "400",
        "401",
        "403",
        "404",
        "409",
        "200-html",
        "200-empty",
        "200-cut",
    ],
)
async def test_a_read_meets_a_fault(
    emulator: Emulator, fault: Fault, kind: type[VibeError], sent: int
) -> None:
    """Each fault is its own error, and a read is sent as often as the policy says, no more.

    Where a connection is reset aiohttp sends a read once more by itself, each time.
    """
    emulator.fail(READ, fault)
    async with client_of(emulator) as client:
        with pytest.raises(kind) as caught:
            await client.project().get_feature("Checkout")
    assert isinstance(caught.value, kind)
    assert emulator.count(READ) in ({sent, 2 * sent} if fault.kind in {"reset", "lost"} else {sent})
    if isinstance(caught.value, TransportError):
        assert caught.value.attempts == sent


@pytest.mark.parametrize(
    "fault",
    [
        Fault.reset(),
        Fault.lost(),
        Fault.truncated(),
        Fault.hang(),
        Fault.status(500),
        Fault.status(503, retry_after=1),
        Fault.status(429),
    ],
    ids=["reset", "lost", "truncated", "hang", "500", "503", "429"],
)
async def test_a_read_survives_a_fault_that_passes(emulator: Emulator, fault: Fault) -> None:
    """A read that fails on the way three times is answered the fourth."""
    emulator.fail(READ, fault, times=3)
    async with client_of(emulator) as client:
        assert (await client.project().get_feature("Checkout")).name == "Checkout"


@once_only
@pytest.mark.parametrize("fault", ["reset", "lost", "truncated", "hang"])
@pytest.mark.parametrize("is_kept", [False, True], ids=["fresh", "kept-alive"])
async def test_what_may_have_happened_is_not_sent_again(
    emulator: Emulator, operation: str, fault: str, *, is_kept: bool
) -> None:
    """A change or a dispatch whose answer was lost arrives once, on a connection of either kind."""
    emulator.fail(operation, getattr(Fault, fault)())
    async with client_of(emulator) as client:
        if is_kept:
            await client.list_projects()
        if operation == "cancel_generation":
            await client.project().generate_feature("Checkout")
        with suppress(OutcomeUnknownError):
            await ONCE_ONLY[operation](client.project())
    assert emulator.count(operation) == 1


@once_only
@pytest.mark.parametrize(
    "fault",
    [Fault.status(500), Fault.status(503, retry_after=1), Fault.status(429), Fault.garbage()],
    ids=["500", "503", "429", "garbage"],
)
async def test_what_may_have_happened_is_not_sent_again_after_an_answer(
    emulator: Emulator, operation: str, fault: Fault
) -> None:
    """A change or a dispatch that was answered with a 5xx, garbage or a bare 429 arrives once."""
    emulator.fail(operation, fault)
    async with client_of(emulator) as client:
        with pytest.raises(VibeError):
            await ONCE_ONLY[operation](client.project())
    assert emulator.count(operation) == 1


@once_only
async def test_what_was_refused_for_now_is_sent_again(emulator: Emulator, operation: str) -> None:
    """A 429 with Retry-After proves that nothing was done: it is sent again, after that time."""
    emulator.fail(operation, Fault.status(429, retry_after=7), times=2)
    async with client_of(emulator) as client:
        if operation == "cancel_generation":
            await client.project().generate_feature("Checkout")
        await ONCE_ONLY[operation](client.project())
    times = [request.at for request in emulator.requests if request.operation == operation]
    assert [time - times[0] for time in times] == pytest.approx([0, 7, 14])


@once_only
async def test_what_was_not_sent_is_sent_again(
    emulator: Emulator, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection proves that nothing arrived: a change or a dispatch is tried again."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect
    refused = 0

    async def sock_connect(*where: Any) -> None:
        nonlocal refused
        if refused < 2:
            refused += 1
            raise ConnectionRefusedError(111, "Connection refused")
        await connect(*where)

    async with client_of(emulator) as client:
        if operation == "cancel_generation":
            async with client_of(emulator) as other:
                await other.project().generate_feature("Checkout")
        if operation == "generate_feature":
            refused = -1  # the look before it is one request more, and tries once
        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        await ONCE_ONLY[operation](client.project())
    assert refused == 2
    assert emulator.count(operation) == 1


async def test_a_refused_connection_was_not_sent(emulator: Emulator) -> None:
    """Where nobody listens, the error says so, after all attempts."""
    url, key = emulator.url, emulator.api_key
    await emulator.aclose()
    async with Client(url, api_key=key) as client:
        with pytest.raises(NotSentError, match="could not connect: Connection refused") as caught:
            await client.list_projects()
    assert caught.value.attempts == 4
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)


@pytest.mark.parametrize("timeout", [1.0, 5.0, 8.0, 10.0, 30.0, 300.0])
async def test_a_connection_that_is_never_made_was_not_sent(
    emulator: Emulator, timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that does not answer the connection in time never saw the request."""

    async def sock_connect(*_: object) -> None:
        await asyncio.sleep(86_400)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
    async with client_of(emulator, timeout=timeout, retry=ONCE) as client:
        with pytest.raises(NotSentError):
            await client.list_projects()
    assert now() <= min(timeout, 10.0) + 1


@pytest.mark.parametrize("timeout", [0.5, 3.0, 30.0])
async def test_a_request_may_take_so_long(emulator: Emulator, timeout: float) -> None:
    """A request that takes too long has an unknown outcome; one that just does not is read."""
    async with client_of(emulator, timeout=timeout, retry=ONCE) as client:
        rule = emulator.fail("list_projects", Fault.delay(timeout * 0.9))
        assert await client.list_projects()
        rule.remove()
        emulator.fail("list_projects", Fault.hang())
        before = now()
        with pytest.raises(OutcomeUnknownError, match=f"within {timeout:g} s"):
            await client.list_projects()
        assert timeout - 1e-6 <= now() - before <= timeout + 1


@pytest.mark.parametrize(("patience", "seconds"), [(1.0, 1.0), (100.0, 2.0)])
async def test_patience_is_never_longer_than_the_timeout(
    emulator: Emulator, patience: float, seconds: float
) -> None:
    """What one request may take is less than the client's timeout, or that at most."""
    request = evolve(LIST_PROJECTS.request(), patience=patience)
    async with client_of(emulator, timeout=2.0, retry=ONCE) as client:
        emulator.fail("list_projects", Fault.hang())
        with pytest.raises(OutcomeUnknownError, match=f"within {seconds:g} s"):
            await client._transport.call(request)
    assert now() == pytest.approx(seconds, abs=0.1)


# Retries


async def test_reads_are_spread_over_time(emulator: Emulator) -> None:
    """The pauses between attempts are drawn at random, below a bound that doubles."""
    emulator.fail("list_projects", Fault.status(500))
    policy = RetryPolicy(attempts=6, base_delay=0.5, max_delay=2.0)
    drawn: list[list[float]] = []
    async with client_of(emulator, retry=policy) as client:
        for _ in range(8):
            del emulator.requests[:]
            with pytest.raises(ServerError):
                await client.list_projects()
            times = [request.at for request in emulator.requests]
            drawn.append([later - time for time, later in pairwise(times)])
    for delays in drawn:
        assert len(delays) == 5
        bounds = (0.5, 1.0, 2.0, 2.0, 2.0)
        assert all(-1e-9 <= d <= b + 1e-9 for d, b in zip(delays, bounds, strict=True))
    assert len({round(delay, 6) for delays in drawn for delay in delays}) > 30
    assert max(delays[-1] for delays in drawn) > 0.5


async def test_retries_are_told(emulator: Emulator) -> None:
    """Each repetition is an event with its error, its number and its delay."""
    emulator.fail("list_projects", Fault.status(500), times=2)
    seen: list[Event] = []
    async with client_of(emulator, hooks=hooks_into(seen)) as client:
        await client.list_projects()
    retries = [event for event in seen if isinstance(event, RetryScheduled)]
    assert [(event.operation, event.attempt) for event in retries] == [
        ("list_projects", 1),
        ("list_projects", 2),
    ]
    assert all(isinstance(event.error, ServerError) for event in retries)
    assert sum(event.delay for event in retries) == pytest.approx(now())
    finished = [event for event in seen if isinstance(event, RequestFinished)]
    assert [event.status for event in finished] == [500, 500, 200]


async def test_what_is_not_answered_is_told_too(emulator: Emulator) -> None:
    """A request without an answer is an event without a status, with the time that it took."""
    emulator.fail("list_projects", Fault.hang())
    seen: list[Event] = []
    async with client_of(emulator, hooks=hooks_into(seen), timeout=5.0, retry=ONCE) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.list_projects()
    (event,) = [event for event in seen if isinstance(event, RequestFinished)]
    assert (event.operation, event.method, event.status) == ("list_projects", "GET", None)
    assert event.url == f"{emulator.url}/api/v1/ops/projects"
    assert 5 <= event.seconds <= 6


@pytest.mark.parametrize(("status", "operation"), [(429, "list_projects"), (503, "list_projects")])
async def test_a_rest_that_the_service_asks_for_is_everybodys(
    emulator: Emulator, status: int, operation: str
) -> None:
    """After a Retry-After nothing at all is sent for so long, and then all goes on."""
    emulator.fail(operation, Fault.status(status, retry_after=20), times=1)
    seen: list[Event] = []
    async with client_of(emulator, hooks=hooks_into(seen)) as client:
        first = asyncio.create_task(client.list_projects())
        await asyncio.sleep(1)
        others = [client.project().get_feature("Checkout"), client.project().list_configs()]
        await asyncio.gather(first, *others)
    assert [round(request.at) for request in emulator.requests] == [0, 20, 20, 20]
    assert [request.at for request in emulator.requests[1:]] == pytest.approx(
        [20, 20.2, 20.4], abs=0.05
    )
    (pause,) = [event for event in seen if isinstance(event, Paused)]
    assert pause.seconds == 20
    assert isinstance(pause.error, ResponseError)


@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        (Fault.status(500, retry_after=20), False),
        (Fault.status(409, retry_after=20), False),
        (Fault.status(429), False),
        (Fault.status(429, retry_after=20), True),
    ],
    ids=["500", "409", "429", "429-retry-after"],
)
async def test_nobody_rests_without_being_asked(
    emulator: Emulator, fault: Fault, *, waits: bool
) -> None:
    """Only a 429 or 503 that says how long holds up other traffic."""
    emulator.fail("list_projects", fault)
    async with client_of(emulator, retry=ONCE) as client:
        with pytest.raises(ResponseError):
            await client.list_projects()
        await client.project().list_configs()
    assert (now() >= 20) == waits


@pytest.mark.parametrize("asked", [121, 86_400, 999_999_999, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_no_rest_is_longer_than_two_minutes(emulator: Emulator, asked: float | str) -> None:
    """However long a rest the service asks for, after 120 s it is asked again."""
    emulator.fail("list_projects", Fault.status(429, retry_after=asked), times=1)
    async with client_of(emulator) as client:
        await client.list_projects()
    assert [round(request.at) for request in emulator.requests] == [0, 120]


@pytest.mark.parametrize(("method", "sent"), [("GET", 4), ("POST", 1), ("PUT", 1), ("DELETE", 1)])
async def test_of_custom_requests_a_get_alone_is_repeated(
    emulator: Emulator, method: str, sent: int
) -> None:
    """`request` repeats a GET after a 5xx and a lost connection, and no other method."""
    for fault in (Fault.status(500), Fault.lost()):
        rule = emulator.fail("*", fault)
        async with client_of(emulator) as client:
            with pytest.raises((ServerError, OutcomeUnknownError)):
                await client.request(method, "/projects")
        rule.remove()
        seen, emulator.requests[:] = len(emulator.requests), []
        assert seen in ({sent, 2 * sent} if method == "GET" else {sent})


async def test_a_custom_request_returns_json_as_it_is(emulator: Emulator) -> None:
    """`request` sends method, path, query and body, and gives back the decoded document."""
    async with client_of(emulator) as client:
        path = f"/projects/{emulator.project_id}/files/content"
        query = {"path": "Features/Checkout.feature", "no": None}
        document = await client.request("GET", path, query=query)
        assert document["path"] == "Features/Checkout.feature"
        assert document["source"] == "stored"
        body = {"path": "Features/a", "content": "x"}
        assert await client.request("PUT", path, body=body) == {"ok": True}
    assert emulator.requests[0].query == {"path": "Features/Checkout.feature"}


@pytest.mark.parametrize("value", ["a\ud800b", "\udfff"])
async def test_a_query_that_utf_8_can_not_carry_is_refused(emulator: Emulator, value: str) -> None:
    """A query value that can't be sent as it is, is a ConfigError, and nothing is sent."""
    async with client_of(emulator) as client:
        with pytest.raises(ConfigError):
            await client.request("GET", "/projects", query={"x": value})
    assert emulator.count() == 0


async def test_another_route_is_taken_where_the_client_was_told_so(emulator: Emulator) -> None:
    """An operation whose route is overridden goes there, with its answer read as always."""
    routes = {"list_configs": "GET /projects/{project}/files"}
    async with client_of(emulator, endpoints=routes) as client:
        with pytest.raises(MalformedResponseError, match=r"missing or null at \$\[0\]\.name"):
            await client.project().list_configs()
        await client.project().list_files()
    assert [request.operation for request in emulator.requests] == ["list_files"] * 2


# Redirects


def dispatch(client: Client) -> Callable[[], Awaitable[object]]:
    """Return a call that dispatches a run."""
    return lambda: client.project().run_feature("Checkout")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("operation", ["list_projects", "run_feature"])
async def test_a_redirect_is_not_followed(status: int, operation: str) -> None:
    """A redirect is an error: nobody else sees the request, and so not the key."""
    async with (
        peer(http(200, b"[]")) as elsewhere,
        peer(http(status, b"", f"Location: {elsewhere.url}/x?y=1")) as service,
        service.client() as client,
    ):
        call = client.list_projects if operation == "list_projects" else dispatch(client)
        with pytest.raises(ResponseError, match="not followed") as caught:
            await call()
        assert type(caught.value) is ResponseError
        assert caught.value.status == status
        assert elsewhere.url in str(caught.value)
        assert elsewhere.heard == []
        assert len(service.heard) == 1


# Bodies


@pytest.mark.parametrize("size", [1024, 1025, 100_000])
async def test_a_body_is_read_up_to_a_bound(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of the most that an answer may hold is read; one byte more is malformed."""
    monkeypatch.setattr(_http, "MAX_BODY_BYTES", 1024)
    body = b'"' + b"x" * (size - 2) + b'"'
    async with peer(http(200, body)) as service, service.client() as client:
        if size <= 1024:
            assert await client.request("GET", "/x") == "x" * (size - 2)
            return
        with pytest.raises(MalformedResponseError, match="larger than") as caught:
            await client.request("GET", "/x")
    assert caught.value.status == 200
    assert len(service.heard) == 1


async def test_a_small_body_that_becomes_large_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on what a compressed body unfolds to, not on what is sent."""
    monkeypatch.setattr(_http, "MAX_BODY_BYTES", 2**20)
    packed = gzip.compress(bytes(64 * 2**20))
    assert len(packed) < 2**17
    async with (
        peer(http(200, packed, "Content-Encoding: gzip")) as service,
        service.client() as client,
    ):
        with pytest.raises(MalformedResponseError, match="larger than 1 MiB"):
            await client.list_projects()


async def test_a_client_goes_on_after_a_body_that_is_too_large(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection of a cut body is given up, and the next call has another."""
    monkeypatch.setattr(_http, "MAX_BODY_BYTES", 1000)
    emulator.fail("list_projects", Fault.body(b"[" + b" " * 5000 + b"]"), times=1)
    async with client_of(emulator, max_connections=1) as client:
        with pytest.raises(MalformedResponseError):
            await client.list_projects()
        assert await client.list_projects()


async def test_a_compressed_body_is_read(emulator: Emulator) -> None:
    """gzip is asked for, and unpacked."""
    body = gzip.compress(b'[{"id": "g"}]')
    async with (
        peer(http(200, body, "Content-Encoding: gzip")) as service,
        service.client() as client,
    ):
        assert [project.id for project in await client.list_projects()] == ["g"]
        assert b"gzip" in service.heard[0]
    assert emulator.count() == 0


async def test_a_broken_compression_is_a_lost_answer() -> None:
    """A body that can't be unpacked did not come whole."""
    async with (
        peer(http(200, b"no gzip at all", "Content-Encoding: gzip")) as service,
        service.client() as client,
    ):
        with pytest.raises(OutcomeUnknownError):
            await client.list_projects()


# Sessions


async def test_a_session_of_the_caller_is_used_and_left_open(emulator: Emulator) -> None:
    """A session that was passed in carries the calls, and is open and usable afterwards."""
    async with aiohttp.ClientSession(headers={"X-Team": "shop"}) as session:
        async with client_of(emulator, session=session) as client:
            await client.list_projects()
        assert not session.closed
        async with session.get(emulator.url) as response:
            assert response.status == 401
    assert emulator.requests[0].headers["X-Team"] == "shop"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[aiohttp.ClientSession]:
    """The sessions that are made from now on."""
    made: list[aiohttp.ClientSession] = []
    create = aiohttp.ClientSession

    def keep(**options: Any) -> aiohttp.ClientSession:
        made.append(create(**options))
        return made[-1]

    monkeypatch.setattr(aiohttp, "ClientSession", keep)
    return made


async def test_a_session_of_ours_is_closed(
    emulator: Emulator, made: list[aiohttp.ClientSession]
) -> None:
    """The one session that the client makes, at the first call, is closed with it."""
    async with client_of(emulator) as client:
        assert made == []
        await client.list_projects()
        await client.list_projects()
    assert [session.closed for session in made] == [True]


async def test_a_session_of_ours_keeps_no_cookies(
    emulator: Emulator, made: list[aiohttp.ClientSession]
) -> None:
    """A cookie of the service is not sent back."""
    async with client_of(emulator) as client:
        await client.list_projects()
        (session,) = made
        service = URL("https://testvibe.example")
        session.cookie_jar.update_cookies({"a": "b"}, service)
        assert not session.cookie_jar.filter_cookies(service)


async def test_a_closed_session_is_refused(emulator: Emulator) -> None:
    """A passed-in session that is closed is a ConfigError that says so, without retries."""
    session = aiohttp.ClientSession()
    await session.close()
    async with client_of(emulator, session=session) as client:
        with pytest.raises(ConfigError, match="session"):
            await client.list_projects()
    assert emulator.count() == 0
    assert now() == 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, UnauthorizedError), (404, NotFoundError), (429, RateLimitedError), (500, ServerError)],
)
async def test_a_session_that_raises_for_status_changes_nothing(
    emulator: Emulator, status: int, kind: type[ResponseError]
) -> None:
    """A passed-in session with raise_for_status still gives our errors, with all their parts."""
    emulator.fail("list_projects", Fault.status(status, retry_after=3))
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        client_of(emulator, session=session, retry=ONCE) as client,
    ):
        with pytest.raises(ResponseError) as caught:
            await client.list_projects()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.retry_after) == (status, 3.0)
    assert caught.value.code is not None


@pytest.mark.parametrize("operation", ["write_file", "delete_feature", "list_files"])
async def test_a_sessions_own_middlewares_are_kept(emulator: Emulator, operation: str) -> None:
    """What its owner put into a session sees every request, and a write is still sent once."""
    seen: list[str] = []

    async def note(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(request.method)
        return await handler(request)

    async def list_files(project: Project) -> object:
        return await project.list_files()

    call = list_files if operation == "list_files" else ONCE_ONLY[operation]
    async with (
        aiohttp.ClientSession(middlewares=[note]) as session,
        client_of(emulator, session=session, retry=ONCE) as client,
    ):
        await client.list_projects()
        emulator.fail(operation, Fault.reset())
        with pytest.raises(OutcomeUnknownError):
            await call(client.project())
    assert len(seen) == len(emulator.requests)
    assert emulator.count(operation) == (2 if operation == "list_files" else 1)


async def test_a_session_with_its_own_time_out_and_base_changes_nothing(
    emulator: Emulator,
) -> None:
    """A passed-in session's time-out and base URL do not take the place of the client's."""
    emulator.fail("list_projects", Fault.delay(10.0))
    async with (
        aiohttp.ClientSession(
            base_url="http://127.0.0.1:9/x/", timeout=aiohttp.ClientTimeout(total=1.0)
        ) as session,
        client_of(emulator, session=session) as client,
    ):
        assert await client.list_projects()


async def test_a_closed_client_refuses_calls(emulator: Emulator) -> None:
    """A call after the close raises ClientClosedError, and nothing is sent."""
    async with client_of(emulator) as client:
        project = client.project()
    with pytest.raises(ClientClosedError):
        await project.list_files()
    with pytest.raises(ClientClosedError):
        await client.request("GET", "/projects")
    assert emulator.count() == 0


# The key


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


ECHOES: list[Callable[[bytes], bytes]] = [
    lambda heard: http(400, b'{"error": "x", "message": "' + key_in(heard) + b'"}'),
    lambda heard: http(400, b'{"error": "' + key_in(heard) + b'", "message": "m"}'),
    lambda heard: http(500, heard),
    lambda heard: http(200, heard),
    lambda heard: http(200, b'{"id": "' + key_in(heard) + b'", "runId": 1}'),
    lambda heard: http(302, b"", "Location: /login/" + key_in(heard).decode().split()[-1]),
    lambda heard: b"HTTP/1.1 4xx " + key_in(heard) + b"\r\n\r\n",
    lambda heard: key_in(heard) + b"\r\n\r\n",
    lambda heard: b"HTTP/1.1 200 OK\r\n" + key_in(heard).replace(b":", b"") + b"\r\n\r\n",
    lambda heard: b"HTTP/1.1 200 OK\r\nContent-Length: " + key_in(heard) + b"\r\n\r\n",
]


@pytest.mark.parametrize(
    "answer",
    ECHOES,
    ids=[
        "message",
        "code",
        "500-body",
        "200-body",
        "field",
        "location",
        "status-line",
        "no-http",
        "header",
        "length",
    ],
)
async def test_an_echo_of_the_key_reaches_nobody(
    answer: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever a server repeats the key, no error, no cause of it and no log holds it."""
    caplog.set_level(logging.DEBUG)
    async with peer(answer) as service, service.client() as client:
        with pytest.raises(ResponseError) as caught:
            await client.project().get_feature("Checkout")
        assert KEY.encode() in service.heard[0]
    assert KEY not in all_of(caught.value)
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
async def test_an_echo_that_is_cut_off_reaches_nobody_either(
    answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What came before a connection was lost is in no error, whole or in part, nor in its cause."""
    caplog.set_level(logging.DEBUG)

    def echo(heard: bytes) -> bytes:
        return CUT_ECHOES[answer] % key_in(heard).split()[-1]

    async with peer(echo) as service, service.client() as client:
        with pytest.raises(VibeError) as caught:
            await client.project().get_feature("Checkout")
    assert KEY[4:12] not in all_of(caught.value)
    assert KEY[4:12] not in caplog.text
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


async def test_what_is_large_is_read_in_a_thread(
    project: Project, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document of megabytes keeps the event loop from nobody, whoever asked for it."""
    threads: list[bool] = []

    def watch(module: Any, name: str) -> None:
        whole = getattr(module, name)

        def watched(*args: Any) -> Any:
            threads.append(threading.current_thread() is threading.main_thread())
            return whole(*args)

        monkeypatch.setattr(module, name, watched)

    operation = await project.run_feature("Checkout")
    emulator.finish_run(operation.run_id)
    small = {"name": "n", "status": "passed"}
    large = Fault.edit(lambda digest: {**digest, "tests": [small] * 40_000})
    emulator.fail("get_run", large)
    watch(_transport, "decode")
    watch(type(operation._state), "read")
    assert len((await project.get_run(operation.run_id)).tests) == 40_000
    assert len((await operation).tests) == 40_000
    assert threads == [False, True, False]  # the poller has the body deciphered apart


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"])
async def test_a_clock_beyond_all_dates_tells_no_time(date: str) -> None:
    """What a service says of its time may be anything, and fails nobody."""
    async with peer(http(200, b"[]", f"Date: {date}")) as service, service.client() as client:
        await client.list_projects()
        for seconds in (1e9, -1e9):
            client._transport.service_time(asyncio.get_running_loop().time() + seconds)


async def test_an_echo_of_the_key_is_shown_as_one() -> None:
    """Where the key stood, the error shows that one did."""
    body = f'{{"error": "x", "message": "No such key: {KEY}"}}'.encode()
    async with peer(http(401, body)) as service, service.client() as client:
        with pytest.raises(UnauthorizedError) as caught:
            await client.list_projects()
    assert caught.value.message == "No such key: tvb_..."


async def test_no_log_holds_the_key(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """At the finest level of all loggers, the key is in no line, whatever happens."""
    caplog.set_level(logging.DEBUG)
    for fault in (Fault.reset(), Fault.garbage(), Fault.hang(), Fault.status(503, retry_after=1)):
        rule = emulator.fail("list_projects", fault)
        async with client_of(emulator) as client:
            with pytest.raises(VibeError):
                await client.list_projects()
        rule.remove()
    async with client_of(emulator) as client:
        await (await client.project().run_feature("Checkout"))
    assert len(caplog.records) > 20
    for record in caplog.records:
        assert emulator.api_key not in record.getMessage()
        assert emulator.api_key not in repr(record.args)


async def test_no_repr_holds_the_key(emulator: Emulator) -> None:
    """Nothing that a client hands out shows the key."""
    async with client_of(emulator) as client:
        project = client.project()
        operation = await project.run_feature("Checkout")
        shown = [client, project, operation, operation.ref, operation.ref.to_json()]
        shown += [vars(client), vars(project)]
        assert emulator.api_key not in repr(shown)


async def test_the_last_answer_is_not_kept(emulator: Emulator) -> None:
    """A large answer is not held in memory once it was read."""
    body = b"[" + b" " * 100_000 + b"]"
    emulator.fail("list_projects", Fault.body(body))
    async with client_of(emulator) as client:
        assert await client.list_projects() == []
        gc.collect()
        responses = [one for one in gc.get_objects() if isinstance(one, Response)]
        assert [response for response in responses if len(response.body) >= 100_000] == []
