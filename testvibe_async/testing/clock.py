"""Virtual time: an event loop that never waits for a timer.

Decides how long the loop's selector may block, and what `loop.time()` returns. When nothing is
ready to run, it jumps to the next timer at once, so that minutes pass in microseconds, and in the
same order each time. Real sockets work as long as both ends are in this loop: bytes on the loopback
are ready before the selector is called. Peers outside of it, which it can't speed up, are refused.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import socket
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

T = TypeVar("T")

_NO_SUBPROCESS = (
    "a subprocess takes real time, and this event loop is on virtual time: its timers would fire "
    "before the process was done. Use subprocess.run in asyncio.to_thread, for which this loop "
    "waits, or use an ordinary event loop"
)


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that moves the clock instead of sleeping."""

    jump: Callable[[float], None]
    threads = 0
    """Running calls in the loop's executor; they take real time, so the loop waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: set[object] = set()
        """Addresses that this loop serves, or has served: ports, and paths of Unix sockets."""

        self.idle: list[asyncio.Future[None]] = []
        """Done when nothing is ready to run, before the clock is moved."""

    def register(
        self,
        fileobj: Any,  # noqa: ANN401 - what the base class takes
        events: int,
        data: Any = None,  # noqa: ANN401 - likewise
    ) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        if (address := _served_at(key.fd)) is not None:
            self.addresses.add(address)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.threads:
            return super().select(None)
        if self.idle:
            while self.idle:
                if not (waiter := self.idle.pop()).done():
                    waiter.set_result(None)
            return ready
        if timeout is None:
            return super().select(None)
        self.jump(timeout)
        return ready


def _served_at(descriptor: int) -> object | None:
    """Return the address that a socket listens on; None for all other descriptors."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:  # a pipe, or another kind of file
        return None
    try:
        is_listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return _port(sock.getsockname()) if is_listening else None
    finally:
        sock.detach()


def _port(address: Any) -> object:  # noqa: ANN401 - a tuple of host and port, or a path
    return address if isinstance(address, str | bytes) else address[1]


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, for tests of code that waits.

    `asyncio.sleep`, `asyncio.timeout`, `loop.call_later` and everything built on them take no
    real time. `loop.time()` starts at 0.0 seconds. Use it as a loop factory:
    `asyncio.Runner(loop_factory=VirtualTimeLoop)`, or with the hook of pytest-asyncio of that name.

    Peers outside this loop do not follow its clock: a timer would fire before their answer comes.
    So a connection to a server in another thread or process is a `RuntimeError`, and so is a
    subprocess. For a blocking call in a thread (`asyncio.to_thread`) the loop waits.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        self._jumping.jump = self._jump
        self._now = 0.0
        super().__init__(self._jumping)
        self._clock_resolution = math.ulp(self._now)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002
        """Wait for the threads of the executor, which take real time."""
        await super().shutdown_default_executor()

    def run_in_executor(  # type: ignore[override]  # typeshed's has a TypeVarTuple
        self,
        executor: Executor | None,
        func: Callable[..., T],
        *args: Any,  # noqa: ANN401
    ) -> asyncio.Future[T]:
        """Run a function in a thread; no timer fires before it has finished."""
        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:  # noqa: ANN401
        """Connect to a server of this loop.

        Raises:
            RuntimeError: Another thread, process or host serves it.
        """
        is_waited_for = self._jumping.threads > 0  # then a thread may be the server
        await super().sock_connect(sock, address)
        if is_waited_for or sock.type != socket.SOCK_STREAM or self._serves(address):
            return
        # A server may listen first, and be served by the loop a moment later.
        self._jumping.idle.append(is_idle := self.create_future())
        await is_idle
        if not self._serves(address):
            raise RuntimeError(
                f"{address} is served outside this event loop, which is on virtual time: serve it "
                "in the loop (async with Emulator()), or use an ordinary event loop"
            )

    def _serves(self, address: object) -> bool:
        # A server may listen at all hosts, so only its port identifies it.
        return _port(address) in self._jumping.addresses

    async def subprocess_exec(self, *_args: object, **_options: object) -> NoReturn:
        """Refuse to start a process: raise RuntimeError."""
        raise RuntimeError(_NO_SUBPROCESS)

    async def subprocess_shell(self, *_args: object, **_options: object) -> NoReturn:
        """Refuse to start a shell: raise RuntimeError."""
        raise RuntimeError(_NO_SUBPROCESS)

    def _thread_ended(self, _: asyncio.Future[Any]) -> None:
        self._jumping.threads -= 1

    def _jump(self, seconds: float) -> None:
        self._now += seconds
        # asyncio runs timers up to this much early. With a larger value, tasks that then wait for
        # the remaining time would wake each other for ever: time stands still while one is ready.
        self._clock_resolution = math.ulp(self._now)
