"""A network that fails on demand: a TCP proxy, on the loopback, in front of any HTTP server.

Decides which fault applies to a request, and carries it out on the socket, so that a client gets
the real thing: a reset, no answer, half an answer. It never interprets a request; failures inside
the service are the emulator's.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from .emulator import NOT_HTTP, Rule, reset_on_close, stop_accepting

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Callable
    from typing import Self

__all__ = ["FaultProxy", "NetworkFault"]

_HOST = "127.0.0.1"
_BACKLOG = 1024
_PIECE_BYTES = 65_536
_PIECES_A_SECOND = 10
_END_OF_HEAD = b"\r\n\r\n"
_CHUNKED = re.compile(rb"^transfer-encoding:[^\r]*\bchunked\b", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)


@attrs.frozen(kw_only=True)
class NetworkFault:
    """A failure on the network, created by one of the class methods."""

    kind: str
    """The name of the class method; `slow` for `byte_by_byte` too."""
    piece_bytes: int = _PIECE_BYTES
    """The largest piece of an answer that is sent at a time."""
    pause: float = 0.0
    """Seconds after each piece."""

    @classmethod
    def reset_on_accept(cls) -> NetworkFault:
        """Reset a connection as soon as it is made; it applies to connections, not to requests."""
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
        """Read the request and never answer: the server never sees it."""
        return cls(kind="swallow_request")

    @classmethod
    def swallow_answer(cls) -> NetworkFault:
        """Let the server act and answer, but never pass the answer on."""
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
    def garbage(cls) -> NetworkFault:
        """Send bytes that are not HTTP and close: the server never sees the request."""
        return cls(kind="garbage")

    @classmethod
    def slow(cls, bytes_per_second: float) -> NetworkFault:
        """Pass the answer on slowly, by the event loop's clock.

        Args:
            bytes_per_second: The rate, above 0.

        Raises:
            ValueError: The rate is not a number above 0.
        """
        if not 0 < bytes_per_second < float("inf"):
            raise ValueError(f"A pace needs to be above 0 bytes a second, got {bytes_per_second}.")
        piece_bytes = max(1, round(bytes_per_second / _PIECES_A_SECOND))
        return cls(kind="slow", piece_bytes=piece_bytes, pause=piece_bytes / bytes_per_second)

    @classmethod
    def byte_by_byte(cls) -> NetworkFault:
        """Pass the whole answer on, each byte in a packet of its own."""
        return cls(kind="slow", piece_bytes=1)


@attrs.define(eq=False)
class _Client:
    """One client's connection, on which the fault of its latest request is carried out."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fault: NetworkFault | None = None
    is_in_body: bool = False
    """True once the answer's head was sent."""

    async def pass_on(self, answers: asyncio.StreamReader) -> None:
        """Send the server's answers, and end the connection as the server does."""
        try:
            while not self.writer.is_closing() and (piece := await answers.read(_PIECE_BYTES)):
                await self._send(piece)
            self.writer.close()
        except ConnectionError:
            self.reset()

    def reset(self) -> None:
        """End the connection with a RST."""
        reset_on_close(self.writer.get_extra_info("socket"))
        self.writer.transport.abort()

    def end_with(self, content: bytes) -> None:
        """Send the last bytes, and close."""
        self.writer.write(content)
        self.writer.close()

    async def _send(self, piece: bytes) -> None:
        """Send the part of a piece of an answer that the fault lets pass."""
        match self.fault and self.fault.kind:
            case "swallow_answer":
                pass
            case "reset_answer":
                raise ConnectionResetError
            case "cut_head":
                head = piece.partition(_END_OF_HEAD)[0]
                self.end_with(head[: len(head) // 2])
            case "cut_body":
                parts = (b"", b"", piece) if self.is_in_body else piece.partition(_END_OF_HEAD)
                head, end, body = parts
                self.is_in_body = self.is_in_body or bool(end)
                self.writer.write(head + end + body[: len(body) // 2])
                if body:
                    self.writer.close()
            case _:
                await self._send_whole(piece)

    async def _send_whole(self, piece: bytes) -> None:
        step = self.fault.piece_bytes if self.fault else len(piece)
        for start in range(0, len(piece), step):
            self.writer.write(piece[start : start + step])
            await self.writer.drain()
            if self.fault is not None:
                await asyncio.sleep(self.fault.pause)
                await _let_peers_read()


async def _let_peers_read() -> None:
    """Let clients in this loop read what was sent: the loop runs them after this task."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one whole request, head and body."""
    parts = [await reader.readuntil(_END_OF_HEAD)]
    if _CHUNKED.search(parts[0]) is None:
        length = _LENGTH.search(parts[0])
        return parts[0] + await reader.readexactly(int(length[1]) if length else 0)
    size = -1
    while parts[-1] != b"\r\n":
        parts.append(await reader.readuntil(b"\r\n"))
        if size:
            size = int(parts[-1].partition(b";")[0], 16)
            parts.append(await reader.readexactly(size + 2) if size else b"")
    return b"".join(parts)


class FaultProxy:
    """A TCP proxy that forwards HTTP/1.1 unchanged, unless a rule applies.

    For example::

        async with FaultProxy(emulator.url) as proxy:
            proxy.fail(NetworkFault.reset_answer(), when=lambda method, _: method == "POST")
            ...  # a client of proxy.url

    It works on every event loop, also on a `VirtualTimeLoop`. It supports neither TLS, nor
    pipelining, nor `Expect: 100-continue`.
    """

    def __init__(self, upstream_url: str) -> None:
        """Make a proxy; `async with` makes it listen.

        Args:
            upstream_url: The server's scheme and host, and its path if it has one, such as an
                emulator's `url`.

        Raises:
            ValueError: It is not the URL of a server without TLS.
        """
        parts = urlsplit(upstream_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"The server needs a URL that begins with http://, not {upstream_url}")
        self._upstream = parts.hostname, parts.port or 80
        self._path = parts.path.rstrip("/")
        self._rules: list[Rule[NetworkFault]] = []
        self._connections: dict[asyncio.Task[Any], socket.socket] = {}
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The URL to use in place of the server's; empty before the start."""
        return f"http://{_HOST}:{self._port}{self._path}" if self._port else ""

    async def start(self) -> None:
        """Listen on a free port of the loopback, or on the one from before `aclose`."""
        self._server = await asyncio.start_server(self._serve, _HOST, self._port, backlog=_BACKLOG)
        self._port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening, and reset all connections, hanging ones too; may be called twice."""
        if self._server is not None:
            await stop_accepting(self._server)
            self._server.close()
            self._server = None
        await self.drop_connections()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close."""
        await self.aclose()

    def fail(
        self,
        fault: NetworkFault,
        *,
        when: Callable[[str, str], bool] | None = None,
        times: int | None = None,
        skip: int = 0,
    ) -> Rule[NetworkFault]:
        """Let requests fail from now on, also those on connections that are kept alive.

        Args:
            fault: The fault. If several rules match, only the first that was made applies.
            when: Takes the method and the target (path and query, as sent); the rule matches
                requests for which it returns True. None: all.
            times: The number of requests that get the fault. None: all.
            skip: The number of matching requests that pass before.

        Returns:
            The rule, which counts its `hits` and can be removed.

        Raises:
            ValueError: `when` is given for connections, which have no request yet; or a number is
                out of range.
        """
        is_for_connections = fault.kind == "reset_on_accept"
        if is_for_connections and when is not None:
            raise ValueError("reset_on_accept applies before there is a request: leave out when.")

        def matches(*request: str) -> bool:
            if not request or is_for_connections:
                return is_for_connections and not request
            return when is None or when(*request)

        rule = Rule(fault, matches, times, skip)
        self._rules.append(rule)
        return rule

    @asynccontextmanager
    async def refusing(self) -> AsyncGenerator[None]:
        """Be down in the body: reset all connections, and refuse new ones.

        It is no rule, because the operating system refuses connections without counting them.
        """
        await self.aclose()
        try:
            yield
        finally:
            await self.start()

    async def drop_connections(self) -> None:
        """Reset all connections, including idle ones; new ones are accepted."""
        tasks = list(self._connections)
        for task, connection in self._connections.items():
            reset_on_close(connection)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _let_peers_read()

    def _fault_for(self, *request: str) -> NetworkFault | None:
        """Return the fault of a request, by method and target; without any, of a connection."""
        return next((rule.fault for rule in self._rules if rule.applies_to(*request)), None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until one of its ends closes."""
        client, task = _Client(reader, writer), asyncio.current_task()
        assert task is not None
        self._connections[task] = writer.get_extra_info("socket")
        try:
            if self._fault_for() is not None:
                raise ConnectionResetError
            await self._pass(client)
        except EOFError:
            pass  # the client has left
        except (OSError, ValueError, asyncio.LimitOverrunError):
            client.reset()
        finally:
            writer.transport.abort()
            del self._connections[task]

    async def _pass(self, client: _Client) -> None:
        """Forward requests, unless a fault keeps them from the server."""
        reader, server = await asyncio.open_connection(*self._upstream)
        answers = asyncio.create_task(client.pass_on(reader), name="FaultProxy answers")
        try:
            while True:
                request = await _read_request(client.reader)
                method, target = request.decode("latin-1").split(" ", 2)[:2]
                client.fault, client.is_in_body = self._fault_for(method, target), False
                match client.fault and client.fault.kind:
                    case "reset_request":
                        raise ConnectionResetError
                    case "swallow_request":
                        pass
                    case "garbage":
                        client.end_with(NOT_HTTP)
                    case _:
                        server.write(request)
                        await server.drain()
        finally:
            server.transport.abort()
            answers.cancel()
            await asyncio.wait([answers])
