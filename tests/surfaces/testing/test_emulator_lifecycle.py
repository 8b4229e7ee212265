"""Start, close, and the record of requests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller


async def test_an_emulator_listens_on_two_origins() -> None:
    """Both have the given address and ports of their own; before the start there are none."""
    emulator = Emulator()
    assert (emulator.url, emulator.artifact_url, emulator.now()) == ("", "", 0)
    async with emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
        assert emulator.artifact_url.startswith("http://127.0.0.1:")
        assert emulator.url != emulator.artifact_url


async def test_a_port_can_be_chosen() -> None:
    """The API listens on the given port; one in use is an error, and leaves nothing open."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with Emulator(port=port) as emulator:
        assert emulator.url == f"http://127.0.0.1:{port}"
        other = Emulator(port=port)
        with pytest.raises(OSError, match="in use"):
            await other.start()
        await other.aclose()


@pytest.mark.parametrize("steps", range(6))
async def test_a_connection_that_is_accepted_at_the_close_is_dropped(steps: int) -> None:
    """It is dropped in each of the steps that the loop takes to accept it."""
    emulator = Emulator()
    await emulator.start()
    address = ("127.0.0.1", int(emulator.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=1) as client:
        for _ in range(steps):
            await asyncio.sleep(0)
        await emulator.aclose()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


async def test_an_address_of_version_6_is_written_in_brackets() -> None:
    """The URL of an IPv6 address can be used as it is."""
    async with Emulator(host="::1") as emulator, aiohttp.ClientSession() as session:
        assert emulator.url.startswith("http://[::1]:")
        async with session.get(emulator.url) as response:
            assert response.status == 401


async def test_a_second_origin_that_fails_closes_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the second origin can't listen, the first is closed again."""
    emulator = Emulator()

    async def refuse(host: str, port: int) -> None:
        raise OSError(host, port)

    monkeypatch.setattr(emulator._artifacts, "start", refuse)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        await emulator.start()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(emulator.url)


async def test_closing_is_clean() -> None:
    """Closing, even twice, leaves no task and no socket, with idle and hanging requests."""
    async with aiohttp.ClientSession() as session:
        emulator = Emulator()
        await emulator.start()
        await session.get(emulator.url)
        emulator.fail("*", Fault.hang())
        hanging = [asyncio.ensure_future(session.get(emulator.url)) for _ in range(5)]
        await asyncio.sleep(1)
        await emulator.aclose()
        await emulator.aclose()
        results = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(isinstance(result, aiohttp.ClientOSError) for result in results)
        assert emulator.now() < 1.5
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(emulator.url)
        assert len(emulator.requests) == 6
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()


async def test_after_closing_an_idle_connection_is_closed() -> None:
    """Right after the close, the server's task of an idle connection is finished."""
    async with aiohttp.ClientSession() as session, Emulator() as emulator:
        async with session.get(emulator.url) as response:
            await response.read()
        assert len(asyncio.all_tasks()) == 2
        await emulator.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}


def open_files() -> int:
    """Count this process's files and sockets."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def test_closing_does_not_wait_for_a_client_that_stalls() -> None:
    """A connection in the middle of its request, or of a large answer, is dropped."""
    loop: Any = asyncio.get_running_loop()
    registered, files = set(loop._selector.get_map()), open_files()
    emulator = Emulator()
    emulator.fail("*", Fault.body(bytes(50_000_000)))
    await emulator.start()
    host, _, port = emulator.url.removeprefix("http://").partition(":")
    sockets = [socket.create_connection((host, int(port))) for _ in range(2)]
    sockets[0].sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
    sockets[1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(1)
    await emulator.aclose()
    assert emulator.now() < 2
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert set(loop._selector.get_map()) == registered
    for connection in sockets:
        connection.close()
    assert open_files() == files


async def test_an_emulator_starts_once(call: Caller) -> None:
    """A second start is an error, also after closing."""
    with pytest.raises(RuntimeError, match="started before"):
        await call.emulator.start()
    await call.emulator.aclose()
    with pytest.raises(RuntimeError, match="started before"):
        await call.emulator.start()


async def test_closing_without_a_start_is_fine() -> None:
    """An emulator that never listened has nothing to close."""
    await Emulator().aclose()


async def test_every_request_is_on_record(call: Caller) -> None:
    """A record has the request as received, its run and feature, and its status."""
    feature = call.emulator.add_feature("a/b c")
    await asyncio.sleep(3)
    run_id = int((await call("POST", "/features/a%2Fb%20c/run?x=%20&y", {})).document["runId"])
    dispatch = call.emulator.requests[0]
    assert dispatch.operation == "run_feature"
    assert dispatch.method == "POST"
    assert dispatch.path.endswith("/features/a%2Fb%20c/run")
    assert dispatch.query == {"x": " ", "y": ""}
    assert dispatch.headers["authorization"] == f"Bearer {call.emulator.api_key}"
    assert dispatch.body == b"{}"
    assert (dispatch.at, dispatch.status) == (3, 202)
    assert (dispatch.feature, dispatch.run_id) == (feature.name, None)
    await call.get(f"/runs/{run_id}")
    assert (call.emulator.requests[1].feature, call.emulator.requests[1].run_id) == (
        feature.name,
        run_id,
    )
    await call("GET", "/runs/1")
    assert (call.emulator.requests[2].run_id, call.emulator.requests[2].status) == (None, 404)
    await call("GET", "/features/none")
    assert (call.emulator.requests[3].feature, call.emulator.requests[3].status) == (None, 404)


async def test_requests_are_counted(call: Caller) -> None:
    """Requests are counted by operation, run, feature and condition."""
    first, second = await call.run("Checkout"), await call.run("Wishlist")
    for run_id in (first, second, second):
        await call.get(f"/runs/{run_id}")
    await call.get(f"/runs/{second}/diagnosis")
    count = call.emulator.count
    assert count() == 6
    assert count("get_run") == 3
    assert count("get_project") == 0
    assert count("get_run", run_id=second) == 2
    assert count("*", run_id=second) == 3
    assert count("run_feature", feature="Wishlist") == 1
    assert count(feature="Wishlist", when=lambda request: request.method == "GET") == 3
    assert count(when=lambda request: request.status == 202) == 2


async def test_requests_may_be_counted_only(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """Without a record, requests are counted by operation; other counts are an error."""
    call = await emulate(record=False)
    await call.get("")
    assert call.emulator.requests == []
    assert call.emulator.count("get_project") == call.emulator.count() == 1
    with pytest.raises(ValueError, match="record=False"):
        call.emulator.count("get_project", feature="Checkout")
