"""Generations cost credits: none is paid for twice by any tool, spelling, retry or restart."""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import mcp_connection
from tests.support.mcp_connection import connected, content_of, text_of, without_tests
from tests.support.timing import shift_local_clock
from tests.surfaces.mcp_server.test_patience import two_servers
from tests.surfaces.mcp_server.test_tools import answering
from testvibe_async.mcp_server import generations
from testvibe_async.testing import Emulator, Fault, Scenario

BOTH = ("generate_feature", "generate_and_run")

both_tools = pytest.mark.parametrize("tool", BOTH)

both_services = pytest.mark.parametrize("emulator", [True, False], indirect=True)
"""With the lists that are assumed, and without."""


@pytest.fixture
async def emulator(request: pytest.FixtureRequest) -> AsyncGenerator[Emulator]:
    """Serve features without tests, without the lists that are assumed unless a test wants them."""
    scenario = Scenario(failing_runs=0, failing_generations=0)
    lists = getattr(request, "param", False)
    async with Emulator(scenario=scenario, lists=lists) as emulator:
        without_tests(emulator)
        yield emulator


async def refused_in_the_end(mcp: mcp_connection.Connection, tool: str, **arguments: Any) -> str:
    """Call a tool until nothing is in flight, and return the error's text."""
    while not (result := await mcp.call_tool(tool, arguments)).is_error:
        assert content_of(result)["inFlight"] is True
    return text_of(result)


def requests(emulator: Emulator) -> int:
    return emulator.count("generate_feature")


@both_tools
async def test_the_same_call_generates_once(emulator: Emulator, tmp_path: Path, tool: str) -> None:
    """A repetition, at once by another server, or long after the end or a restart, pays nothing."""
    ids, number = set[str](), str(emulator.features["Returns"].id)
    for names in (("Returns", "Returns"), ("RETURNS", number)):
        async with two_servers(emulator, tmp_path) as two:
            for both in await asyncio.gather(
                *(mcp.finished(tool, feature=name) for mcp, name in zip(two, names, strict=True))
            ):
                ids.add(both.get("generation", both)["requestId"])
        await asyncio.sleep(3_600)
    assert requests(emulator) == len(ids) == 1


@both_tools
@pytest.mark.parametrize("status", ["generated", "failed", "cancelled"])
async def test_what_is_replaced_is_named(emulator: Emulator, tool: str, status: str) -> None:
    """A generation is replaced only by a call that names it; others ask nobody."""
    asked: list[str] = []
    async with connected(emulator, ask=answering(asked)) as mcp:
        emulator.features["Returns"].status = status
        latest = await mcp.latest("Returns")
        for arguments in ({}, {"replace": "another"}, {"replace": "2001-01-01T00:00:00Z"}):
            text = await mcp.refused(tool, feature="Returns", **arguments)
            assert f'`replace: "{latest}"`' in text
        assert asked == []
        assert requests(emulator) == 0
        await mcp.result(tool, feature="Returns", replace=latest)
        assert len(asked) == 1
    assert requests(emulator) == 1


@both_tools
@pytest.mark.parametrize("keeps_files", [True, False])
async def test_a_repetition_that_crosses_the_answer_replaces_nothing(
    tmp_path: Path, tool: str, *, keeps_files: bool
) -> None:
    """A client that gave up as the answer came repeats its call, and pays once.

    So it does where the service alone can tell, since no file is left.
    """
    async with Emulator(scenario=Scenario(failing_generations=0)) as emulator:
        async with connected(emulator, mode="legacy", state_folder=tmp_path / "first") as mcp:
            call = {"feature": "Checkout", "replace": await mcp.latest("Checkout")}
            await mcp.call_tool(tool, call)
            await mcp.cross(calls=3)
            (request,) = [each for each in emulator.generations if each != call["replace"]][-1:]
            emulator.finish_generation(request, "generated")
            if keeps_files:
                again = await mcp.result(tool, **call)
                assert again.get("generation", again)["requestId"] == request
        async with connected(emulator, state_folder=tmp_path / "second") as mcp:
            assert f'`replace: "{request}"`' in await mcp.refused(tool, **call)
        assert requests(emulator) == 1


@both_tools
async def test_what_failed_is_generated_again_by_its_name(emulator: Emulator, tool: str) -> None:
    """The same call returns the failure, and says what to pass for another generation."""
    async with connected(emulator) as mcp:
        first = (await mcp.result("generate_feature", feature="Returns"))["requestId"]
        emulator.finish_generation(first, "failed")
        await mcp.result("update_feature", feature="Returns", gherkin="Feature: Returns")
        told = await mcp.result(tool, feature="Returns")
        assert told.get("generation", told)["requestId"] == first
        assert told["note"].startswith("Nothing was started: ")
        assert f'`replace: "{first}"`' in told["note"]
        assert (told.get("run"), told.get("inFlight", False)) == (None, False)
        assert (requests(emulator), emulator.count("run_feature")) == (1, 0)
        second = await mcp.result(tool, feature="Returns", replace=first)
        assert second.get("generation", second)["requestId"] != first
    assert requests(emulator) == 2


@both_tools
async def test_a_newer_generation_is_named_in_place_of_an_old_one(
    emulator: Emulator, tool: str
) -> None:
    """A call whose generation was superseded learns the name of the latest one."""
    call, latest = {"feature": "Returns"}, dict[str, str]()
    async with connected(emulator) as mcp:
        for _ in range(2):
            started = await mcp.result("generate_feature", **call, **latest)
            await asyncio.sleep(60)
            emulator.finish_generation(started["requestId"], "generated")
            latest = {"replace": started["requestId"]}
        assert f'`replace: "{latest["replace"]}"`' in await mcp.refused(tool, **call)
    assert requests(emulator) == 2


@both_tools
async def test_an_id_that_is_used_again_is_another_feature_s(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    """A generation that the service should know, and has not, is given up; the next call pays."""
    async with connected(emulator) as mcp:
        old = await mcp.result("generate_feature", feature="Returns")
        emulator.finish_generation(old["requestId"], "generated")
        number = emulator.features["Returns"].id
        await mcp.result("delete_feature", feature="Returns")
        feature = emulator.add_feature("Returns", status="draft")
        feature.id, emulator._project.features[number] = number, feature
        again = await mcp.result(tool, feature="Returns")
        assert again.get("generation", again)["requestId"] == old["requestId"]
        monkeypatch.setattr(generations, "KNOWN_WITHIN", timedelta(0))
        assert "no longer has the generation" in await mcp.refused(tool, feature="Returns")
        assert requests(emulator) == 1
        await mcp.result(tool, feature="Returns")
    assert requests(emulator) == 2


@pytest.mark.parametrize(
    ("shown_by", "fault"),
    [
        ("get_generation_status", Fault.edit(lambda status: {**status, "requestId": None})),
        ("get_feature", Fault.status(404)),
    ],
    ids=["no id", "no status"],
)
@both_tools
async def test_a_service_without_request_ids_names_a_date(
    tool: str, shown_by: str, fault: Fault
) -> None:
    """Where no `requestId` is shown, the date of the last change names a generation."""
    async with Emulator(scenario=Scenario(failing_generations=0)) as emulator:
        emulator.fail("get_generation_status", fault)
        async with connected(emulator) as mcp:
            shown = await mcp.result(shown_by, feature="Checkout")
            call = {"feature": "Checkout", "replace": shown["updatedUtc"]}
            assert call["replace"] in await mcp.refused(tool, feature="Checkout")
            for _ in range(2):
                await mcp.call_tool(tool, call)
        assert requests(emulator) == 1


async def test_what_has_no_name_is_not_replaced() -> None:
    """A service that shows neither ids nor dates has nothing replaced, whatever the call says."""
    async with Emulator() as emulator:
        for operation in ("get_generation_status", "get_feature"):
            emulator.fail(
                operation,
                Fault.edit(lambda shown: {**shown, "requestId": None, "updatedUtc": None}),
            )
        async with connected(emulator) as mcp:
            for arguments in ({}, {"replace": "None"}, {"replace": ""}):
                text = await mcp.refused("generate_feature", feature="Checkout", **arguments)
                assert "Nothing was started" in text
        assert requests(emulator) == 0


@both_tools
async def test_what_is_in_flight_elsewhere_is_waited_for(emulator: Emulator, tool: str) -> None:
    """A generation that somebody else started is neither replaced nor doubled."""
    running = emulator.add_feature("Running", status="generating")
    async with connected(emulator) as mcp:
        latest = await mcp.latest("Running")
        for arguments in ({}, {"replace": latest}):
            text = await mcp.refused(tool, feature=str(running.id), **arguments)
            assert "wait_for_generation" in text
    assert requests(emulator) == 0


@pytest.mark.parametrize("seconds", [5, 600])
async def test_what_generate_feature_started_is_only_run(emulator: Emulator, seconds: int) -> None:
    """The step from a generation, over or not, to its run generates nothing."""
    async with connected(emulator) as mcp:
        started = await mcp.result("generate_feature", feature="Wishlist")
        await asyncio.sleep(seconds)
        both = await mcp.finished("generate_and_run", feature="wishlist")
    assert both["generation"]["requestId"] == started["requestId"]
    assert both["run"]["status"] == "passed"
    assert requests(emulator) == emulator.count("run_feature") == 1


@both_services
@both_tools
async def test_what_is_unknown_is_not_sent_again(emulator: Emulator, tool: str) -> None:
    """While it is unknown whether a dispatch began, no repetition sends another."""
    emulator.fail("generate_feature", Fault.lost(), times=1)
    broken = emulator.fail("get_generation_status", Fault.status(503), skip=3)
    async with connected(emulator) as mcp:
        for _ in range(3):
            text = await refused_in_the_end(mcp, tool, feature="Returns")
            assert "It may have started" in text
        broken.remove()
        found = await mcp.result(tool, feature="Returns")
    assert found.get("generation", found)["requestId"] in emulator.generations
    assert requests(emulator) == 1


@both_services
@both_tools
async def test_what_provably_did_not_begin_is_started_by_the_same_call(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    """A repetition, also for another site, starts what provably did not begin: one is paid."""
    call = {"feature": "Returns", "siteUrl": "https://next.example"}
    shift_local_clock(monkeypatch)
    emulator.fail("generate_feature", Fault.status(503), times=1)
    async with connected(emulator, state_folder=tmp_path) as mcp:
        await mcp.give_up(tool, feature="Returns")
    await asyncio.sleep(600)
    async with connected(emulator, state_folder=tmp_path) as mcp:
        answer = await mcp.call_tool(tool, call)
        while not emulator.generations:
            answer = await mcp.call_tool(tool, call)
        assert "Nothing was started" not in text_of(answer)
        await mcp.finished(tool, **call)
    assert len(emulator.generations) == 1


@mcp_connection.both_modes
async def test_a_server_that_was_killed_before_it_sent_anything_asks_again(
    emulator: Emulator, tmp_path: Path, mode: mcp_connection.Mode
) -> None:
    """What was never sent was never started: the next call asks the user, and starts it."""
    hung = emulator.fail("get_generation_status", Fault.delay(7), skip=2, times=1)
    asked: list[str] = []
    async with connected(emulator, state_folder=tmp_path / "killed") as mcp:
        call = asyncio.create_task(mcp.call_tool("generate_feature", {"feature": "Returns"}))
        await asyncio.sleep(3)
        assert list((tmp_path / "killed").glob("*.sqlite"))
        shutil.copytree(tmp_path / "killed", tmp_path / "left")
        call.cancel()
    hung.remove()
    before = requests(emulator)
    left = tmp_path / "left"
    async with connected(emulator, mode, ask=answering(asked), state_folder=left) as mcp:
        answer = await mcp.call_tool("generate_feature", {"feature": "Returns"})
    assert "was started" in text_of(answer)
    assert len(asked) == 1
    assert requests(emulator) == before + 1


@mcp_connection.both_modes
async def test_nobody_is_asked_for_what_is_refused(
    emulator: Emulator, tmp_path: Path, mode: mcp_connection.Mode
) -> None:
    """A wrong configuration, or a folder that can't be written, is refused before the question."""
    asked: list[str] = []
    async with connected(emulator, mode, ask=answering(asked)) as mcp:
        wrong = {"feature": "Returns", "config": "Firefux"}
        assert "no configuration 'Firefux'" in await mcp.refused("generate_and_run", **wrong)
    (tmp_path / "file").touch()
    folder = tmp_path / "file"
    async with connected(emulator, mode, ask=answering(asked), state_folder=folder) as mcp:
        for tool in (*BOTH, "run_feature"):
            assert "nothing was started" in await mcp.refused(tool, feature="Returns")
    assert asked == []
    assert requests(emulator) == emulator.count("run_feature") == 0


async def test_what_the_service_refused_is_not_counted(emulator: Emulator) -> None:
    """A limit counts what was started or may have been; beyond it, no user is asked."""
    asked: list[str] = []
    async with connected(emulator, max_generations=1, ask=answering(asked)) as mcp:
        assert "list_features shows" in await mcp.refused("generate_feature", feature="No such")
        emulator.fail("generate_feature", Fault.status(409), times=2)
        for tool in BOTH:
            await mcp.refused(tool, feature="Wishlist")
        await mcp.result("generate_feature", feature="Returns")
        asked.clear()
        for tool in BOTH:
            text = await mcp.refused(tool, feature="Wishlist")
            assert "may start no more generations (its option --max-generations)" in text
    assert asked == []
    assert len(emulator.generations) == 1


@pytest.mark.parametrize("fault", [Fault.lost(), Fault.status(503)], ids=["lost", "503"])
async def test_what_may_have_started_is_counted_once(emulator: Emulator, fault: Fault) -> None:
    """A dispatch of unknown effect uses up its place; if it began nothing, the next one does."""
    emulator.fail("generate_feature", fault, times=1)
    unseen = emulator.fail("get_generation_status", Fault.status(503), skip=3, times=9)
    async with connected(emulator, max_generations=1) as mcp:
        while not emulator.generations:
            await mcp.call_tool("generate_feature", {"feature": "Returns"})
        unseen.remove()
        assert "--max-generations" in await mcp.refused("generate_feature", feature="Wishlist")
