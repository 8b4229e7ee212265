"""Clients that give up and call again, also to several servers: nothing is started twice."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.mcp_connection import (
    Connection,
    Listener,
    Mode,
    connected,
    content_of,
    text_of,
    texts_of,
    without_tests,
)
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from testvibe_async.testing import Emulator

MINE: list[tuple[str, dict[str, Any], int]] = [
    ("wait_for_run", {"runId": 214}, 120),
    ("wait_for_generation", {"feature": "Returns"}, 120),
    ("wait_for_runs", {"runIds": [214]}, 45),
    ("run_features", {"features": ["Checkout"]}, 45),
    ("generate_and_run", {"feature": "Checkout"}, 45),
]


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(("tool", "arguments", "seconds"), MINE, ids=[each[0] for each in MINE])
async def test_a_wait_has_an_end(
    emulator: Emulator, tool: str, arguments: dict[str, Any], seconds: int
) -> None:
    """A wait returns after 45 or 120 s, and says something at least every 10 s until then."""
    listener, spoken = Listener(), list[float]()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        spoken.append(now())
        await listener(progress, total, message)

    async with connected(emulator) as mcp:
        await mcp.result("run_feature", feature="Checkout")
        if "gener" in tool:
            without_tests(emulator)
            await mcp.result("generate_feature", feature="Returns")
        emulator.fail("get_run", Fault.edit(lambda run: {**run, "status": "running"}))
        emulator.fail("list_runs", Fault.status(404))
        await mcp.list_tools()
        began = now()
        answer = await mcp.call_tool(tool, arguments, progress_callback=note)
        assert now() - began == pytest.approx(seconds, abs=1.5)
    assert content_of(answer)["inFlight"] is True
    gaps = [later - earlier for earlier, later in zip([began, *spoken], spoken, strict=False)]
    assert max(gaps) < 10.5
    assert listener.numbers == list(range(1, len(listener.numbers) + 1))


RUNS: list[tuple[str, dict[str, Any]]] = [
    ("run_feature", {"feature": "Checkout"}),
    ("run_features", {"features": ["Checkout", "Wishlist"], "timeoutSeconds": 170}),
]

EVERY: dict[str, Any] = {"all": True, "timeoutSeconds": 170}

all_runs = pytest.mark.parametrize(("tool", "arguments"), RUNS, ids=str)


def runs_of_checkout(emulator: Emulator) -> int:
    return sum(run.feature_name == "Checkout" for run in emulator.runs.values())


@all_runs
async def test_each_call_starts_runs(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """A result that was delivered is not repeated: not at once, by no other server, nor later."""
    for number in range(1, 4):
        async with connected(emulator, state_folder=tmp_path) as mcp:
            for more in (0, 1):
                answer = await mcp.result(tool, **arguments)
                assert not answer.get("note")
                assert runs_of_checkout(emulator) == 2 * number - 1 + more


@all_runs
async def test_a_result_that_was_not_delivered_comes_first_and_once(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """After a client gave up, also if its server ended, its call returns that result; then new."""
    emulator.fail("run_feature", Fault.delay(7))
    for seconds in (0, 3_600):
        before = runs_of_checkout(emulator)
        async with connected(emulator, state_folder=tmp_path) as mcp:
            await mcp.give_up(tool, **arguments)
        await asyncio.sleep(seconds)
        async with connected(emulator, state_folder=tmp_path) as mcp:
            first = await mcp.result(tool, **arguments)
            assert runs_of_checkout(emulator) == before + 1
            assert "your call at" in first["note"]
            second = await mcp.result(tool, **arguments)
            assert runs_of_checkout(emulator) == before + 2
            assert not second.get("note")
        assert first["startedAt"] != second["startedAt"]


@all_runs
async def test_a_result_whose_answer_was_cancelled_on_its_way_is_not_delivered(
    emulator: Emulator, tool: str, arguments: dict[str, Any]
) -> None:
    """A cancellation that crosses the answer keeps the result for the next call, and once."""
    async with connected(emulator, "legacy") as mcp:
        await mcp.call_tool(tool, arguments)
        await mcp.cross(calls=3)
        assert "your call at" in (await mcp.result(tool, **arguments))["note"]
        assert runs_of_checkout(emulator) == 1
        assert not (await mcp.result(tool, **arguments)).get("note")
        assert runs_of_checkout(emulator) == 2


async def test_two_calls_of_one_run_at_once_are_two_runs(emulator: Emulator) -> None:
    """Calls that do not wait for each other's answers start a run each."""
    async with connected(emulator) as mcp:
        calls = (mcp.result("run_feature", feature="Checkout") for _ in range(2))
        ids = {answer["runId"] for answer in await asyncio.gather(*calls)}
    assert len(ids) == len(emulator.runs) == 2


@pytest.mark.parametrize(
    ("operation", "status", "call", "said"),
    [
        ("run_feature", 409, RUNS[0], "get_feature shows"),
        ("list_features", 401, ("run_features", EVERY), "TESTVIBE_API_KEY"),
    ],
)
async def test_what_was_refused_is_tried_anew(
    emulator: Emulator, operation: str, status: int, call: tuple[str, dict[str, Any]], said: str
) -> None:
    """What the service refused, a dispatch or a list, is not remembered."""
    tool, arguments = call
    async with connected(emulator) as mcp:
        rule = emulator.fail(operation, Fault.status(status))
        assert said in await mcp.refused(tool, **arguments)
        rule.remove()
        assert not (await mcp.result(tool, **arguments)).get("note")
    assert runs_of_checkout(emulator) == 1


async def test_a_batch_is_the_same_in_any_order_and_case(emulator: Emulator) -> None:
    """The same features are the same call, a feature named twice runs once; others are another."""
    number = str(emulator.features["Checkout"].id)
    async with connected(emulator) as mcp:
        for features, config, runs in (
            (["Checkout", "Wishlist"], None, 2),
            (["WISHLIST", "checkout"], None, 2),
            (["Checkout", "CHECKOUT", number], None, 3),
            (["Checkout"], "Default", 4),
        ):
            call = {"features": features, "config": config, "timeoutSeconds": 1}
            await mcp.result("run_features", **call)
            assert emulator.count("run_feature") == runs


async def test_a_failure_on_the_way_does_not_generate_again(emulator: Emulator) -> None:
    """A wait that failed continues with the generation that it had started."""
    without_tests(emulator)
    async with connected(emulator, max_generations=1) as mcp:
        await mcp.result("generate_and_run", feature="Checkout", timeoutSeconds=5)
        rule = emulator.fail("get_generation_status", Fault.status(403))
        assert "TESTVIBE_API_KEY" in await mcp.refused("generate_and_run", feature="Checkout")
        rule.remove()
        await asyncio.sleep(400)
        both = await mcp.result("generate_and_run", feature="Checkout", timeoutSeconds=170)
    assert both["run"]["status"] == "passed"
    assert emulator.count("generate_feature") == 1


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [*(each[:2] for each in MINE[3:]), ("run_features", {"all": True})],
    ids=str,
)
async def test_a_call_after_a_restart_continues(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """Another server continues what was started; one that may start no generation does so too."""
    without_tests(emulator, tool)
    content, options = dict[str, Any](inFlight=True), dict[str, Any](max_generations=1)
    while content["inFlight"]:
        async with connected(emulator, state_folder=tmp_path / "state", **options) as mcp:
            content = await mcp.result(tool, **arguments, timeoutSeconds=20)
        options["max_generations"] = 0
    assert runs_of_checkout(emulator) == 1
    assert len(emulator.generations) == (tool == "generate_and_run")


@pytest.mark.parametrize(("tool", "arguments"), [RUNS[0], MINE[3][:2]], ids=str)
async def test_a_run_that_is_unknown_is_reported_once(
    emulator: Emulator, tool: str, arguments: dict[str, Any]
) -> None:
    """It is not in flight, and the answer says what to check before a call that starts another."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=1)
    async with connected(emulator) as mcp:
        answer = await mcp.call_tool(tool, arguments)
        assert "check list_runs of the feature" in " ".join(texts_of(answer))
        assert emulator.count("run_feature") == 1
        if tool == "run_features":
            digest = content_of(answer)
            assert (digest["verdict"], digest["inFlight"]) == ("unknown", False)
            assert "'unknown' may have been dispatched: before you run" in digest["note"]
        await mcp.result(tool, **arguments)
    assert emulator.count("run_feature") == 2


async def test_old_journals_are_deleted(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that no call has used for a month is deleted when a server starts."""
    stale = tmp_path / "other.sqlite"
    for age in (29, 31):
        stale.touch()
        written = stale.stat().st_mtime
        monkeypatch.setattr(
            "testvibe_async.mcp_server.journals.time.time",
            lambda at=written + age * 86_400: at,
        )
        async with connected(emulator, state_folder=tmp_path):
            assert stale.exists() == (age == 29)


async def test_a_journal_that_can_t_be_kept_starts_nothing(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Without a place for its journal nothing is started."""
    (tmp_path / "file").touch()
    without_tests(emulator)
    async with connected(emulator, state_folder=tmp_path / "file") as mcp:
        for tool, arguments in (
            ("run_features", {"features": ["Checkout"]}),
            ("generate_feature", {"feature": "Checkout"}),
        ):
            assert "nothing was started" in await mcp.refused(tool, **arguments)
    assert emulator.count("run_feature") == emulator.count("generate_feature") == 0


@asynccontextmanager
async def two_servers(
    emulator: Emulator, folder: Path, mode: Mode = "auto"
) -> AsyncGenerator[list[Connection]]:
    """Connect to two servers with one folder."""
    options: Any = {"mode": mode, "state_folder": folder}
    async with connected(emulator, **options) as one, connected(emulator, **options) as other:
        yield [one, other]


@pytest.mark.parametrize("tool", ["generate_feature", "generate_and_run"])
async def test_the_same_generation_by_two_servers_is_paid_once(
    emulator: Emulator, tmp_path: Path, tool: str
) -> None:
    """Neither is refused: one starts it, and the other finds it."""
    without_tests(emulator, tool)
    ids = set[str]()
    async with two_servers(emulator, tmp_path) as two:
        for _ in range(4):
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
        await first.result("run_features", **call, timeoutSeconds=5)
        answer = await second.call_tool("run_features", {**call, "timeoutSeconds": 5})
        assert content_of(answer)["inFlight"] is True
        assert "call run_features again with the same arguments" in text_of(answer)
        assert len(emulator.runs) == 1
        for mcp in (first, second):
            assert (await mcp.result("run_features", **call, timeoutSeconds=170))["runs"] == []
    assert len(emulator.runs) == 2


@all_runs
async def test_a_cancellation_after_another_server_s_start_loses_no_result(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """An answer that turns out to be unread is given again, and not the other server's."""
    async with two_servers(emulator, tmp_path, "legacy") as (first, second):
        unread = (await first.result(tool, **arguments))["startedAt"]
        other = (await second.result(tool, **arguments))["startedAt"]
        await first.cross(calls=3)
        again = await first.result(tool, **arguments)
        assert (again["startedAt"], runs_of_checkout(emulator)) == (unread, 2)
        new = (await second.result(tool, **arguments))["startedAt"]
    assert len({unread, other, new}) == runs_of_checkout(emulator) == 3


async def test_a_result_that_one_server_is_about_to_deliver_is_not_another_s(
    emulator: Emulator, tmp_path: Path
) -> None:
    """While an earlier result is on its way, the same call elsewhere waits, and starts its own."""
    emulator.fail("run_feature", Fault.delay(7), times=1)
    async with two_servers(emulator, tmp_path) as (first, second):
        await first.give_up("run_feature", feature="Checkout")
        await asyncio.sleep(10)
        for operation in ("get_run", "list_runs"):
            emulator.fail(operation, Fault.delay(7), times=1)
        earlier = asyncio.create_task(first.result("run_feature", feature="Checkout"))
        await asyncio.sleep(1)
        own = await second.result("run_feature", feature="Checkout")
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
        await mcp.result("run_feature", feature="Checkout")
    assert [path.suffix for path in deleted] == [".lock"]
    assert emulator.count("run_feature") == 1


async def test_a_journal_that_another_program_has_is_left_alone(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A journal that is locked is no reason to start anything, nor is it deleted."""
    without_tests(emulator)
    call = {"feature": "Checkout"}
    async with two_servers(emulator, tmp_path) as (first, second):
        started = await first.result("generate_feature", **call)
        (path,) = tmp_path.glob("*.sqlite")  # noqa: ASYNC240 - a folder of a few files
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        text = await second.refused("generate_feature", **call)
        connection.close()
        assert "is in use" in text
        told = await second.result("generate_feature", **call)
    assert told["requestId"] == started["requestId"]
    assert emulator.count("generate_feature") == 1
