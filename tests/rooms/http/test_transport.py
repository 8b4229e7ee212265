"""What goes over the wire and what comes back: headers, connections, redirects and bodies."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.conftest import client_of
from tests.support.peer import http, peer
from tests.support.timing import now
from testvibe_async import (
    Client,
    ConfigError,
    DispatchUnknownError,
    Project,
    ResponseError,
    VibeError,
)
from testvibe_async._http import transport
from testvibe_async._wire.protocol import Response
from testvibe_async.testing import Emulator, Fault


async def test_connections_are_kept(emulator: Emulator) -> None:
    """Calls one after the other share a connection: there is one session, made at first use."""
    made = 0
    trace = aiohttp.TraceConfig()

    async def count(*_: object) -> None:
        nonlocal made
        made += 1

    trace.on_connection_create_end.append(count)
    async with (
        aiohttp.ClientSession(trace_configs=[trace]) as session,
        client_of(emulator, session=session) as client,
    ):
        for _ in range(5):
            await client.list_projects()
    assert made == 1


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("is_own", [True, False], ids=["own-session", "passed-in"])
async def test_requests_at_once_are_bounded(emulator: Emulator, most: int, *, is_own: bool) -> None:
    """max_connections bounds the requests at once, also in a session that allows more."""
    emulator.fail("*", Fault.delay(1.0))
    async with (
        aiohttp.ClientSession() as session,
        client_of(emulator, max_connections=most, session=None if is_own else session) as client,
    ):
        await asyncio.gather(*(client.list_projects() for _ in range(6)))
    times = [request.at for request in emulator.requests]
    assert now() == pytest.approx(6 / most)
    assert sorted(times) == pytest.approx([place // most for place in range(6)])


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, "\ud800"])
async def test_a_body_that_is_no_json_is_refused(emulator: Emulator, value: Any) -> None:
    """What JSON or UTF-8 can't hold is a ConfigError, and nothing is sent."""
    async with client_of(emulator) as client:
        with pytest.raises(ConfigError):
            await client.request("POST", "/projects", body={"x": value})
    assert emulator.count() == 0


def dispatch(client: Client) -> Callable[[], Awaitable[object]]:
    """Return a call that dispatches a run."""
    return lambda: client.project().run_feature("Checkout")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("operation", ["list_projects", "run_feature"])
async def test_a_redirect_is_not_followed(status: int, operation: str) -> None:
    """A redirect is an error and is not followed, so that no other host gets the key."""
    async with (
        peer(http(200, b"[]")) as elsewhere,
        peer(http(status, b"", f"Location: {elsewhere.url}/x?y=1")) as service,
        service.client() as client,
    ):
        call = client.list_projects if operation == "list_projects" else dispatch(client)
        with pytest.raises(VibeError, match="not followed") as caught:
            await call()
        # 303 says that it was done, and where the result is.
        is_lost = (status, operation) == (303, "run_feature")
        assert type(caught.value) is (DispatchUnknownError if is_lost else ResponseError)
        assert str(status) in str(caught.value)
        assert elsewhere.url in str(caught.value)
        assert elsewhere.received == []
        assert sum(b"POST" in request for request in service.received) in {0, 1}


async def test_a_large_body_is_decoded_in_a_thread(
    project: Project, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of megabytes is decoded in a thread, for a call and for a poll."""
    threads: list[bool] = []

    def spy_on(module: Any, name: str) -> None:
        whole = getattr(module, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            threads.append(threading.current_thread() is threading.main_thread())
            return whole(*args, **kwargs)

        monkeypatch.setattr(module, name, watched)

    operation = await project.run_feature("Checkout")
    emulator.finish_run(operation.run_id)
    small = {"name": "n", "status": "passed"}
    large = Fault.edit(lambda digest: {**digest, "tests": [small] * 40_000})
    emulator.fail("get_run", large)
    spy_on(transport, "decode")
    spy_on(type(operation._polled), "decode")
    assert len((await project.get_run(operation.run_id)).tests) == 40_000
    assert len((await operation).tests) == 40_000
    assert threads == [False, False]


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"])
async def test_an_impossible_date_is_no_clock_sample(date: str) -> None:
    """A Date header with an extreme year breaks no request."""
    async with peer(http(200, b"[]", f"Date: {date}")) as service, service.client() as client:
        await client.list_projects()
        for seconds in (1e9, -1e9):
            client._transport.clock.at(asyncio.get_running_loop().time() + seconds)


async def test_the_last_answer_is_not_kept(emulator: Emulator) -> None:
    """A large answer is not held in memory once it was read."""
    body = b"[" + b" " * 100_000 + b"]"
    emulator.fail("list_projects", Fault.body(body))
    async with client_of(emulator) as client:
        assert await client.list_projects() == []
        gc.collect()
        responses = [one for one in gc.get_objects() if isinstance(one, Response)]
        assert [response for response in responses if len(response.body) >= 100_000] == []
