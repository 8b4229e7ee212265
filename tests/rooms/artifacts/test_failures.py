"""Hosts that are slow or ask for a pause, with a smaller bound than the real one."""

import asyncio
from pathlib import Path

import pytest

from tests.support.artifact_host import http, scripted
from tests.support.finished_run import finished_run, on_real_time
from testvibe_async import Hooks, OutcomeUnknownError, RetryPolicy
from testvibe_async.testing import Fault


@on_real_time
async def test_retry_after_of_a_host_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Retry-After` of an artifact host is the pause, as it was and as it was reported."""
    reported: list[float] = []
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    hooks = Hooks(on_retry=lambda event: reported.append(event.delay))
    async with finished_run(tmp_path, hooks=hooks) as case:
        monkeypatch.setattr(case.client._parts.transport, "sleep", pause)
        case.emulator.fail("download", Fault.status(503, retry_after=7), times=1)
        await case.download(kinds={"trace"})
    assert reported == paused == [7.0]


@on_real_time
async def test_a_host_that_trickles_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps no download alive, however much came before."""
    monkeypatch.setattr("testvibe_async._artifacts.host.BLOCK_SECONDS", 0.2)
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, bytes(100_000), length=200_000))
        while not (reader.at_eof() or writer.is_closing()):
            writer.write(b"x")
            await asyncio.sleep(0.01)
        is_over.set()

    once = RetryPolicy(attempts=1)
    async with finished_run(tmp_path, retry=once) as case, scripted(serve) as origin:
        case.serve(origin, 200_000)
        with pytest.raises(OutcomeUnknownError, match="too slow"):
            await case.download()
        assert case.files() == {}
        await is_over.wait()


@on_real_time
async def test_a_slow_host_that_keeps_the_rate_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block has its own time, however long the whole takes."""
    monkeypatch.setattr("testvibe_async._artifacts.host.BLOCK_SECONDS", 0.2)
    monkeypatch.setattr("testvibe_async._artifacts.host.BLOCK_BYTES", 10_000)

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, b"", length=80_000))
        for _turn in range(8):
            await asyncio.sleep(0.03)
            writer.write(b"x" * 10_000)

    async with (
        finished_run(tmp_path, retry=RetryPolicy(attempts=1)) as case,
        scripted(serve) as origin,
    ):
        case.serve(origin, 80_000)
        await case.download()
        assert len(case.files()["a.zip"]) == 80_000
