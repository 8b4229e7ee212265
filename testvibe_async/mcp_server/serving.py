"""Transport of the server, its own streams or HTTP on this machine, and its shutdown.

Only the protocol appears on standard output; what else is printed goes to standard error. Over HTTP
each request needs the token as a bearer; then the SDK checks Host and Origin, against web pages
that reach this machine under another name (DNS rebinding). No session is kept, so a client may
continue after a restart. The end of the input, or a signal, stops the server in order, which closes
the client. It never serves an address other than 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import anyio
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from testvibe_async import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from testvibe_async.mcp_server.server import Server

HOST = "127.0.0.1"
GRACE_SECONDS = 1
"""Time that connections have to close once the server stops."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2


async def serve_stdio(server: Server, *, announce: Callable[[], object] | None = None) -> None:
    """Serve one client until standard input ends, or a SIGTERM or SIGINT comes.

    Args:
        server: The server.
        announce: Called right before the server begins to read. It must not print on standard
            output.
    """
    lines, loop = asyncio.Queue[str](1), asyncio.get_running_loop()

    def stop() -> None:
        asyncio.run_coroutine_threadsafe(lines.put(""), loop)

    try:
        with _private_output() as file, signals_to_stop(stop):
            if announce is not None:
                announce()
            await server.serve(_input(lines), anyio.wrap_file(file))
    except* BrokenPipeError:
        pass  # The client closed our output: an ordinary end, like the end of input.


@contextmanager
def _private_output() -> Generator[TextIO]:
    """Yield standard output for the protocol; all else that is printed goes to standard error."""
    real = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        # The descriptor stays open, because a thread may still block on it.
        yield open(real, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    finally:
        sys.stdout.flush()
        os.dup2(real, _STDOUT)


async def _input(lines: asyncio.Queue[str]) -> AsyncGenerator[str]:
    """Yield the lines of standard input, until an empty one is in the queue.

    A thread that blocks in a read can't be stopped: the SDK's would delay the end of the process
    for as long as the client sends nothing. The process does not wait for a daemon.
    """
    loop = asyncio.get_running_loop()

    def put(line: str) -> None:
        asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()

    def read() -> None:
        file = open(_STDIN, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        with suppress(RuntimeError):  # The loop has ended.
            with suppress(OSError):
                for line in file:
                    put(line)
            put("")

    threading.Thread(target=read, name="testvibe_async stdin", daemon=True).start()
    while line := await lines.get():
        yield line


@contextmanager
def signals_to_stop(stop: Callable[[], object]) -> Generator[None]:
    """Have SIGTERM and SIGINT call a function in the event loop, in place of their handlers."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        with suppress(NotImplementedError):  # Windows.
            for number in (signal.SIGTERM, signal.SIGINT):
                stack.callback(signal.signal, number, signal.getsignal(number))
                loop.add_signal_handler(number, stop)
                stack.callback(loop.remove_signal_handler, number)
        yield


async def serve_http(
    server: Server, *, port: int, token: str, announce: Callable[[str], object]
) -> None:
    """Serve any number of clients until a SIGTERM or SIGINT comes.

    Args:
        server: The server.
        port: The port on 127.0.0.1; 0 for any that is free.
        token: The token that clients have to send as `Authorization: Bearer …`.
        announce: Called with the server's URL once connections are accepted.

    Raises:
        ConfigError: The port can't be listened on, or the token is empty.
    """
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise ConfigError(
            f"port {port} of {HOST} can't be listened on: {error.strerror or error}"
        ) from error
    with listener:
        port = listener.getsockname()[1]
        http = _HttpServer(
            uvicorn.Config(
                _make_app(server, port=port, token=token),
                log_config=None,
                log_level=logging.WARNING,
                access_log=False,
                ws="none",
                lifespan="on",
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

        def stop() -> None:
            http.should_exit = True
            # It logs each request that it cancels after the grace.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

        announce(f"http://{HOST}:{port}/mcp")
        with signals_to_stop(stop):
            await http.serve(sockets=[listener])


class _HttpServer(uvicorn.Server):
    """An HTTP server without signal handlers: uvicorn's raise the signal again at the end."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _make_app(server: Server, *, port: int, token: str) -> ASGIApp:
    """Return the application, which refuses requests without the token."""
    if not token:
        raise ConfigError("the token is empty: anybody on this machine could use the API key")
    hosts = [f"{name}:{port}" for name in (HOST, "localhost")]
    inner = server.streamable_http_app(
        host=HOST,
        stateless_http=True,
        transport_security=TransportSecuritySettings(
            allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts]
        ),
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and not _has_token(Headers(scope=scope), token):
            await _UNAUTHORIZED(scope, receive, send)
            return
        await inner(scope, receive, send)

    return app


_UNAUTHORIZED = PlainTextResponse(
    "This server needs its token: Authorization: Bearer …",
    status_code=401,
    headers={"WWW-Authenticate": "Bearer"},
)


def _has_token(headers: Headers, token: str) -> bool:
    scheme, _, sent = headers.get("authorization", "").partition(" ")
    is_right = hmac.compare_digest(sent.strip().encode(), token.encode())
    return is_right and scheme.lower() == "bearer"
