"""What `assert_no_leaks` finds, what it does not mind, and how it names it."""

from __future__ import annotations

import asyncio
from threading import Event, Thread
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.conftest import client_of
from testvibe_async.testing import Emulator, assert_no_leaks

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def leaks_of(body: Awaitable[object]) -> str:
    """Return what is said to be left behind by a body."""
    with pytest.raises(AssertionError, match="left behind in the event loop: ") as caught:
        async with assert_no_leaks():
            await body
    return str(caught.value).partition(": ")[2]


async def test_what_is_clean_passes() -> None:
    """Whoever closes what was opened, and awaits what was started, leaves nothing behind."""
    async with assert_no_leaks():
        async with Emulator() as emulator, client_of(emulator) as client:
            operations = [await client.project().run_feature("Checkout") for _ in range(3)]
            await client.gather(*operations)
        await asyncio.create_task(asyncio.sleep(1))


async def test_what_was_there_before_does_not_count(emulator: Emulator) -> None:
    """Only what the body itself leaves is its fault."""
    task = asyncio.create_task(asyncio.sleep(3600))
    async with client_of(emulator) as client:
        await client.list_projects()
        async with assert_no_leaks():
            await client.list_projects()
    task.cancel()


async def test_what_is_closing_does_not_count(emulator: Emulator) -> None:
    """The other end of a connection has time to hear of its end, and what is closed may be held."""
    address = emulator.url.removeprefix("http://").split(":")
    held: list[asyncio.StreamWriter] = []

    async with assert_no_leaks():
        async with client_of(emulator) as client:
            await client.list_projects()
        _, writer = await asyncio.open_connection(address[0], int(address[1]))
        held.append(writer)
        writer.close()


async def test_a_task_is_named() -> None:
    """A task that goes on is told with its name, its coroutine, and where it stands."""
    tasks: list[asyncio.Task[None]] = []

    async def watch_the_queue() -> None:
        await asyncio.sleep(3600)

    async def start() -> None:
        tasks.append(asyncio.create_task(watch_the_queue(), name="watcher"))

    left = await leaks_of(start())

    assert left.startswith("task 'watcher' (")
    assert "watch_the_queue, at " in left
    assert f"{__file__}:" in left
    tasks[0].cancel()


async def test_an_open_client_is_named(emulator: Emulator) -> None:
    """A client is told, and with it the session and the connection that it keeps open."""
    client = client_of(emulator)
    address = emulator.url.removeprefix("http://")

    left = await leaks_of(client.list_projects())

    assert f"<Client of {emulator.url}>" in left
    assert "aiohttp session" in left
    assert f"connection to {address}" in left
    await client.aclose()


async def test_a_client_without_connections_is_named(emulator: Emulator) -> None:
    """One that is bound to the loop, and has sent nothing yet, is open as well."""
    client = client_of(emulator)

    left = await leaks_of(client.__aenter__())

    assert left == f"<Client of {emulator.url}>"
    await client.aclose()


async def test_a_server_is_named() -> None:
    """A server that still listens is told with its address."""
    emulator = Emulator()

    left = await leaks_of(emulator.start())

    assert f"server at {emulator.url.removeprefix('http://')}" in left
    await emulator.aclose()


async def test_all_is_told_at_once() -> None:
    """The message names each thing that is left, not the first alone."""
    sessions: list[aiohttp.ClientSession] = []

    async def open_two() -> None:
        sessions.extend([aiohttp.ClientSession(), aiohttp.ClientSession()])

    assert await leaks_of(open_two()) == "aiohttp session; aiohttp session"
    for session in sessions:
        await session.close()


async def test_another_loop_is_not_looked_at() -> None:
    """What a loop in another thread has open is that loop's business."""
    opened, done = asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    async def serve() -> None:
        async with Emulator() as emulator, client_of(emulator) as client:
            await client.list_projects()
            loop.call_soon_threadsafe(opened.set)
            await asyncio.to_thread(done.wait)

    thread = Thread(target=asyncio.run, args=[serve()])
    try:
        async with assert_no_leaks():
            thread.start()
            await opened.wait()
    finally:
        done.set()
        thread.join()


async def test_the_bodys_own_error_goes_first() -> None:
    """Where the body fails nothing is looked for: its error tells more."""
    sessions: list[aiohttp.ClientSession] = []

    async def fail() -> None:
        sessions.append(aiohttp.ClientSession())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with assert_no_leaks():
            await fail()
    await sessions[0].close()


class Pipe(asyncio.BaseTransport):
    """A transport of another kind than the loop's own."""

    is_closed = False

    def is_closing(self) -> bool:
        return self.is_closed


@pytest.mark.parametrize("path", ["", "/tmp/socket"])  # noqa: S108 - no file
async def test_an_address_may_be_no_pair(path: str) -> None:
    """A connection without a host, such as a pipe's, is told by what it has."""
    pipes: list[Pipe] = []

    async def open_pipe() -> None:
        pipes.append(Pipe({"peername": path}))

    assert await leaks_of(open_pipe()) == f"connection to {path}"


async def test_a_transport_that_is_closing_does_not_count() -> None:
    """One that has data to send before its end will be gone without anybody's doing."""
    async with assert_no_leaks():
        pipe = Pipe({"peername": "pipe"})
        pipe.is_closed = True
    assert pipe.is_closing()
