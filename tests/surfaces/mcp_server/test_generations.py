"""Generations cost credits: none is begun twice by any tool, spelling, retry or restart."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client as McpClient

from tests.conftest import client_of
from tests.support.mcp_connection import (
    connected,
    content_of,
    refused,
    result_of,
    text_of,
    without_tests,
)
from tests.surfaces.mcp_server.test_guards import answering
from tests.surfaces.mcp_server.test_patience import given_up, pass_time
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

BOTH = ("generate_feature", "generate_and_run")


@pytest.fixture(params=[True, False], ids=["lists", "no lists"])
async def emulator(request: pytest.FixtureRequest) -> AsyncGenerator[Emulator]:
    """Serve features without tests, with the lists that are assumed and without."""
    scenario = Scenario(failing_runs=0, failing_generations=0)
    async with Emulator(scenario=scenario, lists=request.param) as emulator:
        without_tests(emulator)
        yield emulator


async def finished(mcp: McpClient, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool until nothing is in flight."""
    content: dict[str, Any] = {"inFlight": True}
    while content.get("inFlight"):
        content = await result_of(mcp, tool, **arguments)
    return content


async def refused_in_the_end(mcp: McpClient, tool: str, **arguments: Any) -> str:
    """Call a tool until nothing is in flight, and return the error's text."""
    while not (result := await mcp.call_tool(tool, arguments)).is_error:
        assert content_of(result)["inFlight"] is True
    return text_of(result)


@pytest.mark.parametrize("again", [True, False])
async def test_an_answer_that_was_not_delivered_is_told_first(
    emulator: Emulator, *, again: bool
) -> None:
    """`again` whose answer nobody got is not begun again by the same call; the next one is."""
    async with connected(emulator) as mcp:
        if again:
            await finished(mcp, "generate_and_run", feature="Returns")
        before = len(emulator.generations)
        call = {"feature": "Returns", "again": True, "timeoutSeconds": 170}
        await given_up(mcp, "generate_and_run", **call)
        await given_up(mcp, "generate_and_run", **call)
        await asyncio.sleep(900)
        told = await result_of(mcp, "generate_and_run", **call)
        assert len(emulator.generations) == len(emulator.runs) == before + 1
        assert (told["run"]["status"], told["inFlight"]) == ("passed", False)
        assert "which no answer had told yet, so this call began nothing" in told["note"]
        await finished(mcp, "generate_and_run", feature="Returns")
        assert len(emulator.generations) == before + 1
        assert (await result_of(mcp, "generate_and_run", **call))["inFlight"] is not None
    assert len(emulator.generations) == before + 2


async def test_runs_that_were_not_told_are_told_first() -> None:
    """The same holds for runs: what `again` began is told before more is begun."""
    async with Emulator() as emulator, connected(emulator) as mcp:
        names = [name for name, each in emulator.features.items() if each.status == "generated"]
        call = {"all": True, "again": True, "timeoutSeconds": 170}
        await given_up(mcp, "run_features", **call)
        await asyncio.sleep(300)
        told = await result_of(mcp, "run_features", **call)
        assert "which no answer had told yet" in told["note"]
        assert len(emulator.runs) == len(names)
        await result_of(mcp, "run_features", **call)
        assert len(emulator.runs) == 2 * len(names)


async def test_generate_feature_knows_what_generate_and_run_began(emulator: Emulator) -> None:
    """A finished sequence is a finished generation: generating it once more needs `again`."""
    async with connected(emulator) as mcp:
        both = await finished(mcp, "generate_and_run", feature="Wishlist")
        told = await result_of(mcp, "generate_feature", feature="Wishlist")
    assert told["requestId"] == both["generation"]["requestId"]
    assert "To begin anew pass `again: true`" in told["note"]
    assert emulator.count("generate_feature") == 1


@pytest.mark.parametrize("seconds", [5, 600])
async def test_what_generate_feature_began_is_only_run(emulator: Emulator, seconds: int) -> None:
    """The step from a generation, over or not, to its run generates nothing."""
    async with connected(emulator) as mcp:
        started = await result_of(mcp, "generate_feature", feature="Wishlist")
        await asyncio.sleep(seconds)
        both = await finished(mcp, "generate_and_run", feature="wishlist")
    assert both["generation"]["requestId"] == started["requestId"]
    assert both["run"]["status"] == "passed"
    assert "your call at" in both["note"]
    assert emulator.count("generate_feature") == emulator.count("run_feature") == 1


@pytest.mark.parametrize("tool", BOTH)
async def test_a_feature_is_the_same_however_it_is_spelt(emulator: Emulator, tool: str) -> None:
    """A name in any case, and the id, are one generation, also after a restart."""
    number = str(emulator.features["Returns"].id)
    for first, second in (("Returns", number), (number, "RETURNS")):
        without_tests(emulator)
        before = emulator.count("generate_feature")
        async with connected(emulator) as mcp:
            await finished(mcp, tool, feature=first)
            await finished(mcp, tool, feature=second)
        assert emulator.count("generate_feature") == before + 1


@pytest.mark.parametrize("tool", BOTH)
async def test_tests_that_are_there_are_not_generated_unasked(
    emulator: Emulator, tool: str
) -> None:
    """A server that knows nothing of a feature sees that it has tests, and says what to pass."""
    emulator.features["Returns"].status = "generated"
    asked: list[str] = []
    server = make_server(lambda: client_of(emulator))
    async with McpClient(server, elicitation_callback=answering("accept", asked)) as mcp:
        text = await refused(mcp, tool, feature="Returns")
        assert "Returns has tests already, and run_feature runs them" in text
        assert "`again: true`" in text
        assert asked == []
        assert emulator.count("generate_feature") == 0
        await result_of(mcp, tool, feature="Returns", again=True)
        assert len(asked) == 1
    assert emulator.count("generate_feature") == 1


async def test_the_memory_lasts_from_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation of 11 minutes that failed is told for 10 more, and for 10 after each answer."""
    slow = Outcome(generation_duration=660, generation_status="failed")
    async with (
        Emulator(scenario=Scenario(outcomes={"Draft": slow})) as emulator,
        connected(emulator) as mcp,
    ):
        emulator.add_feature("Draft", status="draft")
        await result_of(mcp, "generate_feature", feature="Draft")
        await asyncio.sleep(680)
        for minutes, calls in ((20, 1), (29, 1), (50, 2)):
            pass_time(monkeypatch, minutes * 60)
            await result_of(mcp, "generate_feature", feature="Draft")
            assert emulator.count("generate_feature") == calls


async def test_the_service_says_when_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart the service's time of the end counts, not that of the dispatch."""
    slow = Outcome(generation_duration=660, generation_status="failed")
    async with Emulator(scenario=Scenario(outcomes={"Draft": slow})) as emulator:
        emulator.add_feature("Draft", status="draft")
        for minutes, calls in ((0, 1), (15, 1), (40, 2)):
            pass_time(monkeypatch, minutes * 60)
            server = make_server(lambda: client_of(emulator), state_folder=tmp_path)
            async with McpClient(server) as mcp:
                await result_of(mcp, "generate_feature", feature="Draft")
                assert emulator.count("generate_feature") == calls
            await asyncio.sleep(680)


@pytest.mark.parametrize("tool", BOTH)
async def test_a_plain_repeat_never_sends_what_nobody_knows(emulator: Emulator, tool: str) -> None:
    """After a lost answer the same call looks, says what it found, and leaves the rest to `again`.

    So it does where the first call was given up, and nobody has read its error.
    """
    emulator.fail("generate_feature", Fault.status(503), times=1)
    async with connected(emulator) as mcp:
        await given_up(mcp, tool, feature="Returns")
        await refused_in_the_end(mcp, tool, feature="Returns")
        text = await refused_in_the_end(mcp, tool, feature="Returns")
        assert "the service shows that it started no generation" in text
        assert "`again: true`" in text
        assert emulator.count("generate_feature") == 1
        while not emulator.generations:
            await result_of(mcp, tool, feature="Returns", again=True)
    assert emulator.count("generate_feature") == 2
    assert len(emulator.generations) == 1


async def test_what_was_lost_and_began_is_gone_on_with(emulator: Emulator) -> None:
    """`again` too looks first: what a lost answer began is found, and nothing more is paid."""
    emulator.fail("generate_feature", Fault.lost(), times=1)
    broken = emulator.fail("get_generation_status", Fault.status(503), skip=1, times=20)
    async with connected(emulator) as mcp:
        assert "It may have started" in await refused(mcp, "generate_feature", feature="Returns")
        broken.remove()
        found = await result_of(mcp, "generate_feature", feature="Returns", again=True)
        assert "Nothing was started: your earlier call did" in found["note"]
        assert found["requestId"] in emulator.generations
    assert emulator.count("generate_feature") == 1


async def test_nothing_is_said_to_be_started_before_it_was(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A server that was killed before it sent anything began nothing: the next call does."""
    emulator.fail("get_generation_status", Fault.delay(7), times=1)
    server = make_server(lambda: client_of(emulator), state_folder=tmp_path / "killed")
    async with McpClient(server) as mcp:
        call = asyncio.create_task(mcp.call_tool("generate_feature", {"feature": "Returns"}))
        await asyncio.sleep(3)
        shutil.copytree(tmp_path / "killed", tmp_path / "left")
        call.cancel()
    server = make_server(lambda: client_of(emulator), state_folder=tmp_path / "left")
    async with McpClient(server) as mcp:
        answer = await mcp.call_tool("generate_feature", {"feature": "Returns"})
    assert text_of(answer).startswith("The generation of Returns was started.")


async def test_what_the_service_refused_is_not_counted(emulator: Emulator) -> None:
    """A limit counts what was started or may have been: no 404, no 409, nothing unsent."""
    running = emulator.add_feature("Running", status="generating")
    server = make_server(lambda: client_of(emulator), max_generations=1)
    async with McpClient(server) as mcp:
        assert "list_features shows" in await refused(mcp, "generate_feature", feature="No such")
        for tool in BOTH:
            text = await refused(mcp, tool, feature=str(running.id))
            assert "Wait for the one in flight with wait_for_generation" in text
        await result_of(mcp, "generate_feature", feature="Returns")
        text = await refused(mcp, "generate_feature", feature="Wishlist")
        assert "may start 1 generation (its option --max-generations)" in text
    assert len(emulator.generations) == 2


async def test_what_may_have_started_is_counted(emulator: Emulator) -> None:
    """A dispatch whose answer was lost uses up one of the generations that are allowed."""
    emulator.fail("generate_feature", Fault.lost(), times=1)
    emulator.fail("get_generation_status", Fault.status(503))
    server = make_server(lambda: client_of(emulator), max_generations=1)
    async with McpClient(server) as mcp:
        await refused(mcp, "generate_feature", feature="Returns")
        assert "--max-generations" in await refused(mcp, "generate_feature", feature="Wishlist")


async def test_an_unknown_feature_is_not_sent(emulator: Emulator) -> None:
    """A name that the service does not have costs a read, and no dispatch."""
    async with connected(emulator) as mcp:
        await refused(mcp, "generate_feature", feature="Retuns")
    assert emulator.count("generate_feature") == 0


async def test_what_goes_on_is_told_while_features_can_t_be_read(emulator: Emulator) -> None:
    """While the service is out, a feature that was begun here is known by how it was spelt."""
    async with connected(emulator) as mcp:
        await result_of(mcp, "generate_and_run", feature="Returns", timeoutSeconds=5)
        rule = emulator.fail("get_feature", Fault.status(503))
        both = await result_of(mcp, "generate_and_run", feature="Returns", timeoutSeconds=5)
        assert both["inFlight"] is True
        text = await refused(mcp, "generate_and_run", feature="Wishlist", timeoutSeconds=5)
        assert "try again later" in text
        rule.remove()
    assert emulator.count("generate_feature") == 1


@pytest.mark.parametrize(
    "call",
    [{"features": ["Login Functionality"]}, {"all": True}, {"features": ["Gift cards"]}],
    ids=str,
)
async def test_what_was_generated_since_is_run(call: dict[str, Any], tmp_path: Path) -> None:
    """A result from before a generation is not told again, also after a restart."""
    scenario = Scenario(failing_runs=0, failing_generations=0)
    async with Emulator(scenario=scenario) as emulator:
        emulator.add_feature("Gift cards", status="draft")
        call = {**call, "timeoutSeconds": 170}
        feature = "Gift cards" if call.get("all") else (call.get("features") or [""])[0]
        for generates in (True, False):
            server = make_server(lambda: client_of(emulator), state_folder=tmp_path)
            async with McpClient(server) as mcp:
                await mcp.call_tool("run_features", call)
                before = emulator.count("run_feature")
                await mcp.call_tool("run_features", call)
                if feature != "Gift cards" or not generates:
                    assert emulator.count("run_feature") == before
                if generates:
                    await result_of(mcp, "generate_feature", feature=feature, again=True)
                    await asyncio.sleep(500)
        assert emulator.runs[max(emulator.runs)].created_at > 400


async def test_a_run_from_before_a_generation_is_not_told_again() -> None:
    """The same holds for run_feature; without a generation the earlier run is told."""
    scenario = Scenario(failing_runs=0, failing_generations=0)
    async with Emulator(scenario=scenario) as emulator, connected(emulator) as mcp:
        first = await result_of(mcp, "run_feature", feature="Checkout")
        await asyncio.sleep(100)
        assert (await result_of(mcp, "run_feature", feature="Checkout"))["runId"] == first["runId"]
        await result_of(mcp, "generate_feature", feature="Checkout", again=True)
        await asyncio.sleep(500)
        anew = await result_of(mcp, "run_feature", feature="Checkout")
    assert anew["runId"] != first["runId"]
    assert "note" not in anew


async def test_again_looks_as_long_as_nobody_was_told(emulator: Emulator) -> None:
    """`again` sends what nobody knows only once an answer has said so, each time anew."""
    emulator.fail("generate_feature", Fault.status(503), times=2)
    call = {"feature": "Returns", "again": True}
    async with connected(emulator) as mcp:
        await given_up(mcp, "generate_feature", feature="Returns")
        await asyncio.sleep(60)
        await refused_in_the_end(mcp, "generate_feature", **call)
        assert emulator.count("generate_feature") == 1
        await given_up(mcp, "generate_feature", **call)
        await asyncio.sleep(120)
        assert emulator.count("generate_feature") == 2
        await refused_in_the_end(mcp, "generate_feature", **call)
        assert emulator.count("generate_feature") == 2
        while emulator.count("generate_feature") == 2:
            await result_of(mcp, "generate_feature", **call)
    assert len(emulator.generations) == 1


async def test_what_was_paid_for_is_kept_until_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation whose end no answer has told is told an hour later, too."""
    quick = Outcome(generation_duration=60, generation_status="failed")
    async with (
        Emulator(scenario=Scenario(outcomes={"Draft": quick})) as emulator,
        connected(emulator) as mcp,
    ):
        emulator.add_feature("Draft", status="draft")
        await given_up(mcp, "generate_and_run", feature="Draft")
        await asyncio.sleep(100)
        pass_time(monkeypatch, 7_200)
        told = await result_of(mcp, "generate_and_run", feature="Draft")
        assert told["generation"]["featureStatus"] == "failed"
        assert emulator.count("generate_feature") == 1
        pass_time(monkeypatch, 14_400)
        await result_of(mcp, "generate_and_run", feature="Draft")
    assert emulator.count("generate_feature") == 2


async def test_a_run_that_is_proved_to_be_lost_is_started() -> None:
    """A run that provably did not begin is begun by the next call, which says so."""
    async with Emulator() as emulator, connected(emulator, timeout=5.0) as mcp:
        emulator.fail("run_feature", Fault.status(503), times=1)
        await refused(mcp, "run_feature", feature="Checkout")
        await asyncio.sleep(120)
        await result_of(mcp, "run_feature", feature="Login Functionality")
        answer = await mcp.call_tool("run_feature", {"feature": "Checkout"})
    assert "Checkout was started" in text_of(answer)
    assert emulator.count("run_feature") == 3
