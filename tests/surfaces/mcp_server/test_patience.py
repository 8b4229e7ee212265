"""Clients that give up and call again: nothing is started twice, and results come once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import pytest
from mcp import Client as McpClient

from tests.conftest import client_of
from tests.support.mcp_connection import (
    Listener,
    Mode,
    connected,
    content_of,
    crossed,
    given_up,
    refused,
    result_of,
    without_tests,
)
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Fault

if TYPE_CHECKING:
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
        await result_of(mcp, "run_feature", feature="Checkout")
        if "gener" in tool:
            without_tests(emulator)
            await result_of(mcp, "generate_feature", feature="Returns")
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
    ("run_features", {"all": True, "timeoutSeconds": 170}),
]

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
                answer = await result_of(mcp, tool, **arguments)
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
            await given_up(mcp, tool, **arguments)
        await asyncio.sleep(seconds)
        async with connected(emulator, state_folder=tmp_path) as mcp:
            first = await result_of(mcp, tool, **arguments)
            assert runs_of_checkout(emulator) == before + 1
            assert "your call at" in first["note"]
            second = await result_of(mcp, tool, **arguments)
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
        await crossed(mcp, calls=3)
        assert "your call at" in (await result_of(mcp, tool, **arguments))["note"]
        assert runs_of_checkout(emulator) == 1
        assert not (await result_of(mcp, tool, **arguments)).get("note")
        assert runs_of_checkout(emulator) == 2


async def test_two_calls_of_one_run_at_once_are_two_runs(emulator: Emulator) -> None:
    """Calls that do not wait for each other's answers start a run each."""
    async with connected(emulator) as mcp:
        calls = (result_of(mcp, "run_feature", feature="Checkout") for _ in range(2))
        ids = {answer["runId"] for answer in await asyncio.gather(*calls)}
    assert len(ids) == len(emulator.runs) == 2


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
    """A wait that failed continues with the generation that it had started."""
    without_tests(emulator)
    async with connected(emulator, max_generations=1) as mcp:
        await result_of(mcp, "generate_and_run", feature="Checkout", timeoutSeconds=5)
        rule = emulator.fail("get_generation_status", Fault.status(403))
        assert "TESTVIBE_API_KEY" in await refused(mcp, "generate_and_run", feature="Checkout")
        rule.remove()
        await asyncio.sleep(400)
        both = await result_of(mcp, "generate_and_run", feature="Checkout", timeoutSeconds=170)
    assert both["run"]["status"] == "passed"
    assert emulator.count("generate_feature") == 1


async def test_a_refused_batch_is_begun_anew(emulator: Emulator) -> None:
    """A batch that began nothing is not remembered."""
    rule = emulator.fail("list_features", Fault.status(401))
    async with connected(emulator) as mcp:
        assert "TESTVIBE_API_KEY" in await refused(mcp, "run_features", all=True)
        rule.remove()
        digest = await result_of(mcp, "run_features", all=True, timeoutSeconds=170)
    assert digest["summary"]["succeeded"] >= 1


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [*(each[:2] for each in MINE[3:]), ("run_features", {"all": True})],
    ids=str,
)
async def test_a_call_after_a_restart_continues(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """Another server with the same folder continues what was started, and delivers its result."""
    without_tests(emulator, tool)
    content: dict[str, Any] = {"inFlight": True}
    while content["inFlight"]:
        async with connected(emulator, state_folder=tmp_path / "state") as mcp:
            content = await result_of(mcp, tool, **arguments, timeoutSeconds=20)
    assert runs_of_checkout(emulator) == 1
    assert len(emulator.generations) == (tool == "generate_and_run")


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("tool", ["run_feature", "generate_feature"])
async def test_a_dispatch_is_found_after_a_restart(
    emulator: Emulator, tmp_path: Path, tool: str, mode: Mode
) -> None:
    """A server that ended while the dispatch had no answer is followed by one that finds it."""
    without_tests(emulator, tool)
    emulator.fail(tool, Fault.delay(7), times=1)
    for is_first in (True, False):
        async with connected(emulator, mode, state_folder=tmp_path / "state") as mcp:
            if is_first:
                await given_up(mcp, tool, feature="Checkout")
                continue
            assert "your call at" in (await result_of(mcp, tool, feature="Checkout"))["note"]
    assert emulator.count(tool) == 1


async def test_a_run_that_is_unknown_is_reported_once(emulator: Emulator) -> None:
    """The error says what to check before another call, which starts another run."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=1)
    async with connected(emulator) as mcp:
        text = await refused(mcp, "run_feature", feature="Checkout")
        assert "check list_runs of the feature" in text
        assert emulator.count("run_feature") == 1
        assert "runId" in await result_of(mcp, "run_feature", feature="Checkout")
    assert emulator.count("run_feature") == 2


async def test_a_run_that_provably_did_not_begin_is_started(emulator: Emulator) -> None:
    """A call that was given up without an answer is repeated: one run is there."""
    async with connected(emulator, timeout=5.0) as mcp:
        emulator.fail("run_feature", Fault.status(503), times=1)
        await given_up(mcp, "run_feature", feature="Checkout")
        await asyncio.sleep(120)
        await result_of(mcp, "run_feature", feature="Login Functionality")
        await result_of(mcp, "run_feature", feature="Checkout")
    assert runs_of_checkout(emulator) == 1


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
        server = make_server(partial(client_of, emulator), state_folder=tmp_path)
        async with McpClient(server):
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
            assert "nothing was started" in await refused(mcp, tool, **arguments)
    assert emulator.count("run_feature") == emulator.count("generate_feature") == 0
