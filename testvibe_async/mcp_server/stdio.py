"""The server on standard input and output, and how it ends.

Nothing but the protocol may reach standard output: the SDK points it at standard error while it
serves, and what was printed meanwhile is flushed there. The server ends when its input does, and a
signal ends its input: there is one way out, and it closes the client.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from testvibe_async.mcp_server.signals import signals_to_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mcp.server.mcpserver import MCPServer

    from testvibe_async.mcp_server.session import Session

__all__ = ["serve_stdio"]

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHUNK_BYTES = 65_536


async def serve_stdio(
    server: MCPServer[Session], *, announce: Callable[[], object] | None = None
) -> None:
    """Serve one client until it closes our standard input, or a SIGTERM or SIGINT comes.

    Args:
        server: The server.
        announce: Called right before it begins to read. It must not print on standard output.
    """
    try:
        with _flushed_to_stderr(), _input_that_can_be_ended() as end, signals_to_stop(end):
            if announce is not None:
                announce()
            await server.run_stdio_async()
    except* BrokenPipeError:
        pass  # the client is gone, which is how it ends too


@contextmanager
def _flushed_to_stderr() -> Generator[None]:
    """Keep what was printed, and is still in Python's buffer, from standard output."""
    real = os.dup(_STDOUT)
    try:
        yield
    finally:
        os.dup2(_STDERR, _STDOUT)
        sys.stdout.flush()
        os.dup2(real, _STDOUT)
        os.close(real)


@contextmanager
def _input_that_can_be_ended() -> Generator[Callable[[], None]]:
    """Put a socket in the place of standard input, and give a function that ends it.

    The SDK reads in a thread, and a thread that blocks in a read of standard input can't be
    stopped: it would hold up the end of the process for as long as the client says nothing. Ours
    blocks too, but nobody waits for a daemon. Windows has no sockets that are files.
    """
    if sys.platform == "win32":  # pragma: no cover
        yield lambda: None
        return
    ours, theirs = socket.socketpair()
    real = os.dup(_STDIN)
    os.dup2(theirs.fileno(), _STDIN)
    theirs.close()
    relay = threading.Thread(
        target=_pass_on, args=(real, ours), name="testvibe_async stdin", daemon=True
    )
    relay.start()
    try:
        yield lambda: _end(ours)
    finally:
        os.dup2(real, _STDIN)


def _pass_on(source: int, sink: socket.socket) -> None:
    with suppress(OSError):  # nobody reads any more
        while data := os.read(source, _CHUNK_BYTES):
            sink.sendall(data)
    _end(sink)


def _end(sink: socket.socket) -> None:
    with suppress(OSError):  # it is ended
        sink.shutdown(socket.SHUT_WR)
