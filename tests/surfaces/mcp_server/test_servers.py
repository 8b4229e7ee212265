"""Several servers of one user share what calls start: one starts it, and the others wait."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client as McpClient

from tests.conftest import client_of
from tests.support.mcp_connection import (
    Mode,
    connected,
    content_of,
    crossed,
    given_up,
    refused,
    result_of,
    text_of,
    without_tests,
)
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from testvibe_async.testing import Emulator


@asynccontextmanager
async def two_servers(
    emulator: Emulator, folder: Path, mode: Mode = "auto"
) -> AsyncGenerator[list[McpClient]]:
    """Connect to two servers with one folder."""
    first, second = [
        make_server(partial(client_of, emulator), state_folder=folder) for _ in range(2)
    ]
    async with McpClient(first, mode=mode) as one, McpClient(second, mode=mode) as other:
        yield [one, other]


@pytest.mark.parametrize("tool", ["generate_feature", "generate_and_run"])
async def test_the_same_generation_by_two_servers_is_paid_once(
    emulator: Emulator, tmp_path: Path, tool: str
) -> None:
    """Neither is refused: one starts it, and the other finds it."""
    without_tests(emulator, tool)
    ids = set[str]()
    async with two_servers(emulator, tmp_path) as two:
        for _ in range(10):
            calls = (mcp.call_tool(tool, {"feature": "Checkout"}) for mcp in two)
            for each in await asyncio.gather(*calls):
                content = content_of(each)
                ids.add((content.get("generation") or content)["requestId"])
    assert emulator.count("generate_feature") == len(ids) == 1


async def test_the_same_runs_by_two_servers_are_started_one_after_the_other(
    emulator: Emulator, tmp_path: Path
) -> None:
    """While one server has a batch in flight, the other's call waits for it, and says so."""
    call: dict[str, Any] = {"features": ["Checkout"]}
    async with two_servers(emulator, tmp_path) as (first, second):
        await result_of(first, "run_features", **call, timeoutSeconds=5)
        answer = await second.call_tool("run_features", {**call, "timeoutSeconds": 5})
        assert content_of(answer)["inFlight"] is True
        assert "call run_features again with the same arguments" in text_of(answer)
        assert len(emulator.runs) == 1
        for mcp in (first, second):
            assert (await result_of(mcp, "run_features", **call, timeoutSeconds=170))["runs"] == []
    assert len(emulator.runs) == 2


RUNS: list[tuple[str, dict[str, Any]]] = [
    ("run_feature", {"feature": "Checkout"}),
    ("run_features", {"features": ["Checkout"], "timeoutSeconds": 170}),
]

both_tools = pytest.mark.parametrize(("tool", "call"), RUNS, ids=[tool for tool, _ in RUNS])


@both_tools
async def test_a_cancellation_after_another_server_s_start_loses_no_result(
    emulator: Emulator, tmp_path: Path, tool: str, call: dict[str, Any]
) -> None:
    """An answer that turns out to be unread is given again, and not the other server's."""
    async with two_servers(emulator, tmp_path, "legacy") as (first, second):
        unread = (await result_of(first, tool, **call))["startedAt"]
        other = (await result_of(second, tool, **call))["startedAt"]
        await crossed(first, calls=3)
        again = await result_of(first, tool, **call)
        assert (again["startedAt"], len(emulator.runs)) == (unread, 2)
        new = (await result_of(second, tool, **call))["startedAt"]
    assert len({unread, other, new}) == len(emulator.runs) == 3


async def test_a_result_that_one_server_is_about_to_deliver_is_not_another_s(
    emulator: Emulator, tmp_path: Path
) -> None:
    """While an earlier result is on its way, the same call elsewhere waits, and starts its own."""
    emulator.fail("run_feature", Fault.delay(7), times=1)
    async with two_servers(emulator, tmp_path) as (first, second):
        await given_up(first, "run_feature", feature="Checkout")
        await asyncio.sleep(10)
        for operation in ("get_run", "list_runs"):
            emulator.fail(operation, Fault.delay(7), times=1)
        earlier = asyncio.create_task(result_of(first, "run_feature", feature="Checkout"))
        await asyncio.sleep(1)
        own = await result_of(second, "run_feature", feature="Checkout")
        assert "your call at" in (await earlier)["note"]
    assert "note" not in own
    assert {(await earlier)["runId"], own["runId"]} == set(emulator.runs)


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
    async with connected(emulator, state_folder=tmp_path) as mcp:
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
    """A journal that is locked is no reason to start anything, nor is it deleted."""
    without_tests(emulator)
    call = {"feature": "Checkout"}
    async with two_servers(emulator, tmp_path) as (first, second):
        started = await result_of(first, "generate_feature", **call)
        connection = locked_journal(tmp_path)
        text = await refused(second, "generate_feature", **call)
        connection.close()
        assert "is in use" in text
        told = await result_of(second, "generate_feature", **call)
    assert told["requestId"] == started["requestId"]
    assert emulator.count("generate_feature") == 1
