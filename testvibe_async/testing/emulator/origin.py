"""One listening socket, its requests, and the faults that are carried out on it.

It reads requests, lets its site record and answer them, and carries out the faults that apply. It
knows neither operations nor state. It uses aiohttp's low-level server, because a site works on the
raw path, which aiohttp's router would decode.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import attrs
from aiohttp import web

from .answers import JSON_TYPE, Answer, json_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .requests import Fault, FaultRules, RecordedRequest

__all__ = ["Exchange", "Origin", "Site"]

_BACKLOG = 1024
_GARBAGE = b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n"
# Seconds; only a request whose body has not arrived needs them, all others end by themselves.
_SHUTDOWN_TIMEOUT = 0.1
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def _unchanged(answer: Answer) -> Answer:
    return answer


@attrs.frozen
class Exchange:
    """A recorded request, and the functions that answer it."""

    record: RecordedRequest
    act: Callable[[], Answer]
    """Performs the operation and returns the answer; to be called at most once."""
    write: Callable[[Answer], Answer] = _unchanged
    """Returns an answer as the site writes it."""


class Site(Protocol):
    """The part of a server that an origin serves."""

    def receive(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Exchange:
        """Record a request, without acting on it yet."""
        ...

    def http_date(self) -> str:
        """Return the current time in the format of the `Date` header."""
        ...


class Origin:
    """A site on a socket."""

    def __init__(self, site: Site, faults: FaultRules) -> None:
        """Make an origin that does not listen yet."""
        self.url: str = ""
        """Scheme, host and port; empty before the start."""
        self._site = site
        self._faults = faults
        self._closing = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._server: web.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen on an address; port 0 takes any free port."""
        loop = asyncio.get_running_loop()
        server = web.Server(self._handle, access_log=None)
        listener = await loop.create_server(server, host, port, backlog=_BACKLOG)
        self._server, self._listener = server, listener
        address, bound_port = listener.sockets[0].getsockname()[:2]
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{bound_port}"

    async def aclose(self) -> None:
        """Stop listening, and drop all connections, also those whose requests hang."""
        if self._server is None or self._listener is None:
            return
        server, self._server = self._server, None
        self._closing.set()
        await _stop_accepting(self._listener)
        self._listener.close()
        transports = [connection.transport for connection in server.connections]
        server.pre_shutdown()
        await server.shutdown(_SHUTDOWN_TIMEOUT)
        for transport in transports:
            if transport is not None:
                transport.abort()
        # Transports call `connection_lost` in the loop's next iteration.
        await asyncio.sleep(0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.content.read() if request.body_exists else b""
        except (ConnectionError, web.RequestPayloadError):
            return _reset(request)
        exchange = self._site.receive(request.method, request.raw_path, request.headers, body)
        faults = self._faults.apply_to(exchange.record)
        if faults.delay and await self._closes_within(faults.delay):
            return _reset(request)
        if faults.fault is not None:
            return await self._fail(faults.fault, request, exchange)
        answer = exchange.act()
        if faults.changes:
            answer = _edited(answer, faults.changes)
        return self._respond(exchange.record, exchange.write(answer))

    async def _fail(
        self, fault: Fault, request: web.BaseRequest, exchange: Exchange
    ) -> web.StreamResponse:
        if fault.answer is not None:
            return self._respond(exchange.record, exchange.write(fault.answer))
        match fault.kind:
            case "hang":
                await self._closes_within(None)
            case "lost":
                exchange.act()
            case "truncated":
                return _send_and_close(request, _half(exchange.write(exchange.act())))
            case "garbage":
                return _send_and_close(request, _GARBAGE)
            case _:
                pass
        return _reset(request)

    async def _closes_within(self, seconds: float | None) -> bool:
        """Return True once the origin closes, False after some seconds; None: no limit."""
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True

    def _respond(self, record: RecordedRequest, answer: Answer) -> web.Response:
        record.status = answer.status
        headers = {"Date": self._site.http_date(), **answer.headers}
        if answer.content_type:
            headers["Content-Type"] = answer.content_type
        return web.Response(status=answer.status, body=answer.body or None, headers=headers)


async def _stop_accepting(listener: asyncio.Server) -> None:
    """Accept nothing more, and let the server make known what it has accepted.

    asyncio leaves a connection open that it accepts in the three steps before its server closes.
    """
    loop = asyncio.get_running_loop()
    for listening in listener.sockets:
        with suppress(NotImplementedError):  # a loop that is no selector loop
            loop.remove_reader(listening.fileno())
    for _ in range(3):
        await asyncio.sleep(0)


def _edited(answer: Answer, changes: list[Callable[[object], object]]) -> Answer:
    if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        return answer
    document: object = answer.body
    if answer.content_type == JSON_TYPE:
        document = json.loads(answer.body)
    for change in changes:
        document = change(document)
    if isinstance(document, bytes):
        return attrs.evolve(answer, body=document, verbatim=True)
    return attrs.evolve(answer, body=json_body(document))


def _half(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} OK\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n\r\n"
    )
    return head.encode() + answer.body[: len(answer.body) // 2]


def _send_and_close(request: web.BaseRequest, content: bytes) -> web.Response:
    if request.transport is not None:
        request.transport.write(content)
        request.transport.close()
    return _unsent()


def _reset(request: web.BaseRequest) -> web.Response:
    transport = request.transport
    if transport is not None:
        # A close without lingering sends a RST, not a FIN.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return _unsent()


def _unsent() -> web.Response:
    """Return a response for a closed connection, which aiohttp silently drops."""
    return web.Response()
