"""Metrics: what is counted and measured."""

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.conftest import client_of
from tests.rooms.telemetry.conftest import Sdk
from tests.support.shop import DRAFT
from tests.support.timing import STEADY
from testvibe_async import Client, DispatchUnknownError, Project
from testvibe_async._telemetry import Telemetry, telemetry
from testvibe_async.testing import Emulator, Fault

SCENARIO = STEADY
"""Every run takes 30 s."""


async def test_requests_by_status(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """Each request is measured, also one without an answer."""
    emulator.fail("get_run", Fault.status(500), times=1)
    emulator.fail("get_run", Fault.reset(), times=2, skip=1)  # aiohttp repeats a GET once
    await (await project.run_feature("Checkout"))
    points = sdk.metric("http.client.request.duration")
    server = ("127.0.0.1", str(urlsplit(emulator.url).port))
    assert points["POST", "202", *server, "run_feature"].count == 1
    assert points["GET", "500", "500", *server, "get_run"].count == 1
    assert points["GET", "no answer", *server, "get_run"].count == 1
    assert points["GET", "200", *server, "get_run"].count == emulator.count("get_run") - 3


async def test_dispatches_by_outcome(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """Operations that were dispatched or adopted, and unknown dispatches."""
    await project.run_feature("Checkout")
    emulator.fail("run_feature", Fault.lost(), times=1)
    await project.run_feature("Returns")
    emulator.fail("run_feature", Fault.reset(), times=1)
    emulator.fail("list_runs", Fault.status(404))
    with pytest.raises(DispatchUnknownError):
        await project.run_feature("Checkout")
    points = {key: point.value for key, point in sdk.metric("testvibe.dispatches").items()}
    assert points == {
        ("run", "dispatched"): 1,
        ("run", "adopted"): 1,
        ("run", "unknown"): 1,
    }


async def test_how_late_an_end_is_seen(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """From `finishedUtc`, by the service's clock, to the poll that showed it; if it was in time."""
    operation = await project.run_feature("Checkout")
    await operation
    await asyncio.sleep(86_400)
    async with client_of(emulator) as other:
        await other.attach(operation.ref)  # What was over a day before is not late.
    point = sdk.metric("testvibe.end.delay")["run",]
    assert point.count == 1
    assert 0 <= point.sum <= 5


async def test_pauses(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """The pause that many refusals cause is measured."""
    emulator.fail("*", Fault.status(429, retry_after=2), times=5)
    await project.run_features(["Checkout", "Returns", "Wishlist", "Gift card"])
    assert sdk.metric("testvibe.pause.duration")[()].count >= 1


async def test_what_is_in_flight(sdk: Sdk, emulator: Emulator, client: Client) -> None:
    """All clients are summed up, as far as they are alive, and what is over does not count."""
    run = await client.project().run_feature("Checkout")
    generation = await client.project().generate_feature(DRAFT)
    async with client_of(emulator) as other:
        kept = await other.project().run_feature("Returns")
        points = sdk.metric("testvibe.operations.in_flight")
        assert {key: point.value for key, point in points.items()} == {
            ("run",): 2,
            ("generation",): 1,
        }
    assert not kept.done
    points = sdk.metric("testvibe.operations.in_flight")
    assert points["run",].value == 1  # those of a closed client do not count
    await run
    await generation
    points = sdk.metric("testvibe.operations.in_flight")
    assert {key: point.value for key, point in points.items()} == {("run",): 0, ("generation",): 0}


async def test_without_opentelemetry(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """If its API is not installed, an operation is as elsewhere, and its ref has no context."""
    monkeypatch.setattr(telemetry(), "__class__", Telemetry)
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        assert operation.ref.traceparent is None
        assert telemetry().traceparent() is None
        assert not (await operation.poll()).is_finished
        assert (await operation).status == "passed"
        (item,) = await client.project().run_features(["Checkout"])
        assert item.outcome is not None
