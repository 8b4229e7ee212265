"""The server over streamable HTTP, on this machine alone and with a token.

Each request needs the token as a bearer. Then the SDK checks Host and Origin, so that no web page
can reach the server by a name of its own.
"""

from __future__ import annotations

import hmac
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from testvibe_async import ConfigError
from testvibe_async.mcp_server.signals import signals_to_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mcp.server.mcpserver import MCPServer
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from testvibe_async.mcp_server.session import Session

__all__ = ["Door", "make_door", "serve_http"]

HOST = "127.0.0.1"
GRACE_SECONDS = 1
"""How long connections have to close once the server is stopped."""


async def serve_http(
    server: MCPServer[Session], *, port: int, token: str, announce: Callable[[str], object]
) -> None:
    """Serve any number of clients until a SIGTERM or SIGINT comes.

    Args:
        server: The server.
        port: The port on 127.0.0.1; 0 for any that is free.
        token: What clients have to send as `Authorization: Bearer …`.
        announce: Called with the server's URL once connections are accepted.

    Raises:
        ConfigError: The port can't be had, or the token is empty.
    """
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise ConfigError(
            f"port {port} of {HOST} can't be listened on: {error.strerror or error}"
        ) from error
    with listener:
        port = listener.getsockname()[1]
        door = make_door(server, port=port, token=token)
        http = _Http(
            uvicorn.Config(
                door,
                log_config=None,
                access_log=False,
                ws="none",
                lifespan="on",
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

        def stop() -> None:
            http.should_exit = True
            door.shut()

        announce(f"http://{HOST}:{port}/mcp")
        with signals_to_stop(stop):
            await http.serve(sockets=[listener])


class _Http(uvicorn.Server):
    """An HTTP server that leaves the signals to us: its own way raises them again at the end."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def make_door(server: MCPServer[Session], *, port: int, token: str) -> Door:
    """Return the way into a server that listens on a port.

    Raises:
        ConfigError: The token is empty.
    """
    if not token:
        raise ConfigError("the token is empty: anybody on this machine could use the API key")
    hosts = [f"{name}:{port}" for name in (HOST, "localhost")]
    app = server.streamable_http_app(
        host=HOST,
        transport_security=TransportSecuritySettings(
            allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts]
        ),
    )
    return Door(app, token=token)


class Door:
    """The way into the server: it asks for the token, and can be shut."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token
        self._inside: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif _has_token(Headers(scope=scope), self._token):
            await self._let_in(scope, receive, send)
        else:
            await _NO_TOKEN(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = False

        async def send_on(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        with anyio.CancelScope() as call:
            self._inside.add(call)
            try:
                await self._app(scope, receive, send_on)
            finally:
                self._inside.discard(call)
        if call.cancelled_caught and is_begun:
            await send({"type": "http.response.body"})
        elif call.cancelled_caught:
            await _SHUT(scope, receive, send)

    def shut(self) -> None:
        """End all answers under way, in order: the server would wait for them."""
        for call in self._inside:
            call.cancel()


_NO_TOKEN = PlainTextResponse(
    "This server needs its token: Authorization: Bearer …",
    status_code=401,
    headers={"WWW-Authenticate": "Bearer"},
)
_SHUT = PlainTextResponse("This server is ending.", status_code=503)


def _has_token(headers: Headers, token: str) -> bool:
    scheme, _, sent = headers.get("authorization", "").partition(" ")
    is_right = hmac.compare_digest(sent.strip().encode(), token.encode())
    return is_right and scheme.lower() == "bearer"
