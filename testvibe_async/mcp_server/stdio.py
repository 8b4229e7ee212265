"""The server on standard input and output, and how it stops.

Decides that only the protocol reaches standard output: the SDK points it at standard error while it
serves, and what was printed meanwhile is flushed there. The server stops at the end of its input,
and a signal ends its input: both go through the same shutdown, which closes the client.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mcp.server.mcpserver import MCPServer

    from testvibe_async.mcp_server.toolkit import Session

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CHUNK_BYTES = 65_536

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve_stdio(
    server: MCPServer[Session], *, announce: Callable[[], object] | None = None
) -> None:
    """Serve one client until standard input ends, or a SIGTERM or SIGINT comes.

    Args:
        server: The server.
        announce: Called right before the server begins to read. It must not print on standard
            output.
    """
    try:
        with _flushed_to_stderr(), _interruptible_input() as stop, signals_to_stop(stop):
            if announce is not None:
                announce()
            await server.run_stdio_async()
    except* BrokenPipeError:
        pass  # The client closed our output: an ordinary end, like the end of input.


@contextmanager
def _flushed_to_stderr() -> Generator[None]:
    """Flush what is left in the buffer of `sys.stdout` to standard error."""
    real = os.dup(_STDOUT)
    try:
        yield
    finally:
        os.dup2(_STDERR, _STDOUT)
        sys.stdout.flush()
        os.dup2(real, _STDOUT)
        os.close(real)


@contextmanager
def _interruptible_input() -> Generator[Callable[[], None]]:
    """Put a socket in the place of standard input, and yield a function that ends it.

    The SDK reads in a thread, and a thread that blocks in a read of standard input can't be
    stopped: it would delay the end of the process for as long as the client sends nothing. The
    relay thread blocks too, but it is a daemon, which the process does not wait for. Windows has no
    sockets that are files.
    """
    if sys.platform == "win32":  # pragma: no cover
        yield lambda: None
        return
    sink, replacement = socket.socketpair()
    real = os.dup(_STDIN)
    os.dup2(replacement.fileno(), _STDIN)
    replacement.close()
    relay = threading.Thread(
        target=_relay, args=(real, sink), name="testvibe_async stdin", daemon=True
    )
    relay.start()
    try:
        yield lambda: _end(sink)
    finally:
        os.dup2(real, _STDIN)


def _relay(source: int, sink: socket.socket) -> None:
    with suppress(OSError):  # The server has stopped reading.
        while data := os.read(source, _CHUNK_BYTES):
            sink.sendall(data)
    _end(sink)


def _end(sink: socket.socket) -> None:
    with suppress(OSError):  # It was ended before.
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def signals_to_stop(stop: Callable[[], object]) -> Generator[None]:
    """Have SIGTERM and SIGINT call a function in the event loop, in place of their handlers."""
    if sys.platform == "win32":  # pragma: no cover - asyncio takes no signals there
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
