"""Metrics: what is counted and measured."""

import asyncio
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import client_of
from tests.rooms.telemetry.conftest import Sdk
from tests.support.shop import DRAFT
from tests.support.timing import STEADY
from testvibe_async import Client, DispatchUnknownError, FeatureNotGeneratedError, Journal, Project
from testvibe_async._telemetry import Telemetry, telemetry
from testvibe_async.testing import Emulator, Fault

SCENARIO = STEADY
"""Every run takes 30 s."""


async def test_requests_by_operation_and_status(
    sdk: Sdk, emulator: Emulator, project: Project
) -> None:
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


async def test_polls_by_way_and_outcome(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """A list polls many, an id one; a failed poll is counted with the class of its error."""
    emulator.fail("list_runs", Fault.status(503), times=1, skip=2)
    emulator.fail("get_run", Fault.status(500), times=1)
    await project.run_features([row for row in await project.list_features() if row.has_tests])
    points = {key: point.value for key, point in sdk.metric("testvibe.polls").items()}
    assert points["list", "ServerError"] == 1
    assert points["id", "ServerError"] == 1
    assert points["list", "answered"] >= 1
    assert points["id", "answered"] == emulator.count("get_run") - 1


async def test_dispatches_by_outcome(sdk: Sdk, emulator: Emulator, project: Project) -> None:
    """What was dispatched, adopted, refused and unknown."""
    await project.run_feature("Checkout")
    emulator.fail("run_feature", Fault.lost(), times=1)
    await project.run_feature("Returns")
    with pytest.raises(FeatureNotGeneratedError):
        await project.run_feature(DRAFT)
    emulator.fail("run_feature", Fault.reset(), times=1)
    emulator.fail("list_runs", Fault.status(404))
    with pytest.raises(DispatchUnknownError):
        await project.run_feature("Checkout")
    points = {key: point.value for key, point in sdk.metric("testvibe.dispatches").items()}
    assert points == {
        ("run", "dispatched"): 1,
        ("run", "adopted"): 1,
        ("run", "FeatureNotGeneratedError"): 1,
        ("run", "unknown"): 1,
    }


async def test_each_resumption_has_one_outcome(
    sdk: Sdk, tmp_path: Path, emulator: Emulator
) -> None:
    """What an earlier process dispatched, or may have, is counted once for each resumed batch."""

    async def batch(name: str, fault: Fault, *, finds: bool = True, seconds: float = 999) -> None:
        rules = [emulator.fail("run_feature", fault, times=1)]
        if not finds:  # A new batch reads the newest run before it dispatches.
            is_new = not (tmp_path / name).exists()
            rules += [emulator.fail("list_runs", Fault.status(404), skip=int(is_new))]
        async with client_of(emulator) as client, Journal(tmp_path / name) as journal:
            features = None if journal.plan else ["Checkout"]
            batch = client.project().run_features(features, journal=journal, timeout=seconds)
            await batch
        for rule in rules:
            rule.remove()

    works = Fault.delay(0)
    await batch("1", works, seconds=5)
    await batch("1", works)
    assert _resumptions(sdk) == {"reattached": 1}
    await asyncio.sleep(60)
    await batch("2", Fault.lost(), finds=False)
    await batch("2", works, finds=False)
    assert _resumptions(sdk) == {"reattached": 1, "unknown": 1}
    async with client_of(emulator) as client, Journal(tmp_path / "2") as journal:
        other = await client.project().run_feature("Returns")
        await journal.decide(other.ref)
    await batch("2", works)
    assert _resumptions(sdk) == {"reattached": 1, "unknown": 1, "refused": 1}
    await batch("2", works)
    assert _resumptions(sdk) == {"reattached": 1, "unknown": 1, "refused": 1, "adopted": 1}
    await batch("3", Fault.reset(), finds=False)
    await asyncio.sleep(60)
    await batch("4", works)
    await batch("3", works)
    assert _resumptions(sdk)["nothing started"] == 1
    assert sum(_resumptions(sdk).values()) == 5


def _resumptions(sdk: Sdk) -> dict[str, int]:
    return {key[1]: point.value for key, point in sdk.metric("testvibe.resumptions").items()}


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


async def test_refusals_pauses_and_commits(
    sdk: Sdk, emulator: Emulator, project: Project, tmp_path: Path
) -> None:
    """Each 429, the pause that many of them bring, and each transaction of a journal."""
    emulator.fail("*", Fault.status(429, retry_after=2), times=5)
    names = ["Checkout", "Returns", "Wishlist", "Gift card"]
    async with Journal(tmp_path / "journal") as journal:
        await project.run_features(names, journal=journal)
        await asyncio.sleep(1)
    assert sdk.metric("testvibe.refusals")[()].value == 5
    assert sdk.metric("testvibe.pause.duration")[()].count >= 1
    assert sdk.metric("testvibe.journal.commit.duration")[()].count == journal.commits


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


class _Counting(Telemetry):
    """No telemetry, and the names of what it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getattribute__(self, name: str) -> object:
        if name != "asked":
            self.asked.add(name)
        return super().__getattribute__(name)


async def test_without_opentelemetry(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its API is not installed all goes on, and refs have no context."""
    off = _Counting()
    for name in [name for name in vars(Telemetry) if not name.startswith("_")]:
        monkeypatch.setattr(telemetry(), name, partial(_call, off, name))
    operation = await project.run_feature("Checkout")
    assert operation.ref.traceparent is None
    assert (await operation).status == "passed"
    assert {"trace", "traceparent", "request", "poll", "dispatch", "end_seen"} <= off.asked


def _call(off: Telemetry, name: str, *arguments: object, **options: object) -> object:
    return getattr(off, name)(*arguments, **options)
