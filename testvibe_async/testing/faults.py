"""A network that fails on demand: a TCP proxy, on the loopback, in front of any HTTP server.

It decides which requests a fault strikes. `faulty_connection` carries it out on the socket, so that
a client meets the real thing: a reset, a silence, half an answer. What a request means is none of
its business; what goes wrong inside the service is the emulator's.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import attrs

from .faulty_connection import FaultyConnection, let_peers_read, read_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType
    from typing import Self

__all__ = ["FaultProxy", "NetworkFault", "NetworkRule"]

_HOST = "127.0.0.1"
_BACKLOG = 1024
_PIECE_BYTES = 65_536
_PIECES_A_SECOND = 10
_NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n"


@attrs.frozen(kw_only=True)
class NetworkFault:
    """One thing that goes wrong on the way. Make it with one of the class methods."""

    kind: Literal[
        "reset_on_accept",
        "reset_request",
        "reset_answer",
        "swallow_request",
        "swallow_answer",
        "cut_head",
        "cut_body",
        "garbage",
        "slow",
    ]
    content: bytes = b""
    """What is sent in place of an answer."""
    piece_bytes: int = _PIECE_BYTES
    """How much of an answer is sent at a time."""
    pause: float = 0.0
    """Seconds after each piece."""

    @classmethod
    def reset_on_accept(cls) -> NetworkFault:
        """Reset a connection as soon as it is made. It strikes connections, not requests."""
        return cls(kind="reset_on_accept")

    @classmethod
    def reset_request(cls) -> NetworkFault:
        """Read the request, then reset the connection: the server never sees it."""
        return cls(kind="reset_request")

    @classmethod
    def reset_answer(cls) -> NetworkFault:
        """Let the server act and answer, then reset the connection in place of the answer."""
        return cls(kind="reset_answer")

    @classmethod
    def swallow_request(cls) -> NetworkFault:
        """Read the request and never answer, a black hole: the server never sees it."""
        return cls(kind="swallow_request")

    @classmethod
    def swallow_answer(cls) -> NetworkFault:
        """Let the server act and answer, and never pass the answer on."""
        return cls(kind="swallow_answer")

    @classmethod
    def cut_head(cls) -> NetworkFault:
        """Let the server act, then send half of the answer's head and close."""
        return cls(kind="cut_head")

    @classmethod
    def cut_body(cls) -> NetworkFault:
        """Let the server act, then send the answer's head and half of its body, and close."""
        return cls(kind="cut_body")

    @classmethod
    def garbage(cls, content: bytes = _NOT_HTTP) -> NetworkFault:
        """Send bytes that are not HTTP and close: the server never sees the request."""
        return cls(kind="garbage", content=content)

    @classmethod
    def slow(cls, bytes_per_second: float) -> NetworkFault:
        """Pass the answer on at this pace, above 0, by the event loop's clock."""
        if not 0 < bytes_per_second < float("inf"):
            raise ValueError(f"A pace needs to be above 0 bytes a second, got {bytes_per_second}.")
        piece_bytes = max(1, round(bytes_per_second / _PIECES_A_SECOND))
        return cls(kind="slow", piece_bytes=piece_bytes, pause=piece_bytes / bytes_per_second)

    @classmethod
    def byte_by_byte(cls) -> NetworkFault:
        """Pass the answer on whole, but each byte in a packet of its own."""
        return cls(kind="slow", piece_bytes=1)


@attrs.define(eq=False, kw_only=True)
class NetworkRule:
    """When a fault strikes; `FaultProxy.fail` makes it, and tells what the fields mean."""

    fault: NetworkFault
    times: int | None
    skip: int
    when: Callable[[str, str], bool] | None
    hits: int = 0
    """How many requests, or connections, it has struck."""
    removed: bool = False

    def remove(self) -> None:
        """Let it strike no more; twice is fine. What it holds up already stays so."""
        self.removed = True

    def strikes(self, request: tuple[str, str] | None) -> bool:
        """Say whether it strikes a request, or a new connection if None, and count that."""
        if self.removed or self.hits == self.times:
            return False
        if (request is None) != (self.fault.kind == "reset_on_accept"):
            return False
        if request is not None and self.when is not None and not self.when(*request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        return True


class FaultProxy:
    """A TCP proxy that passes HTTP/1.1 on unchanged, but for what it was told to do to it.

    ```python
    async with FaultProxy(emulator.url) as proxy:
        proxy.fail(NetworkFault.reset_answer(), when=lambda method, _: method == "POST", times=1)
        ...  # a client of proxy.url
    ```

    It works on a `VirtualTimeLoop`, and on every other loop that has `add_reader`. It knows neither
    TLS, nor pipelining, nor `Expect: 100-continue`.
    """

    def __init__(self, upstream_url: str) -> None:
        """Make a proxy; `async with` makes it listen.

        Args:
            upstream_url: The server's scheme and host, such as an emulator's `url`.

        Raises:
            ValueError: It is not the URL of a server without TLS.
        """
        parts = urlsplit(upstream_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"The server needs a URL that begins with http://, not {upstream_url}")
        self._upstream = parts.hostname, parts.port or 80
        self._rules: list[NetworkRule] = []
        self._connections: set[FaultyConnection] = set()
        self._listener: socket.socket | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Scheme, host and port to use in place of the server's; empty before the start."""
        return f"http://{_HOST}:{self._port}" if self._port else ""

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._listen()

    def _listen(self) -> None:
        """Listen, on the same port as before if there was one.

        `asyncio.Server` would leave a connection open that it accepts just as it closes.
        """
        self._listener = socket.create_server((_HOST, self._port), backlog=_BACKLOG)
        self._listener.settimeout(0)
        self._port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):  # who knocked may have left
            connection = FaultyConnection(listener.accept()[0])
            self._connections.add(connection)
            connection.start(self._serve, self._connections.discard)

    async def aclose(self) -> None:
        """Stop listening, and reset all connections, also those that hang; twice is fine."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self.drop_connections()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    def fail(
        self,
        fault: NetworkFault,
        *,
        when: Callable[[str, str], bool] | None = None,
        times: int | None = None,
        skip: int = 0,
    ) -> NetworkRule:
        """Let requests fail from now on, also those on connections that are kept alive.

        Args:
            fault: What happens to them. Of several rules the one that was made first strikes alone.
            when: Takes the method and the target (path and query, as sent); only requests for which
                it is true are struck. None: all.
            times: How many requests it strikes. None: all.
            skip: How many fitting requests pass before it strikes.

        Returns:
            The rule, which counts its `hits` and can be removed.

        Raises:
            ValueError: `when` is given for connections, which have no request yet.
        """
        if when is not None and fault.kind == "reset_on_accept":
            raise ValueError("reset_on_accept strikes before there is a request: leave out when.")
        rule = NetworkRule(fault=fault, times=times, skip=skip, when=when)
        self._rules.append(rule)
        return rule

    @asynccontextmanager
    async def refusing(self) -> AsyncGenerator[None]:
        """Be down meanwhile: connections are refused, and those that there were are reset.

        It is no rule: what the operating system refuses, nobody can count or choose.
        """
        await self.aclose()
        try:
            yield
        finally:
            self._listen()

    async def drop_connections(self) -> None:
        """Reset all connections, so that what clients keep alive is lost. New ones are welcome."""
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        tasks = [connection.task for connection in connections]
        await asyncio.gather(*tasks, return_exceptions=True)
        await let_peers_read()

    def _strike(self, request: tuple[str, str] | None) -> NetworkFault | None:
        return next((rule.fault for rule in self._rules if rule.strikes(request)), None)

    async def _serve(self, client: FaultyConnection) -> None:
        """Pass requests on, but for those that a fault keeps from the server."""
        if self._strike(None) is not None:
            raise ConnectionResetError
        reader, server = await asyncio.open_connection(*self._upstream)
        answers = asyncio.create_task(client.pass_on(reader), name="FaultProxy answers")
        try:
            while True:
                request = await read_request(client.reader)
                method, target = request.decode("latin-1").split(" ", 2)[:2]
                if client.must_ask(self._strike((method, target))):
                    server.write(request)
                    await server.drain()
        finally:
            server.transport.abort()
            answers.cancel()
            await asyncio.wait([answers])
