"""Generations cost credits: none is paid for twice by any tool, spelling, retry or restart."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.support import mcp_connection
from tests.support.mcp_connection import connected, without_tests
from tests.surfaces.mcp_server.test_tools import answering
from testvibe_async.testing import Emulator, Fault, Scenario


@pytest.fixture
async def emulator(request: pytest.FixtureRequest) -> AsyncGenerator[Emulator]:
    """Serve features without tests, without the lists that are assumed unless a test wants them."""
    scenario = Scenario(failing_runs=0, failing_generations=0)
    lists = getattr(request, "param", False)
    async with Emulator(scenario=scenario, lists=lists) as emulator:
        without_tests(emulator)
        yield emulator


def requests(emulator: Emulator) -> int:
    return emulator.count("generate_feature")


@pytest.mark.parametrize("status", ["generated", "failed", "cancelled"])
async def test_what_is_replaced_is_named(emulator: Emulator, status: str) -> None:
    """A generation is replaced only by a call that names it; others ask nobody."""
    asked: list[str] = []
    async with connected(emulator, ask=answering(asked)) as mcp:
        emulator.features["Returns"].status = status
        latest = await mcp.latest("Returns")
        for arguments in ({}, {"replace": "another"}, {"replace": "2001-01-01T00:00:00Z"}):
            text = await mcp.refused("generate_feature", feature="Returns", **arguments)
            assert f'`replace: "{latest}"`' in text
        assert asked == []
        assert requests(emulator) == 0
        await mcp.result("generate_feature", feature="Returns", replace=latest)
        assert len(asked) == 1
    assert requests(emulator) == 1


@mcp_connection.both_modes
@pytest.mark.parametrize("ledger", [None, "other.sqlite"], ids=["one ledger", "two ledgers"])
async def test_a_repetition_after_a_restart_replaces_nothing(
    mode: mcp_connection.Mode, ledger: str | None
) -> None:
    """A client that gave up, and repeats its call to another server, pays once."""
    async with Emulator(scenario=Scenario(failing_generations=0)) as emulator:
        async with connected(emulator, mode) as mcp:
            call: dict[str, Any] = {"feature": "Checkout"}
            call["replace"] = await mcp.latest("Checkout")
            emulator.fail("generate_feature", Fault.delay(7))
            await mcp.give_up("generate_feature", **call)
        (request,) = [each for each in emulator.generations if each != call["replace"]][-1:]
        async with connected(emulator, mode, ledger=ledger) as mcp:
            if ledger is None:
                assert (await mcp.result("generate_feature", **call))["requestId"] == request
                status = await mcp.result("get_generation_status", feature=call["feature"])
                assert status["featureStatus"] == "generating"  # It was not waited for.
            else:
                assert "wait_for_generation" in await mcp.refused("generate_feature", **call)
            emulator.finish_generation(request, "generated")
            text = await mcp.refused("generate_feature", **call)
            assert f'`replace: "{request}"`' in text
        assert requests(emulator) == 1


@pytest.mark.parametrize(
    ("shown_by", "fault"),
    [
        ("get_generation_status", Fault.edit(lambda status: {**status, "requestId": None})),
        ("get_feature", Fault.status(404)),
    ],
    ids=["no id", "no status"],
)
async def test_a_service_without_request_ids_names_a_date(shown_by: str, fault: Fault) -> None:
    """Where no `requestId` is shown, the date of the last change names a generation."""
    async with Emulator(scenario=Scenario(failing_generations=0)) as emulator:
        emulator.fail("get_generation_status", fault)
        async with connected(emulator) as mcp:
            shown = await mcp.result(shown_by, feature="Checkout")
            call = {"feature": "Checkout", "replace": shown["updatedUtc"]}
            assert call["replace"] in await mcp.refused("generate_feature", feature="Checkout")
            for _ in range(2):
                await mcp.call_tool("generate_feature", call)
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


async def test_what_is_in_flight_elsewhere_is_waited_for(emulator: Emulator) -> None:
    """A generation that somebody else started is neither replaced nor doubled."""
    running = emulator.add_feature("Running", status="generating")
    async with connected(emulator) as mcp:
        latest = await mcp.latest("Running")
        for arguments in ({}, {"replace": latest}):
            text = await mcp.refused("generate_feature", feature=str(running.id), **arguments)
            assert "wait_for_generation" in text
    assert requests(emulator) == 0


async def test_what_the_service_refused_is_not_counted(emulator: Emulator) -> None:
    """A limit counts what was started or may have been; beyond it, no user is asked."""
    asked: list[str] = []
    async with connected(emulator, max_generations=1, ask=answering(asked)) as mcp:
        assert "list_features shows" in await mcp.refused("generate_feature", feature="No such")
        emulator.fail("generate_feature", Fault.status(409), times=2)
        for _ in range(2):
            await mcp.refused("generate_feature", feature="Wishlist")
        await mcp.result("generate_feature", feature="Returns")
        asked.clear()
        text = await mcp.refused("generate_feature", feature="Wishlist")
        assert "may start no more generations (its option --max-generations)" in text
    assert asked == []
    assert len(emulator.generations) == 1
