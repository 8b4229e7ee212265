"""The emulator and the clients of fixtures.

The emulator's thread has an event loop on real time, so every kind of test can use it, except one
whose own loop is on virtual time: that refuses to connect to it.

A plain fixture can't await `aclose`, and its loop may be closed before the fixture ends. But
`asyncio.run`, `asyncio.Runner`, pytest-asyncio and anyio shut down a loop's asynchronous generators
before they close the loop. So one such generator holds each client, and closes it with the loop
that first used it.
"""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager, suppress
from inspect import signature
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal
from attrs import evolve

from testvibe_async import Client, Hooks
from testvibe_async.events import RequestFinished, subscribers
from testvibe_async.testing import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator


CLOSE_SECONDS = 15.0
"""Timeout for another thread's loop to close a client, which itself takes at most 10 s."""


@contextmanager
def serve_emulator(options: dict[str, Any]) -> Generator[Emulator]:
    """Serve an emulator in a thread of its own.

    Args:
        options: The arguments of `Emulator`.
    """
    with (
        start_blocking_portal(name="testvibe emulator") as portal,
        portal.wrap_async_context_manager(Emulator(**options)) as emulator,
    ):
        yield emulator


def client_options(emulator: Emulator, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a client of an emulator.

    Args:
        emulator: The emulator.
        options: The arguments of `Emulator`, with whose speed it is polled.
    """
    interval: float = signature(Client).parameters["poll_interval"].default
    return {
        "server": emulator.url,
        "api_key": emulator.api_key,
        "project": emulator.project_id,
        "endpoints": {},
        "poll_interval": interval / options.get("speed", 1.0),
    }


class _LoopBoundClient:
    """A client that is closed no later than the event loop that uses it."""

    def __init__(self, options: dict[str, Any]) -> None:
        hooks: Hooks = options.get("hooks") or Hooks()
        hooks = evolve(hooks, on_request=[self._hold_loop, *subscribers(hooks, "on_request")])
        arguments: dict[str, Any] = {**options, "hooks": hooks}
        self.client: Client = Client(**arguments)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._holder: AsyncGenerator[None] | None = None

    def _hold_loop(self, _request: RequestFinished) -> None:
        if self._holder is None:
            self._loop = asyncio.get_running_loop()
            self._holder = _hold(self.client)
            # The loop shuts down generators that have started; the first step awaits nothing.
            with suppress(StopIteration):
                self._holder.__anext__().__await__().__next__()

    def close(self) -> None:
        """Close the client when its fixture ends; with a closed loop, it already is."""
        if self._loop is None:
            with closing(asyncio.new_event_loop()) as loop:  # Any loop will do: nothing was sent.
                loop.run_until_complete(self.client.aclose())
        elif self._loop.is_running():
            done = asyncio.run_coroutine_threadsafe(self.client.aclose(), self._loop)
            done.result(CLOSE_SECONDS)
        elif not self._loop.is_closed():
            self._loop.run_until_complete(self.client.aclose())


async def _hold(client: Client) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await client.aclose()


@contextmanager
def loop_bound_client(options: dict[str, Any]) -> Generator[Client]:
    """Yield a client of these arguments, closed no later than the event loop that uses it."""
    with closing(_LoopBoundClient(options)) as bound:
        yield bound.client


@contextmanager
def client_for_each_loop(options: dict[str, Any]) -> Generator[Callable[[], Client]]:
    """Yield a function that returns the running event loop's client, made at its first call.

    Args:
        options: The arguments of each `Client`.
    """
    clients: dict[asyncio.AbstractEventLoop, _LoopBoundClient] = {}

    def client() -> Client:
        loop = asyncio.get_running_loop()
        for other in [each for each in clients if each.is_closed()]:
            del clients[other]
        if loop not in clients:
            clients[loop] = _LoopBoundClient(options)
        return clients[loop].client

    yield client
    for bound in clients.values():
        bound.close()
