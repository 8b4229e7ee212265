"""Files on the disk: each step of writing one fails, and blocks a thread alone."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.artifact_host import host, http
from tests.support.finished_run import CONTENT, finished_run, on_real_time
from testvibe_async._artifacts import downloader, part_file
from testvibe_async._artifacts.host import BLOCK_BYTES

STEPS = [(part_file, "_create"), (downloader, "append"), (Path, "replace")]
"""What touches the disk, and where it is looked up."""


@on_real_time
async def test_a_junction_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A junction of Windows counts as a link."""
    monkeypatch.setattr("testvibe_async._artifacts.part_file._MOUNT_POINT", 0)
    async with finished_run(tmp_path) as case:
        (case.directory / "trace").mkdir(parents=True)
        with pytest.raises(NotADirectoryError):
            await case.download(kinds={"trace"})


@pytest.mark.parametrize(("module", "step"), STEPS)
@on_real_time
async def test_a_full_disk_is_an_error_of_the_operating_system(
    tmp_path: Path, module: object, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk is raised as it is, without a retry, and leaves no file."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, step, fail)
    async with finished_run(tmp_path) as case, host(http(200, CONTENT)) as origin:
        case.serve(origin, None)
        with pytest.raises(OSError, match="space") as caught:
            await case.download()
        assert caught.value.errno == errno.ENOSPC
        assert case.files() == {}
        assert len(origin.requests) == (step != "_create")


@on_real_time
async def test_the_disk_is_touched_in_threads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that may block is done in the event loop, and writes are of a block or more."""
    threads: list[threading.Thread] = []
    writes: list[int] = []

    def spy(module: object, name: str) -> None:
        whole = getattr(module, name)

        def call(*arguments: Any) -> None:
            threads.append(threading.current_thread())
            writes.extend(len(each) for each in arguments if isinstance(each, bytes))
            whole(*arguments)

        monkeypatch.setattr(module, name, call)

    for module, name in STEPS:
        spy(module, name)
    async with finished_run(tmp_path) as case, host(http(200, b"x" * 3_000_000)) as origin:
        case.serve(origin, 3_000_000)
        await case.download()
        assert len(case.files()["a.zip"]) == 3_000_000
    assert threading.main_thread() not in threads
    assert sum(writes) == 3_000_000
    assert len(writes) <= 3_000_000 / BLOCK_BYTES + 1
    assert min(writes[:-1]) >= BLOCK_BYTES
