"""Clients that give up and call again: nothing is started twice, and nothing is untold."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client as McpClient

from tests.conftest import client_of
from tests.support.mcp_connection import (
    Listener,
    connected,
    content_of,
    refused,
    result_of,
    texts_of,
    without_tests,
)
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from testvibe_async.testing import Emulator

MINE = [
    ("wait_for_runs", {"runIds": [214]}),
    ("run_features", {"features": ["Checkout"]}),
    ("generate_and_run", {"feature": "Checkout"}),
]


TIME = time.time


def now() -> float:
    return asyncio.get_running_loop().time()


async def given_up(mcp: McpClient, tool: str, **arguments: Any) -> None:
    """Call a tool, and give up after 3 s, as a client does that says so."""
    call = asyncio.create_task(mcp.call_tool(tool, arguments))
    await asyncio.sleep(3)
    call.cancel()
    await asyncio.wait([call])


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have files be as many seconds older, and those that are written now as young as they are."""
    later = TIME() + seconds

    def touch(path: Path, **_: Any) -> None:
        path.open("a").close()
        os.utime(path, (later, later))

    monkeypatch.setattr("testvibe_async.mcp_server.journals.time.time", lambda: later)
    monkeypatch.setattr("testvibe_async.mcp_server.journals.Path.touch", touch)


@pytest.mark.parametrize(("tool", "arguments"), MINE, ids=[tool for tool, _ in MINE])
async def test_our_own_tools_wait_45_s(
    emulator: Emulator, tool: str, arguments: dict[str, Any]
) -> None:
    """A wait returns after 45 s, and says something at least every 10 s until then."""
    listener, spoken = Listener(), list[float]()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        spoken.append(now())
        await listener(progress, total, message)

    async with connected(emulator) as mcp:
        await result_of(mcp, "run_feature", feature="Checkout")
        without_tests(emulator, tool)
        emulator.fail("get_run", Fault.edit(lambda run: {**run, "status": "running"}))
        emulator.fail("list_runs", Fault.status(404))
        await mcp.list_tools()
        began = now()
        answer = await mcp.call_tool(tool, arguments, progress_callback=note)
        assert now() - began == pytest.approx(45, abs=1.5)
    assert content_of(answer)["inFlight"] is True
    gaps = [later - earlier for earlier, later in zip([began, *spoken], spoken, strict=False)]
    assert max(gaps) < 10.5
    assert listener.numbers == list(range(1, len(listener.numbers) + 1))


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        *MINE[1:],
        ("run_features", {"all": True}),
        ("run_feature", {"feature": "Checkout"}),
        ("generate_feature", {"feature": "Checkout"}),
    ],
    ids=str,
)
async def test_a_call_after_one_that_was_given_up_starts_nothing(
    emulator: Emulator, tool: str, arguments: dict[str, Any]
) -> None:
    """Given up twice, also while the dispatch itself is slow, the third call has the answer."""
    without_tests(emulator, tool)
    emulator.fail("run_feature", Fault.delay(7))
    emulator.fail("generate_feature", Fault.delay(7))
    async with connected(emulator) as mcp:
        await given_up(mcp, tool, **arguments)
        await given_up(mcp, tool, **arguments)
        answer = await mcp.call_tool(tool, arguments)
        assert not answer.is_error, texts_of(answer)
    features = [run.feature_name for run in emulator.runs.values()]
    assert len(features) == len(set(features))
    assert len(emulator.generations) <= 1
    if tool in {"run_feature", "generate_feature"}:
        assert "Nothing was started: your earlier call did at" in texts_of(answer)[0]
        assert "It goes on: wait_for_" in texts_of(answer)[0]


@pytest.mark.parametrize("tool", ["run_feature", "generate_feature"])
async def test_the_same_dispatch_is_made_once(emulator: Emulator, tool: str) -> None:
    """A second call tells of the first's operation; `again` begins anew once that is over."""
    without_tests(emulator, tool)
    async with connected(emulator) as mcp:
        first = await result_of(mcp, tool, feature="Checkout")
        for again in (False, True):
            goes_on = await result_of(mcp, tool, feature="CHECKOUT", again=again)
            assert goes_on["begunAt"] == first["begunAt"]
            assert goes_on["status"] in {"running", "generating"}
            assert "It goes on: wait_for_" in goes_on["note"]
        await asyncio.sleep(500)
        over = await result_of(mcp, tool, feature="Checkout")
        assert "To begin anew pass `again: true`." in over["note"]
        assert emulator.count(tool) == 1
        anew = await result_of(mcp, tool, feature="Checkout", again=True)
        assert anew["begunAt"] != first["begunAt"]
        assert "note" not in anew
    assert emulator.count(tool) == 2


@pytest.mark.parametrize("tool", ["run_feature", "run_features"])
async def test_what_ended_long_ago_is_begun_anew(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    """Ten minutes after the last answer, what has ended is no answer to the same call any more."""
    arguments: dict[str, Any] = {"feature": "Checkout"}
    if tool == "run_features":
        arguments = {"features": ["Checkout"], "timeoutSeconds": 170}
    async with connected(emulator) as mcp:
        for minutes, calls in ((0, 1), (9, 1), (18, 1), (40, 2)):
            pass_time(monkeypatch, minutes * 60)
            await result_of(mcp, tool, **arguments)
            assert emulator.count("run_feature") == calls
            await asyncio.sleep(60)


async def test_what_goes_on_for_long_is_not_begun_anew(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was dispatched ten minutes ago and goes on is told, and not refused."""
    emulator.fail("get_run", Fault.edit(lambda run: {**run, "status": "running"}))
    emulator.fail("list_runs", Fault.status(404))
    async with connected(emulator) as mcp:
        first = await result_of(mcp, "run_feature", feature="Checkout")
        pass_time(monkeypatch, 3_600)
        assert (await result_of(mcp, "run_feature", feature="Checkout"))["runId"] == first["runId"]
    assert emulator.count("run_feature") == 1


async def test_what_was_refused_is_tried_anew(emulator: Emulator) -> None:
    """A dispatch that the service refused is not remembered."""
    emulator.add_feature("Gift cards", status="draft")
    async with connected(emulator) as mcp:
        text = await refused(mcp, "run_feature", feature="Gift cards")
        assert "Call generate_feature first" in text
        await result_of(mcp, "generate_feature", feature="Gift cards")
        await asyncio.sleep(500)
        assert (await result_of(mcp, "run_feature", feature="Gift cards"))["runId"] == 214


async def test_a_batch_is_the_same_in_any_order_and_case(emulator: Emulator) -> None:
    """The same features in another order and case are the same call; other arguments are not."""
    async with connected(emulator) as mcp:
        await result_of(mcp, "run_features", features=["Checkout", "Wishlist"], timeoutSeconds=1)
        await result_of(mcp, "run_features", features=["WISHLIST", "checkout"], timeoutSeconds=1)
        assert emulator.count("run_feature") == 2
        await result_of(
            mcp, "run_features", features=["Checkout"], config="Default", timeoutSeconds=1
        )
    assert emulator.count("run_feature") == 3


async def test_a_feature_named_twice_runs_once(emulator: Emulator) -> None:
    """A name in another case, and an id that means the same, are one run."""
    number = str(emulator.features["Checkout"].id)
    async with connected(emulator) as mcp:
        digest = await result_of(
            mcp, "run_features", features=["Checkout", "CHECKOUT", number], timeoutSeconds=170
        )
    assert digest["summary"]["total"] == 1
    assert emulator.count("run_feature") == 1


async def test_a_failure_on_the_way_does_not_generate_again(emulator: Emulator) -> None:
    """A wait that failed goes on with the generation that it had started."""
    without_tests(emulator)
    server = make_server(lambda: client_of(emulator), max_generations=1)
    async with McpClient(server) as mcp:
        await result_of(mcp, "generate_and_run", feature="Checkout", timeoutSeconds=5)
        rule = emulator.fail("get_generation_status", Fault.status(403))
        assert "TESTVIBE_API_KEY" in await refused(mcp, "generate_and_run", feature="Checkout")
        rule.remove()
        await asyncio.sleep(400)
        both = await result_of(mcp, "generate_and_run", feature="Checkout", timeoutSeconds=170)
    assert both["run"]["status"] == "passed"
    assert emulator.count("generate_feature") == 1


async def test_what_nobody_knows_is_not_generated_again(emulator: Emulator) -> None:
    """A generation that may have started is told again as such, until asked to begin anew."""
    without_tests(emulator)
    emulator.fail("generate_feature", Fault.lost(), times=1)
    broken = emulator.fail("get_generation_status", Fault.status(503))
    async with connected(emulator) as mcp:
        for _ in range(2):
            text = await refused(mcp, "generate_and_run", feature="Checkout", timeoutSeconds=170)
            assert "It may have started" in text
        broken.remove()
        assert emulator.count("generate_feature") == 1
        text = await refused(mcp, "generate_and_run", feature="Checkout", again=True)
        assert "Nothing was started. Wait for the one in flight with wait_for_generation" in text
    assert len(emulator.generations) == 1


async def test_what_is_begun_anew_is_not_begun_anew_twice(emulator: Emulator) -> None:
    """`again` holds for the call that has it: a later one goes on with what that began."""
    without_tests(emulator)
    emulator.fail("generate_feature", Fault.lost(), times=2)
    broken = emulator.fail("get_generation_status", Fault.status(503))
    async with connected(emulator) as mcp:
        for again in (False, True, False):
            await refused(
                mcp, "generate_and_run", feature="Checkout", again=again, timeoutSeconds=170
            )
        broken.remove()
    assert emulator.count("generate_feature") == 2


async def test_a_refused_batch_is_begun_anew(emulator: Emulator) -> None:
    """A batch that began nothing is not remembered."""
    rule = emulator.fail("list_features", Fault.status(401))
    async with connected(emulator) as mcp:
        assert "TESTVIBE_API_KEY" in await refused(mcp, "run_features", all=True)
        rule.remove()
        digest = await result_of(mcp, "run_features", all=True, timeoutSeconds=170)
    assert digest["summary"]["succeeded"] >= 1


@pytest.mark.parametrize(
    ("tool", "arguments"), [*MINE[1:], ("run_features", {"all": True})], ids=str
)
async def test_a_call_after_a_restart_goes_on(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """Another server with the same folder goes on with what was begun, and tells what has ended."""
    without_tests(emulator, tool)
    answer: Any = None
    for seconds in (20, 170, 170):
        server = make_server(lambda: client_of(emulator), state_folder=tmp_path / "state")
        async with McpClient(server) as mcp:
            for _ in range(2):
                answer = await mcp.call_tool(tool, {**arguments, "timeoutSeconds": seconds})
                assert not answer.is_error, texts_of(answer)
    assert content_of(answer)["inFlight"] is False
    assert "The result of your call at" in texts_of(answer)[0]
    features = [run.feature_name for run in emulator.runs.values()]
    assert len(features) == len(set(features)) >= 1
    assert len(emulator.generations) == (tool == "generate_and_run")


@pytest.mark.parametrize("tool", ["run_feature", "generate_feature"])
async def test_a_dispatch_is_told_after_a_restart(
    emulator: Emulator, tmp_path: Path, tool: str
) -> None:
    """A server that ended while the dispatch had no answer is followed by one that finds it."""
    without_tests(emulator, tool)
    emulator.fail(tool, Fault.delay(7), times=1)
    for is_first in (True, False):
        server = make_server(lambda: client_of(emulator), state_folder=tmp_path / "state")
        async with McpClient(server) as mcp:
            if is_first:
                await given_up(mcp, tool, feature="Checkout")
                continue
            assert "earlier call" in (await result_of(mcp, tool, feature="Checkout"))["note"]
    assert emulator.count(tool) == 1


@pytest.mark.parametrize("tool", ["run_feature", "generate_feature"])
async def test_a_dispatch_is_told_once_it_is_made(
    emulator: Emulator, tmp_path: Path, tool: str
) -> None:
    """The call ends with the service's answer, and after a restart, even if nothing is seen."""
    without_tests(emulator, tool)
    for is_first in (True, False):
        server = make_server(lambda: client_of(emulator), state_folder=tmp_path / "state")
        async with McpClient(server) as mcp:
            await mcp.list_tools()
            began = now()
            if is_first:
                await result_of(mcp, tool, feature="Checkout")
                assert now() == began
                continue
            for operation in ("get_run", "list_runs", "get_generation_status", "list_features"):
                emulator.fail(operation, Fault.status(503))
            assert "503" in await refused(mcp, tool, feature="Checkout")
            assert now() - began < 10
    assert emulator.count(tool) == 1


async def test_old_journals_are_deleted(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ended ten minutes ago is begun anew, and a file that nobody wants is deleted."""
    stale = tmp_path / "other.sqlite"
    stale.touch()
    for days, calls in ((0, 1), (0, 1), (31, 2)):
        pass_time(monkeypatch, days * 86_400)
        server = make_server(lambda: client_of(emulator), state_folder=tmp_path)
        async with McpClient(server) as mcp:
            await result_of(mcp, "run_features", features=["Checkout"], timeoutSeconds=170)
        assert emulator.count("run_feature") == calls
    assert not stale.exists()


async def test_a_journal_that_can_t_be_kept_starts_nothing(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Without a place for its journal, or where another server has it, nothing is started."""
    (tmp_path / "file").touch()
    server = make_server(lambda: client_of(emulator), state_folder=tmp_path / "file")
    async with McpClient(server) as mcp:
        text = await refused(mcp, "run_features", features=["Checkout"])
    assert "what was begun can't be written down" in text
    assert emulator.count() == 0
