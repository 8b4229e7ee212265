"""Virtual time: an event loop that never waits for a timer.

It decides how long the loop's selector may block, and what `loop.time()` returns. When nothing is
ready to run, it jumps to the next timer at once, so that minutes pass in microseconds, and in the
same order each time. Real sockets work as long as both ends are in this loop: bytes on the loopback
are ready before the selector is called. It never speeds up threads or other processes.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = ["VirtualTimeLoop"]

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that moves the clock instead of sleeping."""

    jump: Callable[[float], None]
    threads = 0
    """Running calls in the loop's executor; they take real time, so the loop waits for them."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads:
            return super().select(None)
        self.jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, for tests of code that waits.

    `asyncio.sleep`, `asyncio.timeout`, `loop.call_later` and all that is built on them take no
    real time. `loop.time()` starts at 0.0 seconds. Use it as a loop factory:
    `asyncio.Runner(loop_factory=VirtualTimeLoop)`, or with the hook of pytest-asyncio of that name.

    Peers outside this loop (a subprocess, another thread, a remote host) do not follow its clock: a
    timer would fire before their answer comes. Test those on an ordinary loop.
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
        """Wait for the threads of the executor, which take real time, as long as that takes."""
        await super().shutdown_default_executor()

    def run_in_executor(  # type: ignore[override]  # typeshed's has a TypeVarTuple
        self,
        executor: Executor | None,
        func: Callable[..., T],
        *args: Any,  # noqa: ANN401
    ) -> asyncio.Future[T]:
        """Run a function in a thread; no timer fires before it is over."""
        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: asyncio.Future[Any]) -> None:
        self._jumping.threads -= 1

    def _jump(self, seconds: float) -> None:
        self._now += seconds
        # asyncio runs timers up to this much early. With a larger value, tasks that then wait for
        # the remaining time would wake each other for ever: time stands still while one is ready.
        self._clock_resolution = math.ulp(self._now)
