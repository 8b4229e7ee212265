"""Threads that work on the disk while a download is cancelled."""

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.artifact_host import host, http
from tests.support.finished_run import CONTENT, downloads, finished_run, on_real_time, until
from testvibe_async import ClientClosedError
from testvibe_async._artifacts import downloader, part_file
from testvibe_async._artifacts.downloader import Downloader
from testvibe_async._artifacts.part_file import in_thread

STEPS = [(part_file, "_create"), (downloader, "append"), (Path, "replace"), (part_file, "_remove")]
"""What touches the disk, and where it is looked up."""


@pytest.mark.parametrize(("module", "step"), STEPS)
@pytest.mark.parametrize("times", [1, 3])
@on_real_time
async def test_a_cancellation_waits_for_the_disk(
    tmp_path: Path, module: object, step: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled download waits for its thread before it removes the file."""
    started, go_on = threading.Event(), threading.Event()
    whole = getattr(module, step)

    def slow(*arguments: object) -> None:
        started.set()
        go_on.wait(10)
        whole(*arguments)

    monkeypatch.setattr(module, step, slow)
    async with finished_run(tmp_path) as case, host(http(200, CONTENT)) as origin:
        case.serve(origin, len(CONTENT))
        task = asyncio.create_task(case.download())
        await until(started.is_set)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        is_whole = step in {"replace", "_remove"}
        assert case.files() == ({"a.zip": CONTENT} if is_whole else {})


@on_real_time
async def test_a_cancellation_wins_over_an_error_of_the_disk() -> None:
    """A task that is cancelled while its thread fails is cancelled, and logs nothing."""
    started, go_on = threading.Event(), threading.Event()

    def fail() -> None:
        started.set()
        go_on.wait(10)
        raise OSError

    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    task = asyncio.create_task(in_thread(fail))
    await until(started.is_set)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    del task
    gc.collect()
    assert reported == []


@on_real_time
async def test_a_cancelled_scope_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a thread is at work in a scope that was cancelled, the event loop stays idle."""
    go_on = threading.Event()
    waits = 0
    wait = asyncio.wait

    async def count(*arguments: Any, **options: Any) -> Any:
        nonlocal waits
        waits += 1
        return await wait(*arguments, **options)

    monkeypatch.setattr(asyncio, "wait", count)
    asyncio.get_running_loop().call_later(0.1, go_on.set)
    with anyio.move_on_after(0.01) as scope:
        await in_thread(go_on.wait, 10)
        await asyncio.sleep(0)
    assert scope.cancelled_caught
    assert waits == 1


@on_real_time
async def test_a_download_that_begins_after_the_close_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is still queued when the client closes is not requested."""
    async with finished_run(tmp_path) as case:
        fetch = Downloader._download_all

        async def fetch_later(*arguments: Any) -> None:
            await case.client.aclose()
            await fetch(*arguments)

        monkeypatch.setattr(Downloader, "_download_all", fetch_later)
        with pytest.raises(ClientClosedError):
            await case.download()
        assert downloads(case) == 0
