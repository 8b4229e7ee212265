"""One listening socket, its requests, and the faults that are carried out on it.

It records requests, lets its site answer them, and carries out the faults that apply. It knows
neither operations nor state. It uses aiohttp's low-level server, because a site works on the raw
path, which aiohttp's router would decode.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs
from aiohttp import web

from .answers import JSON_TYPE, Answer, error_answer, json_body
from .requests import Fault, RecordedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .scenario import EmulatorClock

_logger = logging.getLogger(__name__)

_NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n"
_BACKLOG = 1024
_PIECES_A_SECOND = 10
# Seconds; only a request whose body has not arrived needs them, all others end by themselves.
_SHUTDOWN_TIMEOUT = 0.1


@attrs.frozen
class Exchange:
    """A request, and the functions that answer it."""

    record: RecordedRequest
    act: Callable[[], Answer]
    """Performs the operation and returns the answer; to be called at most once."""
    write: Callable[[Answer], Answer]
    """Returns an answer as the site writes it."""


@attrs.define(eq=False)
class Origin:
    """A site on a socket."""

    _clock: EmulatorClock
    _receive: Callable[[RecordedRequest], Exchange]
    """The site: it takes a request, without acting on it yet."""
    _find_faults: Callable[[RecordedRequest], Sequence[Fault]]
    """Returns the faults that apply to a request."""
    keeps_requests: bool
    """False only counts requests."""
    _host: str
    _port: int = 0
    """0 takes any free port, which stays the same for later starts."""
    url: str = ""
    """Scheme, host and port; empty before the start."""
    requests: list[RecordedRequest] = attrs.field(factory=list[RecordedRequest])
    counts: Counter[str | None] = attrs.field(factory=Counter[str | None])
    """The number of requests for each operation."""
    _closing: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _listener: asyncio.Server | None = None
    _server: web.Server | None = None

    async def start(self) -> None:
        """Listen; after `aclose`, on the same address."""
        loop = asyncio.get_running_loop()
        server = web.Server(self._handle, access_log=None)
        listener = await loop.create_server(server, self._host, self._port, backlog=_BACKLOG)
        self._server, self._listener, self._closing = server, listener, asyncio.Event()
        host, self._port = listener.sockets[0].getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

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
        record = RecordedRequest(
            method=request.method,
            path=request.raw_path.partition("?")[0],
            query=dict(request.query),
            headers=request.headers,
            body=body,
            at=self._clock.now(),
        )
        exchange = self._receive(record)
        self.counts[record.operation] += 1
        if self.keeps_requests:
            self.requests.append(record)
        try:
            return await self._answer(request, exchange)
        except Exception as error:
            # Most likely a function of the test, whose author reads the client's error first.
            message = f"The emulator failed: {error!r}. Its log has the traceback."
            _logger.exception("%s %s failed in the emulator", request.method, request.raw_path)
            return self._respond(record, error_answer(500, message, {}))

    async def _answer(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        faults = self._find_faults(exchange.record)
        delay = sum(fault.seconds for fault in faults)
        if delay and await self._closes_within(delay):
            return _reset(request)
        for fault in faults:
            if fault.ends_request:
                return await self._fail(fault, request, exchange)
        answer = _edited(exchange.act(), faults, exchange.record.operation)
        return self._respond(exchange.record, exchange.write(answer))

    async def _fail(
        self, fault: Fault, request: web.BaseRequest, exchange: Exchange
    ) -> web.StreamResponse:
        if fault.answer is not None:
            return self._respond(exchange.record, exchange.write(fault.answer))
        if fault.kind == "garbage":
            return _send_and_close(request, _NOT_HTTP)
        head, body = b"", b""
        if fault.kind not in {"reset", "hang"}:
            head, body = self._raw(exchange.write(exchange.act()))
        match fault.kind:
            case "hang" | "unanswered":
                await self._closes_within(None)
            case "cut_head":
                return _send_and_close(request, head[: len(head) // 2])
            case "truncated":
                return _send_and_close(request, head + body[: len(body) // 2])
            case "slow":
                return await self._send_slowly(request, head + body, fault.bytes_per_second)
            case _:
                pass
        return _reset(request)

    async def _send_slowly(
        self, request: web.BaseRequest, content: bytes, rate: float
    ) -> web.StreamResponse:
        size = max(1, round(rate / _PIECES_A_SECOND))
        for start in range(0, len(content), size):
            if request.transport is None or await self._closes_within(size / rate):
                return _reset(request)
            request.transport.write(content[start : start + size])
        return _send_and_close(request, b"")

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
        headers = self._headers(answer)
        return web.Response(status=answer.status, body=answer.body or None, headers=headers)

    def _headers(self, answer: Answer) -> dict[str, str]:
        kind = {"Content-Type": answer.content_type} if answer.content_type else {}
        return {"Date": self._clock.http_date(), **answer.headers, **kind}

    def _raw(self, answer: Answer) -> tuple[bytes, bytes]:
        """Return the head and the body of an answer, as they are sent."""
        headers = {**self._headers(answer), "Content-Length": f"{len(answer.body)}"}
        lines = [f"HTTP/1.1 {answer.status} OK", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode(), answer.body


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


def _edited(answer: Answer, faults: Sequence[Fault], operation: str | None) -> Answer:
    """Return the answer, with the document of a success as the faults change it.

    Raises:
        TypeError: A function returned None. A `null` would look like a fault of the service, far
            from the mistake.
    """
    changes = [fault.change for fault in faults if fault.change is not None]
    if not changes or answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        return answer
    is_json = answer.content_type == JSON_TYPE
    document: object = json.loads(answer.body) if is_json else answer.body
    for change in changes:
        document = change(document)
        if document is None:
            raise TypeError(f"Fault.edit for {operation} returned None: let it return the document")
    if isinstance(document, bytes):
        return attrs.evolve(answer, body=document, verbatim=True)
    return attrs.evolve(answer, body=json_body(document))


def _send_and_close(request: web.BaseRequest, content: bytes) -> web.Response:
    if request.transport is not None:
        request.transport.write(content)
        request.transport.close()
    return web.Response()  # which aiohttp silently drops: the connection is closed


def _reset(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        connection: socket.socket = request.transport.get_extra_info("socket")
        with suppress(OSError):  # it may be closed already
            # A close without lingering sends a RST, and no FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()  # likewise
