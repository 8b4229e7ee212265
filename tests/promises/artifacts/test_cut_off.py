"""Downloads that are cut off, and start over."""

import asyncio
from pathlib import Path

import pytest

from tests.support.artifact_host import Request, host, http, scripted
from tests.support.finished_run import CONTENT, finished_run, on_real_time
from testvibe_async import DownloadProgress


@pytest.mark.parametrize("size", [len(CONTENT), None])
@on_real_time
async def test_a_download_that_is_cut_off_starts_over(tmp_path: Path, size: int | None) -> None:
    """The whole file is requested again, and nothing of the first part is left in it."""

    def answer(_: Request) -> bytes:
        if len(origin.requests) == 1:
            return http(200, b"?" * 900_000, 'ETag: "one"', length=len(CONTENT))
        return http(200, CONTENT)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, size)
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        assert ["range" in request.headers for request in origin.requests] == [False, False]


@on_real_time
async def test_a_shorter_file_keeps_nothing_of_a_longer_one(tmp_path: Path) -> None:
    """A file that is shorter the second time has its second size."""

    def answer(_: Request) -> bytes:
        if len(origin.requests) == 1:
            return http(200, b"?" * 900_000, length=1_000_000)
        return http(200, CONTENT[:20])

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, None)
        await case.download()
        assert case.files() == {"a.zip": CONTENT[:20]}


@on_real_time
async def test_a_link_that_expires_after_a_cut_is_renewed(tmp_path: Path) -> None:
    """A download that was cut off, and whose link has expired by then, gets a new link."""

    def answer(_: Request) -> bytes:
        if len(origin.requests) == 1:
            return http(200, CONTENT[:100], length=len(CONTENT))
        return http(403, b"") if len(origin.requests) == 2 else http(200, CONTENT)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(CONTENT))
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        assert case.emulator.count("get_run_artifacts") == 2


@on_real_time
async def test_progress_falls_back_when_a_download_starts_over(tmp_path: Path) -> None:
    """The bytes of the first part are not counted twice."""
    done: list[int] = []
    is_seen = asyncio.Event()

    def note(progress: DownloadProgress) -> None:
        done.append(progress.done_bytes)
        if done[-1] >= 600_000:
            is_seen.set()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_first = not is_seen.is_set()
        writer.write(http(200, CONTENT[:900_000] if is_first else CONTENT, length=len(CONTENT)))
        if is_first:
            await is_seen.wait()

    async with finished_run(tmp_path) as case, scripted(serve) as origin:
        case.serve(origin, len(CONTENT))
        await case.download(on_progress=note)
    restart = next(place for place, size in enumerate(done) if place and size < done[place - 1])
    assert done[:restart] == sorted(done[:restart])
    assert done[restart:] == sorted(done[restart:])
    assert done[-1] == len(CONTENT)
