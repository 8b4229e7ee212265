"""Virtual time: it jumps from timer to timer, and otherwise stands still."""

import asyncio
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import client_of
from tests.support.timing import now
from testvibe_async import NotSentError, VibeError
from testvibe_async.testing import Emulator


async def test_hours_pass_at_once() -> None:
    """Time starts at 0, and jumps to each timer exactly, in order."""
    seen: list[tuple[float, float]] = []

    async def pause(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((seconds, now()))

    assert now() == 0
    await asyncio.gather(*map(pause, (7200, 0.001, 3600)))
    assert seen == [(0.001, 0.001), (3600, 3600), (7200, 7200)]


async def test_a_thread_is_waited_for_while_nothing_is_timed() -> None:
    """Without a timer, the loop waits for threads."""
    with ThreadPoolExecutor() as pool:
        work = asyncio.get_running_loop().run_in_executor(pool, sum, range(1_000_000))
        assert await work == 499_999_500_000
    assert now() == 0


async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()


class TestPeers:
    """Peers that do not follow the clock."""

    async def test_a_server_in_another_thread_is_refused(self) -> None:
        """A connection to it is an error that says what to do, at once."""
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            pytest.raises(RuntimeError, match="is served outside this event loop"),
        ):
            await asyncio.open_connection(*listener.getsockname())
        assert now() == 0

    async def test_a_client_says_so(self, testvibe_emulator: Emulator) -> None:
        """A call of a client ends with an error that says so, and not with a time-out."""
        async with client_of(testvibe_emulator) as client:
            with pytest.raises(VibeError, match="is served outside this event loop"):
                await client.list_projects()
            with pytest.raises(NotSentError, match="is served outside this event loop"):
                await client.project().run_feature("Checkout")
        assert testvibe_emulator.requests == []

    @pytest.mark.parametrize("kind", ["at all hosts", "Unix socket"])
    async def test_a_server_in_the_loop_is_found(self, kind: str, tmp_path: Path) -> None:
        """A server may listen at all hosts, or at a path."""
        if kind == "Unix socket":
            path = str(tmp_path / "socket")
            server: asyncio.Server = await asyncio.start_unix_server(answer, path)
            reader, writer = await asyncio.open_unix_connection(path)
        else:
            server = await asyncio.start_server(answer, "0.0.0.0", 0)  # noqa: S104 - a test
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with server:
            assert await reader.read() == b"hello"
            writer.close()

    @pytest.mark.parametrize("start", ["exec", "shell"])
    async def test_a_subprocess_is_refused(self, start: str) -> None:
        """A subprocess is an error that says what to do; a blocking call is waited for."""
        create = getattr(asyncio, f"create_subprocess_{start}")
        with pytest.raises(RuntimeError, match=r"subprocess\.run in asyncio\.to_thread"):
            await create("true")
        done = await asyncio.to_thread(subprocess.run, ["true"], check=True)
        assert done.returncode == 0
