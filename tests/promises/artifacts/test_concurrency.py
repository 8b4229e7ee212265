"""Several downloads at once, and cancelled ones."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from tests.support.artifact_host import Request, host, http, scripted
from tests.support.finished_run import finished_run, on_real_time, until
from testvibe_async import ClientClosedError, Hooks, ResponseError, RetryPolicy
from testvibe_async.testing import Fault


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (3, 3), (4, 4), (99, 10)])
@on_real_time
async def test_downloads_at_once_are_bounded(tmp_path: Path, at_once: int, most: int) -> None:
    """max_at_once bounds how many are downloaded at once, and that many are."""
    waiting = 0
    seen = 0
    go_on = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting, seen
        waiting += 1
        seen = max(seen, waiting)
        if waiting == most:
            go_on.set()
        await go_on.wait()
        await asyncio.sleep(0)
        waiting -= 1
        writer.write(http(200, b"x"))

    async with finished_run(tmp_path) as case, scripted(serve) as origin:
        case.serve(origin, 1, *(f"{number}.zip" for number in range(10)))
        assert len(await case.download(max_at_once=at_once)) == 10
    assert seen == most


@on_real_time
async def test_the_first_failure_ends_the_others(tmp_path: Path) -> None:
    """The first error is raised bare; files that were complete stay, and others leave nothing."""

    def answer(request: Request) -> bytes | None:
        if request.target.startswith("/0"):
            return http(200, b"x")
        if request.target.startswith("/2"):
            return None
        hangs = any(request.target.startswith("/2") for request in origin.requests)
        return http(400 if hangs else 503, b"")

    many_attempts = RetryPolicy(attempts=10_000, base_delay=0)
    async with finished_run(tmp_path, retry=many_attempts) as case, host(answer) as origin:
        case.serve(origin, 1, "whole", "fails", "hangs", "never started")
        with pytest.raises(ResponseError) as caught:
            await case.download(max_at_once=2)
        assert caught.value.status == 400
        assert case.files() == {"whole": b"x"}
        assert not any(request.target.startswith("/3") for request in origin.requests)


@on_real_time
async def test_of_several_failures_one_is_raised(tmp_path: Path) -> None:
    """Several simultaneous failures raise one VibeError and no exception group."""
    async with finished_run(tmp_path) as case, host(http(400, b"")) as origin:
        case.serve(origin, 1, *(f"{number}.zip" for number in range(20)))
        with pytest.raises(ResponseError):
            await case.download(max_at_once=20)
        assert case.files() == {}


@on_real_time
async def test_no_more_connections_than_allowed(tmp_path: Path) -> None:
    """Downloads of all calls together wait for one of the client's connections."""
    at_once = most = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1
        writer.write(http(200, b"x"))

    async with finished_run(tmp_path, max_connections=2) as case, scripted(serve) as origin:
        case.list_as(*({"path": f"{n}", "url": f"{origin.url}/{n}"} for n in range(5)))
        await asyncio.gather(case.download(max_at_once=4), case.download(max_at_once=4))
    assert most == 2


@on_real_time
async def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    """Neither a file nor a task nor a connection is left, and other downloads go on."""
    async with finished_run(tmp_path) as case:

        def answer(request: Request) -> bytes | None:
            return http(200, b"x") if request.target.startswith("/0") else None

        async with host(answer) as origin:
            case.serve(origin, 1, "whole", "hangs", "too")
            task = asyncio.create_task(case.download())
            await until(lambda: len(origin.requests) == 3 and "whole" in case.files())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert case.files() == {"whole": b"x"}


@on_real_time
async def test_a_timeout_around_a_download(tmp_path: Path) -> None:
    """`asyncio.timeout` and `anyio.fail_after` work around a download."""
    async with finished_run(tmp_path) as case, host(lambda _: None) as origin:
        case.serve(origin, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await case.download()
        with pytest.raises(TimeoutError), anyio.fail_after(0.1):
            await case.download()
        assert case.files() == {}
        assert len(origin.requests) == 2


@pytest.mark.parametrize("attempts", [1, 4])
@on_real_time
async def test_closing_the_client_ends_downloads(tmp_path: Path, attempts: int) -> None:
    """They raise ClientClosedError and leave nothing; a new one is refused."""
    retry = RetryPolicy(attempts=attempts, base_delay=0)
    async with finished_run(tmp_path, retry=retry) as case, host(lambda _: None) as origin:
        case.serve(origin, 1)
        task = asyncio.create_task(case.download())
        await until(lambda: bool(origin.requests))
        await case.client.aclose()
        with pytest.raises(ClientClosedError):
            await task
        assert case.files() == {}
        with pytest.raises(ClientClosedError):
            await case.download()


@on_real_time
async def test_closing_the_client_ends_a_pause(tmp_path: Path) -> None:
    """Closing the client ends a download that waits for its next attempt."""
    async with AsyncExitStack() as stack:
        retrying = asyncio.Event()
        hooks = Hooks(on_retry=lambda _: retrying.set())
        case = await stack.enter_async_context(finished_run(tmp_path, hooks=hooks))
        case.emulator.fail("download", Fault.status(503, retry_after=60))
        task = asyncio.create_task(case.download())
        await retrying.wait()
        await case.client.aclose()
        with pytest.raises(ClientClosedError):
            await task
