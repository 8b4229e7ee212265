"""The leaks that `assert_no_leaks` finds, and their names."""

import asyncio
from collections.abc import Awaitable
from threading import Event, Thread

import aiohttp
import pytest

from tests.conftest import client_of
from testvibe_async import Client, ConfigError
from testvibe_async.testing import Emulator, assert_no_leaks


async def leaks_of(body: Awaitable[object]) -> str:
    """Return the message about a body's leaks."""
    with pytest.raises(AssertionError, match="left behind in the event loop: ") as caught:
        async with assert_no_leaks():
            await body
    return str(caught.value).partition(": ")[2]


async def test_what_is_clean_passes() -> None:
    """Code that closes what it opens, and awaits what it starts, has no leak."""
    async with assert_no_leaks():
        async with Emulator() as emulator, client_of(emulator) as client:
            operations = [await client.project().run_feature("Checkout") for _ in range(3)]
            await client.gather(*operations)
        await asyncio.create_task(asyncio.sleep(1))


async def test_what_was_there_before_does_not_count(emulator: Emulator) -> None:
    """Only things that the body itself leaves are leaks."""
    task = asyncio.create_task(asyncio.sleep(3600))
    async with client_of(emulator) as client:
        await client.list_projects()
        async with assert_no_leaks():
            await client.list_projects()
    task.cancel()


async def test_what_is_closing_does_not_count(emulator: Emulator) -> None:
    """A peer has time to close its end, and closed things may still be referenced."""
    address = emulator.url.removeprefix("http://").split(":")
    held: list[asyncio.StreamWriter] = []

    async with assert_no_leaks():
        async with client_of(emulator) as client:
            await client.list_projects()
        _, writer = await asyncio.open_connection(address[0], int(address[1]))
        held.append(writer)
        writer.close()


async def test_a_task_is_named() -> None:
    """A running task is reported with its name, its coroutine, and its current line."""
    tasks: list[asyncio.Task[None]] = []

    async def read_the_queue() -> None:
        await asyncio.sleep(3600)

    async def start() -> None:
        tasks.append(asyncio.create_task(read_the_queue(), name="reader"))

    left = await leaks_of(start())

    assert left.startswith("task 'reader' (")
    assert "read_the_queue, at " in left
    assert f"{__file__}:" in left
    tasks[0].cancel()


async def test_an_open_client_is_named(emulator: Emulator) -> None:
    """It is reported with its session and connection, or alone if it has sent nothing."""
    address = emulator.url.removeprefix("http://")
    first, second = client_of(emulator), client_of(emulator)
    left = await leaks_of(first.list_projects())
    for name in (f"<Client of {emulator.url}>", "aiohttp session", f"connection to {address}"):
        assert name in left
    assert await leaks_of(second.__aenter__()) == f"<Client of {emulator.url}>"
    await first.aclose()
    await second.aclose()


async def test_a_client_that_was_refused_is_not_open() -> None:
    """A client whose arguments are wrong, kept by the traceback of its error, is no leak."""
    with pytest.raises(ConfigError) as refused:
        Client("foo", api_key="x")

    async with assert_no_leaks():
        assert refused.traceback


async def test_a_server_is_named() -> None:
    """A listening server is reported with its address."""
    emulator = Emulator()

    left = await leaks_of(emulator.start())

    assert f"server at {emulator.url.removeprefix('http://')}" in left
    await emulator.aclose()


async def test_all_leaks_are_named_at_once() -> None:
    """The message names all leaks, not only the first."""
    sessions: list[aiohttp.ClientSession] = []

    async def open_two() -> None:
        sessions.extend([aiohttp.ClientSession(), aiohttp.ClientSession()])

    assert await leaks_of(open_two()) == "aiohttp session; aiohttp session"
    for session in sessions:
        await session.close()


async def test_another_loop_is_not_checked() -> None:
    """Open things of a loop in another thread are no leaks of this loop."""
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
    """If the body fails, its error is raised without a check."""
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
    """A connection without a host is reported with what it has, unless it is closing."""
    pipes: list[Pipe] = []

    async def open_pipe() -> None:
        pipes.append(Pipe({"peername": path}))

    assert await leaks_of(open_pipe()) == f"connection to {path}"
    async with assert_no_leaks():
        await open_pipe()
        pipes[-1].is_closed = True
