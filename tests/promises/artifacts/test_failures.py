"""Downloads that fail on the way, are cut off, cancelled or closed, and several at once."""

import asyncio
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.finished_run import CONTENT, SECRET, Case, downloads, finished_run, until
from tests.support.peer import ONCE, Request, http
from tests.support.raising import raised
from testvibe_async import RetryPolicy, errors
from testvibe_async.testing import Fault


@pytest.mark.parametrize(
    ("fault", "kind", "sent"),
    [
        (Fault.truncated(), errors.OutcomeUnknownError, 2),
        (Fault.status(503, retry_after=0), errors.ServerError, 2),
        (Fault.status(400), errors.ResponseError, 1),
        (Fault.body(b"", status=204), errors.ResponseError, 1),
        (Fault.body(b"x", status=206), errors.ResponseError, 1),
        (Fault.body(b"x", status=416), errors.ResponseError, 1),
    ],
)
async def test_a_download_meets_a_fault(
    tmp_path: Path, fault: Fault, kind: type[errors.VibeError], sent: int
) -> None:
    """Each raises its own error after the attempts of the policy; one that passes costs a retry.

    The matrix of `test_faults` has the other faults.
    """
    twice = RetryPolicy(attempts=2, base_delay=0)
    async with finished_run(tmp_path, retry=twice) as case:
        rule = case.emulator.fail("download", fault)
        error = await raised(errors.VibeError, case.download(kinds={"trace"}))
        assert type(error) is kind
        assert downloads(case) == sent
        if isinstance(error, errors.TransportError):
            assert error.attempts == sent
        assert case.files() == {}
        rule.remove()
        if sent > 1:
            case.emulator.fail("download", fault, times=1)
            assert zipfile.is_zipfile((await case.download(kinds={"trace"}))[0])


async def test_a_slow_download_does_not_time_out(tmp_path: Path) -> None:
    """The timeout bounds the silence: a download that makes progress may take longer."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, b"", length=8))
        for _turn in range(8):
            await asyncio.sleep(1)
            writer.write(b"x")

    async with finished_run(tmp_path, timeout=5, retry=ONCE) as case, case.serving(serve, 8):
        await case.download()
        assert case.files() == {"a.zip": b"x" * 8}


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", b"zz\r\n", None),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (http(200, bytes(100_000), length=200_000), b"x", "too slow"),
    ],
    ids=["malformed chunk", "endless 100 Continue", "a byte now and then"],
)
async def test_a_host_that_ends_no_answer(
    tmp_path: Path, first: bytes, then: bytes, said: str | None
) -> None:
    """However much came before, an answer without an end is abandoned after the time-out."""
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        with suppress(ConnectionError):
            while not reader.at_eof():
                await writer.drain()
                await asyncio.sleep(1)
                writer.write(then)
        is_over.set()

    async with finished_run(tmp_path, retry=ONCE) as case, case.serving(serve, None):
        error = await raised(errors.VibeError, case.download(), match=said)
        await is_over.wait()
        assert case.files() == {}
    assert type(error) is errors.OutcomeUnknownError
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    ("size", "content"), [(len(CONTENT), CONTENT), (None, CONTENT), (None, CONTENT[:20])]
)
async def test_a_cut_starts_over(case: Case, size: int | None, content: bytes) -> None:
    """The whole file is requested again, and nothing of the first part is left in it."""

    def answer(_: Request) -> bytes:
        if len(origin.requests) == 1:
            return http(200, b"?" * 900_000, 'ETag: "one"', length=len(CONTENT))
        return http(200, content)

    async with case.serving(answer, size) as origin:
        await case.download()
        assert case.files() == {"a.zip": content}
        assert ["range" in request.headers for request in origin.requests] == [False, False]


@pytest.mark.parametrize(
    ("calls", "at_once", "most"), [(1, 1, 1), (1, 3, 3), (1, 4, 4), (1, 99, 7), (2, 4, 7)]
)
async def test_downloads_are_bounded(tmp_path: Path, calls: int, at_once: int, most: int) -> None:
    """`max_at_once` bounds those of a call, and the client's connections those of all calls."""
    waiting = seen = 0
    go_on = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting, seen
        waiting += 1
        seen = max(seen, waiting)
        if waiting == most:
            go_on.set()
        await go_on.wait()
        await asyncio.sleep(0.05)
        waiting -= 1
        writer.write(http(200, b"x"))

    paths = (f"{number}.zip" for number in range(10))
    async with finished_run(tmp_path, max_connections=7) as case, case.serving(serve, None, *paths):
        await asyncio.gather(*(case.download(max_at_once=at_once) for _ in range(calls)))
        assert len(case.files()) == 10
    assert seen == most


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
    paths = ("whole", "fails", "hangs", "never started")
    running = finished_run(tmp_path, retry=many_attempts)
    async with running as case, case.serving(answer, 1, *paths) as origin:
        error = await raised(errors.ResponseError, case.download(max_at_once=2))
        assert error.status == 400
        assert case.files() == {"whole": b"x"}
        assert not any(request.target.startswith("/3") for request in origin.requests)


async def test_a_cancelled_download_leaves_nothing(case: Case) -> None:
    """Neither a file nor a task nor a connection is left, and other downloads go on."""

    def answer(request: Request) -> bytes | None:
        return http(200, b"x") if request.target.startswith("/0") else None

    async with case.serving(answer, 1, "whole", "hangs", "too") as origin:
        task = asyncio.create_task(case.download())
        await until(lambda: len(origin.requests) == 3 and (case.directory / "whole").exists())
        task.cancel()
        await raised(asyncio.CancelledError, task)
        assert case.files() == {"whole": b"x"}


@pytest.mark.parametrize("attempts", [1, 4])
async def test_closing_the_client_ends_downloads(tmp_path: Path, attempts: int) -> None:
    """They raise ClientClosedError and leave nothing; a new one is refused."""
    retry = RetryPolicy(attempts=attempts, base_delay=0)
    running = finished_run(tmp_path, retry=retry)
    async with running as case, case.serving(lambda _: None, 1) as origin:
        task = asyncio.create_task(case.download())
        await until(lambda: bool(origin.requests))
        await case.client.aclose()
        await raised(errors.ClientClosedError, task)
        assert case.files() == {}
        await raised(errors.ClientClosedError, case.download())
