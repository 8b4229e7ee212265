"""The fault proxy: its effects on the client and on the server, and its clean-up."""

import asyncio
import errno
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import pytest

from tests.support.amounts import amount
from tests.surfaces.testing.conftest import Caller, Emulate
from testvibe_async.testing import Fault, FaultProxy, NetworkFault

RESETS = (errno.ECONNRESET, errno.EPIPE)


@asynccontextmanager
async def connected(
    proxy: FaultProxy, content: bytes = b""
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Make a bare connection, and send something; it is closed in the end."""
    port = int(proxy.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(content)
        yield reader, writer
    finally:
        writer.close()


@asynccontextmanager
async def proxy_of(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncGenerator[FaultProxy]:
    """Make a proxy of a server of the test's own."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, FaultProxy(f"http://127.0.0.1:{port}") as proxy:
        yield proxy


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def direct(emulate: Emulate) -> Caller:
    """Return a client of an emulator."""
    return await emulate()


@pytest.fixture
async def proxy(direct: Caller) -> AsyncGenerator[FaultProxy]:
    """Return a proxy of this emulator."""
    async with FaultProxy(direct.emulator.url) as proxy:
        yield proxy


@pytest.fixture
def call(direct: Caller, proxy: FaultProxy) -> Caller:
    """Return a client of the proxy."""
    return attrs.evolve(direct, url=proxy.url)


_MUCH = 65_536
GET = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"


class TestPassing:
    async def test_requests_without_a_fault_pass_unchanged(
        self, call: Caller, proxy: FaultProxy, direct: Caller
    ) -> None:
        """The answer is the server's, to the byte, and the connection is kept alive."""
        expected = (await direct("GET", "/features/Checkout")).body
        for _ in range(3):
            assert (await call("GET", "/features/Checkout")).body == expected
        assert await call.run()
        assert len(proxy._connections) == 1

    @pytest.mark.parametrize(
        "body",
        [
            b"Content-Length: 2\r\n\r\n{}",
            b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n",
            b"transfer-encoding: gzip, Chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        ],
    )
    async def test_the_end_of_a_request_is_known(self, body: bytes) -> None:
        """A body of a known length, or in chunks, is passed whole, and the next request follows."""
        seen: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(2):
                seen.append(await reader.readexactly(len(message)))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            writer.close()

        message = b"POST / HTTP/1.1\r\n" + body
        async with proxy_of(serve) as proxy, connected(proxy) as (reader, writer):
            for _ in range(2):
                writer.write(message)
                await reader.readuntil(b"\r\n\r\n")
            assert await reader.read() == b""
        assert seen == [message, message]

    async def test_a_large_body_passes(self, call: Caller) -> None:
        """Content that is larger than a packet arrives whole, in both directions."""
        content = "x" * 200_000
        written = await call(
            "PUT",
            "/files/content",
            {"path": "Features/large.feature", "content": content},
        )
        assert written.status == 200
        read = await call("GET", "/files/content?path=Features/large.feature")
        assert read.document["content"] == content

    @pytest.mark.parametrize(
        "content", [b"nonsense\r\n\r\n", b"x" * 200_000, b"Transfer-Encoding: chunked\r\n\r\n?\r\n"]
    )
    async def test_what_is_no_request_is_reset(
        self, call: Caller, proxy: FaultProxy, content: bytes
    ) -> None:
        """A client that does not speak HTTP is reset, and others are served."""
        async with connected(proxy, content) as (reader, _):
            with pytest.raises(ConnectionError):
                await reader.read()
        assert (await call("GET", "")).status == 200

    async def test_a_client_that_stops_in_the_middle_is_forgotten(
        self, call: Caller, proxy: FaultProxy
    ) -> None:
        """Half a request is not passed to the server."""
        async with connected(proxy, GET[:20]) as (reader, writer):
            writer.write_eof()
            assert await reader.read() == b""
        await asyncio.sleep(1)
        assert not proxy._connections
        assert not call.emulator.requests

    @pytest.mark.parametrize("runner", [asyncio.run, None], ids=["real time", "virtual time"])
    async def test_a_server_that_is_down_resets(self, runner: Any) -> None:
        """If the server can't be reached, the client gets a RST, on every event loop."""

        async def main() -> None:
            async with (
                FaultProxy("http://127.0.0.1:9") as proxy,
                connected(proxy) as (reader, _),
            ):
                with pytest.raises(ConnectionResetError):
                    await reader.read()

        await (asyncio.to_thread(runner, main()) if runner else main())

    async def test_a_server_that_closes_closes(self, call: Caller, proxy: FaultProxy) -> None:
        """A connection that the server closes is closed on the client's side too."""
        async with connected(proxy, GET) as (reader, _):
            await reader.readuntil(b"}")
            await call.emulator.aclose()
            assert await reader.read() == b""

    async def test_a_server_that_resets_resets(self, call: Caller, proxy: FaultProxy) -> None:
        """A RST from the server is passed on as a RST."""
        call.emulator.fail("*", Fault.reset())
        async with connected(proxy, GET) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read()

    @pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:1", "http://"])
    def test_it_needs_a_server_without_tls(self, url: str) -> None:
        """Any other than an http:// URL is an error at once."""
        with pytest.raises(ValueError, match="http://"):
            FaultProxy(url)

    async def test_one_that_was_never_started_can_be_closed(self) -> None:
        """Closing a proxy that never started does nothing."""
        proxy = FaultProxy("http://127.0.0.1:9")
        await proxy.aclose()
        assert not proxy.url


class TestFaults:
    async def test_refusing(self, call: Caller, proxy: FaultProxy) -> None:
        """New connections are refused, idle ones are reset, and the address stays the same."""
        await call("GET", "")
        url = proxy.url
        async with proxy.refusing():
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await call.run()
        assert caught.value.errno == errno.ECONNREFUSED
        assert (proxy.url, len(call.emulator.runs)) == (url, 0)
        assert await call.run()

    async def test_reset_on_accept(self, call: Caller, proxy: FaultProxy) -> None:
        """A new connection is reset before anything is read; an idle one is usable until then."""
        await call("GET", "")
        rule = proxy.fail(NetworkFault.reset_on_accept(), times=2)
        assert (await call("GET", "")).status == 200
        assert rule.hits == 0
        await proxy.drop_connections()
        with pytest.raises(aiohttp.ClientError):
            await call.run()
        async with connected(proxy) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert (rule.hits, len(call.emulator.runs)) == (2, 0)
        assert await call.run()

    async def test_connections_have_no_requests(self, proxy: FaultProxy) -> None:
        """A condition on requests is an error for new connections."""
        with pytest.raises(ValueError, match="leave out when"):
            proxy.fail(NetworkFault.reset_on_accept(), when=lambda method, _: method == "GET")

    @pytest.mark.parametrize(
        ("fault", "error", "runs"),
        [
            (NetworkFault.reset_request(), aiohttp.ClientOSError, 0),
            (NetworkFault.reset_answer(), aiohttp.ClientOSError, 1),
            (NetworkFault.swallow_request(), TimeoutError, 0),
            (NetworkFault.swallow_answer(), TimeoutError, 1),
            (NetworkFault.garbage(), aiohttp.ClientResponseError, 0),
            (NetworkFault.cut_head(), aiohttp.ServerDisconnectedError, 1),
            (NetworkFault.cut_body(), aiohttp.ClientPayloadError, 1),
        ],
        ids=lambda value: getattr(value, "kind", None),
    )
    async def test_a_fault_comes_before_or_after_the_server_acted(
        self,
        call: Caller,
        proxy: FaultProxy,
        fault: NetworkFault,
        error: type[Exception],
        runs: int,
    ) -> None:
        """The client gets a RST, nothing for hours, no HTTP, or a part; others are served."""
        proxy.fail(fault, times=1)
        with pytest.raises(error) as caught:
            async with asyncio.timeout(10_000):
                await call.run()
        if error is aiohttp.ClientOSError:
            assert getattr(caught.value, "errno", None) in RESETS
        assert len(call.emulator.runs) == runs
        assert (await call("GET", "")).status == 200

    async def test_a_client_that_leaves_a_held_request_is_forgotten(
        self, proxy: FaultProxy
    ) -> None:
        """A held connection ends when the client closes it."""
        proxy.fail(NetworkFault.swallow_request())
        async with connected(proxy, GET):
            await asyncio.sleep(1)
            assert len(proxy._connections) == 1
        await asyncio.sleep(1)
        assert not proxy._connections

    async def test_a_head_that_is_cut(self, proxy: FaultProxy) -> None:
        """The answer ends within its head."""
        proxy.fail(NetworkFault.cut_head())
        async with connected(proxy, GET) as (reader, _):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"\r\n\r\n" not in answer

    async def test_a_body_that_comes_after_its_head_is_cut_too(self) -> None:
        """A body is cut even if it comes in a packet of its own."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for piece in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 4\r\n\r\n", b"body"):
                writer.write(piece)
                await asyncio.sleep(1)
            writer.close()

        async with proxy_of(serve) as proxy:
            proxy.fail(NetworkFault.cut_body())
            async with connected(proxy, GET) as (reader, _):
                assert await reader.read() == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo"
            await asyncio.sleep(2)

    @pytest.mark.parametrize("pace", [7, 100, 0.5])
    async def test_slow(self, proxy: FaultProxy, pace: float) -> None:
        """Each answer is complete, and sent at the given rate."""
        proxy.fail(NetworkFault.slow(pace))
        async with connected(proxy) as (reader, writer):
            for _ in range(2):
                started_at = now()
                writer.write(GET)
                size = len(await reader.readuntil(b"}"))
                assert now() - started_at == pytest.approx(size / pace, rel=0.1)

    @pytest.mark.parametrize("pace", [0, -1, float("inf"), float("nan")])
    def test_a_pace_is_a_number_above_zero(self, pace: float) -> None:
        """A rate that is not a number above 0 is an error."""
        with pytest.raises(ValueError, match="pace"):
            NetworkFault.slow(pace)

    async def test_byte_by_byte(self, proxy: FaultProxy) -> None:
        """Each byte comes in a packet of its own, in each answer, and no time passes."""
        proxy.fail(NetworkFault.byte_by_byte(), skip=1)
        pieces: list[bytes] = []
        async with connected(proxy, GET) as (reader, writer):
            assert (await reader.read(_MUCH)).endswith(b"}")
            writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            while piece := await reader.read(_MUCH):
                pieces.append(piece)
        assert len(pieces) > 100
        assert {len(piece) for piece in pieces} == {1}
        assert now() == 0


class TestRules:
    async def test_a_rule_is_for_some_requests(self, call: Caller, proxy: FaultProxy) -> None:
        """`when` gets method and target, also of later requests on one connection."""
        seen: list[tuple[str, str]] = []

        def is_run(method: str, target: str) -> bool:
            seen.append((method, target))
            return method == "POST" and target.endswith("/run")

        proxy.fail(NetworkFault.reset_request(), when=is_run)
        assert (await call("GET", "/runs?limit=1")).status == 200
        with pytest.raises(aiohttp.ClientOSError):
            await call.run()
        path = f"/api/v1/ops/projects/{call.emulator.project_id}"
        assert seen == [("GET", f"{path}/runs?limit=1"), ("POST", f"{path}/features/Checkout/run")]

    async def test_only_the_first_rule_applies(self, call: Caller, proxy: FaultProxy) -> None:
        """Of two matching rules, only the first that was made applies, and counts."""
        first = proxy.fail(NetworkFault.byte_by_byte())
        second = proxy.fail(NetworkFault.garbage())
        assert (await call("GET", "")).status == 200
        assert (first.hits, second.hits) == (1, 0)
        first.remove()
        with pytest.raises(aiohttp.ClientResponseError):
            await call("GET", "")


class TestClosing:
    async def test_closing_leaves_nothing(self, call: Caller, proxy: FaultProxy) -> None:
        """Held connections are reset, no task is left, and a second close does nothing."""
        before = asyncio.all_tasks()
        for fault in (NetworkFault.swallow_request(), NetworkFault.swallow_answer()):
            proxy.fail(fault, times=1)
        waiting = [asyncio.ensure_future(call.run()) for _ in range(2)]
        await asyncio.sleep(1)
        await proxy.aclose()
        await proxy.aclose()
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, aiohttp.ClientOSError)
        assert asyncio.all_tasks() - before == set()
        with pytest.raises(aiohttp.ClientConnectorError):
            await call("GET", "")

    @pytest.mark.parametrize("rounds", range(amount(16, few=4)))
    async def test_closing_at_any_moment(self, emulate: Emulate, rounds: int) -> None:
        """Closing ends a connection in any state, and leaves nothing."""
        emulator = (await emulate()).emulator

        async def ask(proxy: FaultProxy) -> bytes:
            async with connected(proxy, GET) as (reader, _):
                return await reader.readline()

        async with FaultProxy(emulator.url) as proxy:
            asking = asyncio.ensure_future(ask(proxy))
            for _ in range(rounds):
                await asyncio.sleep(0)
        async with asyncio.timeout(1):
            (answer,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(answer, ConnectionError) or answer == b"HTTP/1.1 401 Unauthorized\r\n"
        assert not proxy._connections
        del answer
        gc.collect()
