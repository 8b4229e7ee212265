"""Downloads that go on, written in blocks of a byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.artifact_host import Request, host, http
from tests.support.finished_run import (
    CONTENT,
    finished_run,
    on_real_time,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@on_real_time
async def test_a_part_that_was_longer_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is shorter the second time keeps nothing of the longer first part."""
    monkeypatch.setattr("testvibe_async._artifacts.part_file.BLOCK_BYTES", 1)

    def answer(_: Request) -> bytes:
        if len(origin.requests) == 1:
            return http(200, b"?" * 50, length=100)
        return http(200, CONTENT[:20])

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, None)
        await case.download()
        assert case.files() == {"a.zip": CONTENT[:20]}
