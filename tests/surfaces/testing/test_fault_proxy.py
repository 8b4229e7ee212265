"""The fault proxy: its effects on the client and on the server, and its clean-up."""

from __future__ import annotations

import asyncio
import errno
import gc
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest

from tests.support.amounts import amount
from testvibe_async.testing import Fault, FaultProxy, NetworkFault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from .conftest import Caller, Reply

RESETS = (errno.ECONNRESET, errno.EPIPE)


@attrs.frozen
class Proxied:
    """An emulator behind a proxy."""

    direct: Caller
    proxy: FaultProxy

    async def __call__(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Call through the proxy, with the key, as `Caller` does."""
        emulator = self.direct.emulator
        return await self.direct.send(
            method,
            f"{self.proxy.url}/api/v1/ops/projects/{emulator.project_id}{path}",
            body=body,
            headers={"Authorization": f"Bearer {emulator.api_key}"},
        )

    async def run(self) -> Reply:
        """Dispatch a run."""
        return await self("POST", "/features/Checkout/run", b"{}")

    @property
    def runs(self) -> int:
        """The number of dispatched runs."""
        return len(self.direct.emulator.runs)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Make a bare connection to the proxy."""
        return await connect_to(self.proxy.url)


async def connect_to(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


class Packets(asyncio.Protocol):
    """A protocol that records each received packet."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.packets.append(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.ended.set()


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def call(emulate: Callable[..., Awaitable[Caller]]) -> AsyncGenerator[Proxied]:
    """Return a client of an emulator behind a proxy."""
    direct = await emulate()
    async with FaultProxy(direct.emulator.url) as proxy:
        yield Proxied(direct, proxy)


GET = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"


class TestPassing:
    async def test_requests_without_a_fault_pass_unchanged(self, call: Proxied) -> None:
        """The answer is the server's, to the byte, and the connection is kept alive."""
        direct = await call.direct("GET", "/features/Checkout")
        for _ in range(3):
            assert (await call("GET", "/features/Checkout")).body == direct.body
        assert (await call.run()).status == 202
        assert len(call.proxy._connections) == 1

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
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, FaultProxy(f"http://127.0.0.1:{port}") as proxy:
            reader, writer = await connect_to(proxy.url)
            for _ in range(2):
                writer.write(message)
                await reader.readuntil(b"\r\n\r\n")
            assert await reader.read() == b""
            writer.close()
        assert seen == [message, message]

    async def test_a_large_body_passes(self, call: Proxied) -> None:
        """Content that is larger than a packet arrives whole, in both directions."""
        content = "x" * 200_000
        written = await call(
            "PUT",
            "/files/content",
            f'{{"path": "Features/large.feature", "content": "{content}"}}'.encode(),
        )
        assert written.status == 200
        read = await call("GET", "/files/content?path=Features/large.feature")
        assert read.document["content"] == content

    @pytest.mark.parametrize(
        "content", [b"nonsense\r\n\r\n", b"x" * 200_000, b"Transfer-Encoding: chunked\r\n\r\n?\r\n"]
    )
    async def test_what_is_no_request_is_reset(self, call: Proxied, content: bytes) -> None:
        """A client that does not speak HTTP is reset, and others are served."""
        reader, writer = await call.connect()
        writer.write(content)
        with pytest.raises(ConnectionError):
            await reader.read()
        writer.close()
        assert (await call("GET", "")).status == 200

    async def test_a_client_that_stops_in_the_middle_is_forgotten(self, call: Proxied) -> None:
        """Half a request is not passed to the server."""
        reader, writer = await call.connect()
        writer.write(GET[:20])
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await asyncio.sleep(1)
        assert not call.proxy._connections
        assert not call.direct.emulator.requests

    async def test_a_server_that_is_down_resets(self) -> None:
        """If the server can't be reached, the client gets a RST."""
        async with FaultProxy("http://127.0.0.1:9") as proxy:
            reader, writer = await connect_to(proxy.url)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    async def test_a_server_that_closes_closes(self, call: Proxied) -> None:
        """A connection that the server closes is closed on the client's side too."""
        reader, writer = await call.connect()
        writer.write(GET)
        await reader.readuntil(b"}")
        await call.direct.emulator.aclose()
        assert await reader.read() == b""
        writer.close()

    async def test_a_server_that_resets_resets(self, call: Proxied) -> None:
        """A RST from the server is passed on as a RST."""
        call.direct.emulator.fail("*", Fault.reset())
        reader, writer = await call.connect()
        writer.write(GET)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    @pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:1", "http://"])
    def test_it_needs_a_server_without_tls(self, url: str) -> None:
        """Any other than an http:// URL is an error at once."""
        with pytest.raises(ValueError, match="http://"):
            FaultProxy(url)


class TestFaults:
    async def test_refusing(self, call: Proxied) -> None:
        """New connections are refused, idle ones are reset, and the address stays the same."""
        await call("GET", "")
        url = call.proxy.url
        async with call.proxy.refusing():
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await call.run()
        assert caught.value.errno == errno.ECONNREFUSED
        assert (call.proxy.url, call.runs) == (url, 0)
        assert (await call.run()).status == 202

    async def test_reset_on_accept(self, call: Proxied) -> None:
        """A new connection is reset before anything is read from it."""
        rule = call.proxy.fail(NetworkFault.reset_on_accept(), times=1)
        reader, writer = await call.connect()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert rule.hits == 1
        assert (await call.run()).status == 202

    async def test_reset_on_accept_applies_only_to_connections(self, call: Proxied) -> None:
        """An idle connection is usable until it is dropped."""
        await call("GET", "")
        rule = call.proxy.fail(NetworkFault.reset_on_accept())
        assert (await call("GET", "")).status == 200
        assert rule.hits == 0
        await call.proxy.drop_connections()
        with pytest.raises(aiohttp.ClientError):
            await call.run()
        assert rule.hits == 1

    async def test_connections_have_no_requests(self, call: Proxied) -> None:
        """A condition on requests is an error for new connections."""
        with pytest.raises(ValueError, match="leave out when"):
            call.proxy.fail(NetworkFault.reset_on_accept(), when=lambda method, _: method == "GET")

    @pytest.mark.parametrize(
        ("fault", "runs"), [(NetworkFault.reset_request(), 0), (NetworkFault.reset_answer(), 1)]
    )
    async def test_a_reset_comes_before_or_after_the_server_acted(
        self, call: Proxied, fault: NetworkFault, runs: int
    ) -> None:
        """The client gets a RST, before or after the server acted."""
        call.proxy.fail(fault)
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await call.run()
        assert caught.value.errno in RESETS
        assert call.runs == runs

    @pytest.mark.parametrize(
        ("fault", "runs"),
        [(NetworkFault.swallow_request(), 0), (NetworkFault.swallow_answer(), 1)],
    )
    async def test_a_swallowed_request_or_answer_is_never_answered(
        self, call: Proxied, fault: NetworkFault, runs: int
    ) -> None:
        """No answer comes for hours, before or after the server acted; others are served."""
        call.proxy.fail(fault, times=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10_000):
                await call.run()
        assert call.runs == runs
        assert (await call("GET", "")).status == 200

    async def test_a_client_that_leaves_a_held_request_is_forgotten(self, call: Proxied) -> None:
        """A held connection ends when the client closes it."""
        call.proxy.fail(NetworkFault.swallow_request())
        _, writer = await call.connect()
        writer.write(GET)
        await asyncio.sleep(1)
        assert len(call.proxy._connections) == 1
        writer.close()
        await asyncio.sleep(1)
        assert not call.proxy._connections

    async def test_garbage(self, call: Proxied) -> None:
        """The answer is no HTTP, and the server never sees the request."""
        call.proxy.fail(NetworkFault.garbage(), times=1)
        with pytest.raises(aiohttp.ClientResponseError):
            await call.run()
        call.proxy.fail(NetworkFault.garbage())
        reader, writer = await call.connect()
        writer.write(GET)
        assert await reader.read() == b"220 smtp ready\r\n"
        writer.close()
        assert call.runs == 0

    async def test_a_head_that_is_cut(self, call: Proxied) -> None:
        """The server acts, and the answer ends within its head."""
        call.proxy.fail(NetworkFault.cut_head())
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await call.run()
        assert call.runs == 1
        reader, writer = await call.connect()
        writer.write(GET)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"\r\n\r\n" not in answer

    async def test_a_body_that_is_cut(self, call: Proxied) -> None:
        """The server acts, and the answer ends within its body."""
        call.proxy.fail(NetworkFault.cut_body())
        with pytest.raises(aiohttp.ClientPayloadError):
            await call.run()
        assert call.runs == 1

    async def test_a_body_that_comes_after_its_head_is_cut_too(self) -> None:
        """A body is cut even if it comes in a packet of its own."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for piece in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 4\r\n\r\n", b"body"):
                writer.write(piece)
                await asyncio.sleep(1)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, FaultProxy(f"http://127.0.0.1:{port}") as proxy:
            proxy.fail(NetworkFault.cut_body())
            reader, writer = await connect_to(proxy.url)
            writer.write(GET)
            assert await reader.read() == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo"
            writer.close()
            await asyncio.sleep(2)

    @pytest.mark.parametrize("pace", [7, 100, 0.5])
    async def test_slow(self, call: Proxied, pace: float) -> None:
        """Each answer is complete, and sent at the given rate."""
        call.proxy.fail(NetworkFault.slow(pace))
        reader, writer = await call.connect()
        for _ in range(2):
            started_at = now()
            writer.write(GET)
            size = len(await reader.readuntil(b"}"))
            assert now() - started_at == pytest.approx(size / pace, rel=0.1)
        writer.close()

    @pytest.mark.parametrize("pace", [0, -1, float("inf"), float("nan")])
    def test_a_pace_is_a_number_above_zero(self, pace: float) -> None:
        """A rate that is not a number above 0 is an error."""
        with pytest.raises(ValueError, match="pace"):
            NetworkFault.slow(pace)

    async def test_byte_by_byte(self, call: Proxied) -> None:
        """Each byte comes in a packet of its own, in each answer, and no time passes."""
        call.proxy.fail(NetworkFault.byte_by_byte(), skip=1)
        port = int(call.proxy.url.rpartition(":")[2])
        loop = asyncio.get_running_loop()
        transport, seen = await loop.create_connection(Packets, "127.0.0.1", port)
        transport.write(GET)
        await asyncio.sleep(1)
        whole = seen.packets.copy()
        seen.packets.clear()
        transport.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await seen.ended.wait()
        assert len(whole) == 1
        assert len(seen.packets) > 100
        assert {len(packet) for packet in seen.packets} == {1}
        assert now() == 1


class TestRules:
    async def test_a_rule_skips_applies_and_passes(self, call: Proxied) -> None:
        """`skip` lets the first requests pass, `times` limits the others, `hits` counts."""
        rule = call.proxy.fail(NetworkFault.garbage(), skip=1, times=2)
        seen: list[Any] = []
        for _ in range(5):
            try:
                seen.append((await call("GET", "")).status)
            except aiohttp.ClientResponseError:
                seen.append("garbage")
        assert seen == [200, "garbage", "garbage", 200, 200]
        assert rule.hits == 2

    async def test_a_rule_is_for_some_requests(self, call: Proxied) -> None:
        """`when` gets method and target, also of later requests on one connection."""
        seen: list[tuple[str, str]] = []

        def is_run(method: str, target: str) -> bool:
            seen.append((method, target))
            return method == "POST" and target.endswith("/run")

        call.proxy.fail(NetworkFault.reset_request(), when=is_run)
        assert (await call("GET", "/runs?limit=1")).status == 200
        with pytest.raises(aiohttp.ClientOSError):
            await call.run()
        path = f"/api/v1/ops/projects/{call.direct.emulator.project_id}"
        assert seen == [("GET", f"{path}/runs?limit=1"), ("POST", f"{path}/features/Checkout/run")]

    async def test_only_the_first_rule_applies(self, call: Proxied) -> None:
        """Of two matching rules, only the first that was made applies, and counts."""
        first = call.proxy.fail(NetworkFault.byte_by_byte())
        second = call.proxy.fail(NetworkFault.garbage())
        assert (await call("GET", "")).status == 200
        assert (first.hits, second.hits) == (1, 0)
        first.remove()
        first.remove()
        with pytest.raises(aiohttp.ClientResponseError):
            await call("GET", "")


class TestClosing:
    async def test_closing_leaves_nothing(self, call: Proxied) -> None:
        """Held connections are reset, no task is left, and a second close does nothing."""
        before = asyncio.all_tasks()
        for fault in (NetworkFault.swallow_request(), NetworkFault.swallow_answer()):
            call.proxy.fail(fault, times=1)
        waiting = [asyncio.ensure_future(call.run()) for _ in range(2)]
        await asyncio.sleep(1)
        await call.proxy.aclose()
        await call.proxy.aclose()
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(result, aiohttp.ClientOSError)
        assert asyncio.all_tasks() - before == set()
        with pytest.raises(aiohttp.ClientConnectorError):
            await call("GET", "")

    @pytest.mark.parametrize("rounds", range(amount(16, few=4)))
    async def test_closing_at_any_moment(
        self, emulate: Callable[..., Awaitable[Caller]], rounds: int
    ) -> None:
        """Closing ends a connection in any state, and leaves nothing."""
        emulator = (await emulate()).emulator

        async def ask(url: str) -> bytes:
            reader, writer = await connect_to(url)
            try:
                writer.write(GET)
                return await reader.readline()
            finally:
                writer.close()

        async with FaultProxy(emulator.url) as proxy:
            asking = asyncio.ensure_future(ask(proxy.url))
            for _ in range(rounds):
                await asyncio.sleep(0)
        async with asyncio.timeout(1):
            (answer,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(answer, ConnectionError) or answer == b"HTTP/1.1 401 Unauthorized\r\n"
        assert not proxy._connections
        del answer
        gc.collect()

    async def test_one_that_was_never_started_can_be_closed(self) -> None:
        """Closing a proxy that never started does nothing."""
        proxy = FaultProxy("http://127.0.0.1:9")
        await proxy.aclose()
        assert not proxy.url

    def test_real_time(self) -> None:
        """The proxy also works on an ordinary event loop."""

        async def main() -> bytes:
            async with FaultProxy("http://127.0.0.1:9") as proxy:
                proxy.fail(NetworkFault.garbage(b"soon"))
                reader, writer = await connect_to(proxy.url)
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                writer.close()
                return b"done"

        assert asyncio.run(main()) == b"done"
