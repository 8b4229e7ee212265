"""A network that fails on demand: a TCP proxy, on the loopback, in front of any HTTP server.

Decides which fault applies to a request, and carries it out on the socket, so that a client gets
the real thing: a reset, no answer, half an answer. It never interprets a request; failures inside
the service are the emulator's.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import attrs

from .emulator import Rule

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from typing import Self

__all__ = ["FaultProxy", "NetworkFault"]

_HOST = "127.0.0.1"
_BACKLOG = 1024
_PIECE_BYTES = 65_536
_PIECES_A_SECOND = 10
_NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n"
_END_OF_HEAD = b"\r\n\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNKED = re.compile(rb"^transfer-encoding:[^\r]*\bchunked\b", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)


@attrs.frozen(kw_only=True)
class NetworkFault:
    """A failure on the network, created by one of the class methods."""

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
    """The name of the class method that created it."""

    content: bytes = b""
    """The bytes that are sent in place of an answer."""
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
    def garbage(cls, content: bytes = _NOT_HTTP) -> NetworkFault:
        """Send bytes that are not HTTP and close: the server never sees the request."""
        return cls(kind="garbage", content=content)

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


class _Client:
    """One client's connection, on which a fault is carried out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._fault: NetworkFault | None = None
        self._is_in_body = False

    def passes_request(self, fault: NetworkFault | None) -> bool:
        """Begin a request; return True if its fault, if any, lets the server see it."""
        self._fault, self._is_in_body = fault, False
        match fault and fault.kind:
            case "reset_request":
                raise ConnectionResetError
            case "garbage":
                assert fault is not None
                self._finish(fault.content)
            case "swallow_request":
                pass
            case _:
                return True
        return False

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
        _let_reset(self.writer.get_extra_info("socket"))
        self.writer.transport.abort()

    async def _send(self, piece: bytes) -> None:
        """Send the part of a piece of an answer that the fault lets pass."""
        match self._fault and self._fault.kind:
            case "swallow_answer":
                pass
            case "reset_answer":
                raise ConnectionResetError
            case "cut_head":
                head = piece.partition(_END_OF_HEAD)[0]
                self._finish(head[: len(head) // 2])
            case "cut_body":
                self._cut_body(piece)
            case _:
                await self._send_whole(piece)

    def _cut_body(self, piece: bytes) -> None:
        head, end, body = (b"", b"", piece) if self._is_in_body else piece.partition(_END_OF_HEAD)
        self._is_in_body = self._is_in_body or bool(end)
        if body:
            self._finish(head + end + body[: len(body) // 2])
        else:
            self.writer.write(piece)

    async def _send_whole(self, piece: bytes) -> None:
        step = self._fault.piece_bytes if self._fault else len(piece)
        for start in range(0, len(piece), step):
            self.writer.write(piece[start : start + step])
            await self.writer.drain()
            if self._fault is not None:
                await asyncio.sleep(self._fault.pause)
                await _let_peers_read()

    def _finish(self, content: bytes) -> None:
        self.writer.write(content)
        self.writer.close()


def _let_reset(connection: socket.socket) -> None:
    """Let a connection end with a RST: a close without lingering sends no FIN."""
    with suppress(OSError):  # it may be closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


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

    It works on a `VirtualTimeLoop`, and on every other loop that has `add_reader`. It supports
    neither TLS, nor pipelining, nor `Expect: 100-continue`.
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
        self._connections: dict[asyncio.Task[None], socket.socket] = {}
        self._listener: socket.socket | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The URL to use in place of the server's; empty before the start."""
        return f"http://{_HOST}:{self._port}{self._path}" if self._port else ""

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._listen()

    def _listen(self) -> None:
        """Listen, on the same port as before if there was one.

        It is no `asyncio.Server`, which leaves a connection open that it accepts as it closes.
        """
        self._listener = socket.create_server((_HOST, self._port), backlog=_BACKLOG)
        self._listener.settimeout(0)
        self._port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):  # the client may have left
            accepted = listener.accept()[0]
            accepted.settimeout(0)
            # asyncio does this only for sockets whose `proto` is TCP; that of accepted ones is 0.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self._serve(accepted), name="FaultProxy connection")
            self._connections[task] = accepted
            task.add_done_callback(lambda task: self._connections.pop(task).close())

    async def aclose(self) -> None:
        """Stop listening, and reset all connections, also those that hang; may be called twice."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
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
        if when is not None and fault.kind == "reset_on_accept":
            raise ValueError("reset_on_accept applies before there is a request: leave out when.")

        def matches(request: tuple[str, str] | None) -> bool:
            if request is None or fault.kind == "reset_on_accept":
                return request is None and fault.kind == "reset_on_accept"
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
            self._listen()

    async def drop_connections(self) -> None:
        """Reset all connections, including idle ones; new ones are accepted."""
        tasks = list(self._connections)
        for task, connection in self._connections.items():
            _let_reset(connection)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _let_peers_read()

    def _fault_for(self, request: tuple[str, str] | None) -> NetworkFault | None:
        return next((rule.fault for rule in self._rules if rule.applies_to(request)), None)

    async def _serve(self, accepted: socket.socket) -> None:
        """Serve a connection until one of its ends closes."""
        client = _Client(*await asyncio.open_connection(sock=accepted))
        try:
            if self._fault_for(None) is not None:
                raise ConnectionResetError
            await self._pass(client)
        except EOFError:
            pass  # the client has left
        except (OSError, ValueError, asyncio.LimitOverrunError):
            client.reset()
        finally:
            client.writer.transport.abort()

    async def _pass(self, client: _Client) -> None:
        """Pass requests on, except those that a fault keeps from the server."""
        reader, server = await asyncio.open_connection(*self._upstream)
        answers = asyncio.create_task(client.pass_on(reader), name="FaultProxy answers")
        try:
            while True:
                request = await _read_request(client.reader)
                method, target = request.decode("latin-1").split(" ", 2)[:2]
                if client.passes_request(self._fault_for((method, target))):
                    server.write(request)
                    await server.drain()
        finally:
            server.transport.abort()
            answers.cancel()
            await asyncio.wait([answers])
