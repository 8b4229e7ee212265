"""What goes over the wire and what comes back: bodies, time-outs, the service's clock."""

import asyncio
import threading
from typing import Any

import aiohttp
import pytest

from tests.conftest import client_of
from tests.support.peer import http, peer
from tests.support.timing import now
from testvibe_async import ConfigError, Project
from testvibe_async._core.http import transport
from testvibe_async._core.http.clock import ServiceClock, clock_lead
from testvibe_async._core.http.request_body import RequestBody
from testvibe_async.testing import Emulator, Fault


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
    log = "x" * 1_100_000
    emulator.fail("get_run", Fault.edit(lambda digest: {**digest, "log": log}))
    spy_on(transport, "decode")
    spy_on(type(operation._polled), "decode")
    assert (await project.get_run(operation.run_id)).log == (await operation).log == log
    assert threads == [False, False]


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"])
async def test_an_impossible_date_is_no_clock_sample(date: str) -> None:
    """A Date header with an extreme year breaks no request."""
    async with peer(http(200, b"[]", f"Date: {date}")) as service, service.client() as client:
        await client.list_projects()
        for seconds in (1e9, -1e9):
            client._transport.clock.at(asyncio.get_running_loop().time() + seconds)


DATE = {"Date": "Thu, 26 Nov 2026 10:00:00 GMT"}


def test_an_answer_that_the_machine_slept_over_changes_nothing() -> None:
    """It was written before the sleep."""
    clock = ServiceClock()
    clock.sample(DATE, sent=2.0, lead=clock_lead() - 60, answered=3.0)
    assert clock.at(3.0) is None


async def test_nothing_is_written_once_the_request_is_over() -> None:
    """A request that was given up while it was being prepared is not written."""
    body = RequestBody({}, lambda: asyncio.sleep(1))
    body.end()
    with pytest.raises(aiohttp.ClientError, match="is over"):
        await body.write_with_length(None, None)  # type: ignore[arg-type]
    assert not body.is_written
