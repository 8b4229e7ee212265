"""Calls at start-up: with `max_outage` they have the patience of a wait."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import KEY, client_of
from tests.support.timing import now
from testvibe_async import Client, Hooks, Project, errors
from testvibe_async.events import OutageEnded, OutageStarted
from testvibe_async.testing import Emulator, Fault

PAGE = b"<!doctype html><title>We are back soon</title>"


CALLS: dict[str, Callable[[Client, float], Awaitable[Any]]] = {
    "list_features": lambda client, seconds: client.project().list_features(max_outage=seconds),
    "list_projects": lambda client, seconds: client.list_projects(max_outage=seconds),
    "list_configs": lambda client, seconds: client.project().list_configs(max_outage=seconds),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("seconds", [5, 60])
@pytest.mark.parametrize(
    "fault",
    [Fault.status(503), Fault.status(503, retry_after=2), Fault.status(429), Fault.reset()],
    ids=["503", "busy", "429", "reset"],
)
async def test_a_call_outlasts_an_outage(
    emulator: Emulator, client: Client, name: str, seconds: int, fault: Fault
) -> None:
    """It is tried again until the service answers."""
    emulator.fail("*", fault, when=lambda _: now() < seconds)
    assert await CALLS[name](client, 100)
    assert seconds <= now() < seconds + 35
    assert emulator.count(name) < 30


@pytest.mark.parametrize(
    "fault",
    [
        Fault.body(PAGE, content_type="text/html"),
        Fault.body(b""),
        Fault.status(302, body=b""),
        Fault.status(403, body=PAGE),
        Fault.status(404, body=PAGE),
    ],
    ids=["page", "empty", "redirect", "403 page", "404 page"],
)
async def test_a_page_is_an_outage(emulator: Emulator, project: Project, fault: Fault) -> None:
    """As for a wait."""
    await project.list_features()
    emulator.fail("*", fault, when=lambda _: now() < 60)
    assert await project.list_features(max_outage=100)


async def test_the_third_page_ends_it(emulator: Emulator, project: Project) -> None:
    """Most likely the address is not the service's."""
    emulator.fail("list_features", Fault.body(PAGE, content_type="text/html"))
    with pytest.raises(errors.MalformedResponseError):
        await project.list_features(max_outage=100)
    assert emulator.count("list_features") == 3
    assert now() < 10


async def test_an_outage_that_lasts_is_raised(emulator: Emulator, project: Project) -> None:
    """The last failure is raised, as it is."""
    emulator.fail("list_features", Fault.status(503))
    with pytest.raises(errors.ServerError):
        await project.list_features(max_outage=100)
    assert 100 <= now() < 140


async def test_a_service_that_can_not_be_reached_is_an_outage() -> None:
    """Nothing listens, for as long as it may last."""
    async with Client("http://127.0.0.1:1", api_key=KEY, project="p") as client:
        with pytest.raises(errors.NotSentError):
            await client.project().list_features(max_outage=60)
    assert 60 <= now() < 100


@pytest.mark.parametrize("times", [1, 2])
async def test_a_refused_key_is_confirmed(emulator: Emulator, project: Project, times: int) -> None:
    """One more try decides."""
    rule = emulator.fail("list_features", Fault.status(401), times=times)
    if times == 1:
        assert await project.list_features(max_outage=100)
    else:
        with pytest.raises(errors.UnauthorizedError):
            await project.list_features(max_outage=100)
    assert rule.hits == times


async def test_a_services_refusal_is_raised(emulator: Emulator, client: Client) -> None:
    """There is no such project, or no such call: another try would not change it."""
    with pytest.raises(errors.NotFoundError):
        await client.project("other").list_features(max_outage=100)
    assert emulator.count("list_features") == 1
    emulator.fail("list_configs", Fault.status(404, body=b""))
    with pytest.raises(errors.EndpointNotFoundError):
        await client.project().list_configs(max_outage=100)
    assert emulator.count("list_configs") == 1


async def test_it_is_announced(emulator: Emulator) -> None:
    """At the second failure, and its end."""
    seen: list[tuple[type[object], float]] = []

    def note(event: OutageStarted | OutageEnded) -> None:
        seen.append((type(event), now()))

    hooks = Hooks(on_outage_started=note, on_outage_ended=note)
    emulator.fail("*", Fault.status(503), when=lambda _: now() < 60)
    async with client_of(emulator, hooks=hooks) as client:
        await client.project().list_features(max_outage=100)
    assert [kind for kind, _ in seen] == [OutageStarted, OutageEnded]
    assert seen[0][1] < 10
    assert 60 <= seen[1][1] < 95


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), "10"])
async def test_what_is_no_duration_is_refused(project: Project, seconds: Any) -> None:
    """Nothing is sent then."""
    with pytest.raises(errors.ConfigError):
        await project.list_features(max_outage=seconds)
