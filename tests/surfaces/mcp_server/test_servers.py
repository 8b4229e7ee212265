"""Several servers of one user share what calls began: one begins it, and the others wait."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client as McpClient

from tests.conftest import client_of
from tests.support.mcp_connection import content_of, refused, result_of, text_of, without_tests
from testvibe_async.mcp_server import make_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from testvibe_async.testing import Emulator

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("generate_feature", {"feature": "Checkout"}),
    ("generate_and_run", {"feature": "Checkout", "timeoutSeconds": 170}),
    ("run_feature", {"feature": "Checkout"}),
    ("run_features", {"features": ["Checkout"], "timeoutSeconds": 170}),
]


@asynccontextmanager
async def two_servers(emulator: Emulator, folder: Path) -> AsyncGenerator[list[McpClient]]:
    """Connect to two servers with one folder."""
    first, second = [
        make_server(lambda: client_of(emulator), state_folder=folder) for _ in range(2)
    ]
    async with McpClient(first) as one, McpClient(second) as other:
        yield [one, other]


@pytest.mark.parametrize(("tool", "arguments"), CALLS, ids=[tool for tool, _ in CALLS])
async def test_the_same_call_to_two_servers_is_made_once(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """Neither is refused: one begins, and the other waits and tells of the same."""
    without_tests(emulator, tool)
    answers: list[dict[str, Any]] = [{}]
    async with two_servers(emulator, tmp_path) as two:
        while not all(each.get("inFlight", not each) is False for each in answers):
            calls = (mcp.call_tool(tool, arguments) for mcp in two)
            answers = [content_of(each) for each in await asyncio.gather(*calls)]
    assert emulator.count("generate_feature") == tool.startswith("generate")
    assert emulator.count("run_feature") == (tool != "generate_feature")
    assert len({answer["begunAt"] for answer in answers}) == 1


async def test_a_server_that_waits_for_another_says_so(emulator: Emulator, tmp_path: Path) -> None:
    """While another server has a call in hand, it is in flight, and nothing is to be stopped."""
    without_tests(emulator)
    async with two_servers(emulator, tmp_path) as (first, second):
        await result_of(first, "generate_and_run", feature="Checkout", timeoutSeconds=5)
        for tool in ("generate_feature", "generate_and_run"):
            answer = await second.call_tool(tool, {"feature": "Checkout"})
            assert content_of(answer)["inFlight"] is True
            assert "another server of this user has the same in hand" in text_of(answer)
            assert f"call {tool} again with the same arguments" in text_of(answer)
    assert emulator.count("generate_feature") == 1


async def test_a_file_that_another_server_deletes_fails_no_call(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may be gone once the folder was read; it is cleaned up at the start alone."""
    read: list[str] = []
    glob = Path.glob

    def glob_with_one_that_is_gone(folder: Path, pattern: str) -> Iterator[Path]:
        read.append(pattern)
        yield folder / pattern.replace("*", "gone")
        yield from glob(folder, pattern)

    monkeypatch.setattr(Path, "glob", glob_with_one_that_is_gone)
    server = make_server(lambda: client_of(emulator), state_folder=tmp_path)
    async with McpClient(server) as mcp:
        at_start = list(read)
        for _ in range(2):
            digest = await result_of(mcp, "run_features", all=True, timeoutSeconds=170)
            assert digest["summary"]["errors"] == 0
    assert at_start == ["*.sqlite", "*.lock"]
    later = read[len(at_start) :]
    assert later
    assert all(each.endswith(".begun") for each in later)


async def test_a_lock_that_another_server_deletes_is_made_anew(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted while it is locked locks nothing, so the call locks it again."""
    deleted: list[Path] = []
    utime = os.utime

    def delete_first(path: Path, *times: Any) -> None:
        if not deleted:
            deleted.append(path)
            path.unlink()
        utime(path, *times)

    monkeypatch.setattr(os, "utime", delete_first)
    server = make_server(lambda: client_of(emulator), state_folder=tmp_path)
    async with McpClient(server) as mcp:
        await result_of(mcp, "run_feature", feature="Checkout")
    assert [path.suffix for path in deleted] == [".lock"]
    assert emulator.count("run_feature") == 1


def locked_journal(folder: Path) -> sqlite3.Connection:
    """Lock the only journal in a folder, as a program does that knows nothing of servers."""
    (path,) = folder.glob("*.sqlite")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


async def test_a_journal_that_another_program_has_is_left_alone(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A journal that is locked is no reason to stop anything, nor is it deleted."""
    call = {"features": ["Checkout"], "timeoutSeconds": 170}
    async with two_servers(emulator, tmp_path) as (first, second):
        await result_of(first, "run_features", **call)
        connection = locked_journal(tmp_path)
        text = await refused(second, "run_features", **call)
        connection.close()
        assert "Another program has what this call began in hand" in text
        assert "stop" not in text
        told = await result_of(second, "run_features", **call)
    assert "The result of your call at" in told["note"]
    assert emulator.count("run_feature") == 1
