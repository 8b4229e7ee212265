"""Downloads that fail on the way: what is repeated, and what error ends them."""

import asyncio
import traceback
import zipfile
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.support.artifact_host import Request, host, http, scripted
from tests.support.finished_run import CONTENT, SECRET, downloads, finished_run, on_real_time
from testvibe_async import (
    MalformedResponseError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    ServerError,
    TransportError,
    VibeError,
)
from testvibe_async.testing import Fault


@pytest.mark.parametrize(
    "fault",
    [
        Fault.reset(),
        Fault.truncated(),
        Fault.hang(),
        Fault.status(500),
        Fault.status(503, retry_after=0),
        Fault.status(429),
    ],
    ids=["reset", "truncated", "hang", "500", "503", "429"],
)
@on_real_time
async def test_a_failure_that_passes_is_retried(tmp_path: Path, fault: Fault) -> None:
    """A download that fails on the way is repeated, as reads are."""
    async with finished_run(tmp_path, timeout=0.3) as case:
        case.emulator.fail("download", fault, times=3)
        paths = await case.download(kinds={"trace"})
        assert zipfile.is_zipfile(paths[0])
        assert case.emulator.count("get_run_artifacts") == 1


@pytest.mark.parametrize(
    ("fault", "kind", "sent"),
    [
        (Fault.reset(), OutcomeUnknownError, 4),
        (Fault.truncated(), OutcomeUnknownError, 4),
        (Fault.hang(), OutcomeUnknownError, 4),
        (Fault.garbage(), MalformedResponseError, 1),
        (Fault.status(500), ServerError, 4),
        (Fault.status(503, retry_after=0), ServerError, 4),
        (Fault.status(429), RateLimitedError, 4),
        (Fault.status(400), ResponseError, 1),
        (Fault.body(b"", status=204), ResponseError, 1),
        (Fault.body(b"x", status=206), ResponseError, 1),
        (Fault.body(b"x", status=416), ResponseError, 1),
    ],
    ids=["reset", "truncated", "hang", "garbage", "500", "503", "429", "400", "204", "206", "416"],
)
@on_real_time
async def test_a_failure_that_stays_is_raised(
    tmp_path: Path, fault: Fault, kind: type[VibeError], sent: int
) -> None:
    """Each fault raises its own error after the attempts of the policy, and leaves no file."""
    async with finished_run(tmp_path, timeout=0.3) as case:
        case.emulator.fail("download", fault)
        with pytest.raises(VibeError) as caught:
            await case.download(kinds={"trace"})
        assert type(caught.value) is kind
        assert downloads(case) in ({sent, 2 * sent} if fault.kind == "reset" else {sent})
        if isinstance(caught.value, TransportError):
            assert caught.value.attempts == 4
        assert case.files() == {}


@on_real_time
async def test_a_slow_download_does_not_time_out(tmp_path: Path) -> None:
    """The timeout bounds the silence: a download that makes progress may take longer."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, b"", length=8))
        for _turn in range(8):
            await asyncio.sleep(0.1)
            writer.write(b"x")

    async with (
        finished_run(tmp_path, timeout=0.5, retry=RetryPolicy(attempts=1)) as case,
        scripted(serve) as origin,
    ):
        case.serve(origin, 8)
        await case.download()
        assert case.files() == {"a.zip": b"x" * 8}


@on_real_time
async def test_a_host_that_can_not_be_reached(tmp_path: Path) -> None:
    """A refused connection raises NotSentError, caused by the error of the system."""
    async with finished_run(tmp_path) as case:
        async with host(b"") as origin:
            case.serve(origin, 1)
        with pytest.raises(NotSentError, match="could not connect") as caught:
            await case.download()
        assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)


@on_real_time
async def test_a_host_that_does_not_take_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is not made in time raises NotSentError, without the link."""
    async with finished_run(tmp_path, timeout=0.2) as case:
        case.list_as({"path": "a", "url": f"http://127.0.0.1:9/x?{SECRET}"})

        async def sock_connect(*_: object) -> None:
            await asyncio.sleep(60)

        await case.client.list_projects()
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
        with pytest.raises(NotSentError, match="could not connect") as caught:
            await case.download()
        assert SECRET not in "".join(traceback.format_exception(caught.value))


@on_real_time
async def test_a_chunk_that_can_not_be_read_is_a_connection_lost(tmp_path: Path) -> None:
    """A malformed chunk, which aiohttp does not report, ends the download after its timeout."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"zz\r\n")

    once = RetryPolicy(attempts=1)
    async with finished_run(tmp_path, timeout=0.3, retry=once) as case, scripted(serve) as origin:
        case.list_as({"path": "a", "url": f"{origin.url}/?{SECRET}"})
        with pytest.raises(VibeError) as caught:
            await case.download()
        assert case.files() == {}
    assert SECRET not in str(caught.value)


@on_real_time
async def test_endless_interim_answers_time_out(tmp_path: Path) -> None:
    """A host that sends only 100 Continue is given up after the timeout."""

    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        is_over.set()

    once = RetryPolicy(attempts=1)
    async with finished_run(tmp_path, timeout=0.3, retry=once) as case, scripted(serve) as origin:
        case.list_as({"path": "a", "url": f"{origin.url}/?{SECRET}"})
        with pytest.raises(OutcomeUnknownError, match="no answer"):
            await case.download()
        await is_over.wait()


@pytest.mark.parametrize("refusals", [False, True])
@on_real_time
async def test_a_host_that_gives_a_byte_at_a_time_is_given_up(
    tmp_path: Path, *, refusals: bool
) -> None:
    """Connections that bring a byte each end a download, with new links in between too."""

    def answer(_: Request) -> bytes:
        if refusals and len(origin.requests) % 2:
            return http(403, b"")
        return http(200, CONTENT[:1], length=len(CONTENT))

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(CONTENT))
        with pytest.raises((OutcomeUnknownError, ResponseError)):
            await case.download()
        assert len(origin.requests) <= 10
        assert case.files() == {}
