"""What goes over the wire and what comes back: bodies, time-outs, the service's clock."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.conftest import client_of
from tests.support.peer import http, peer
from testvibe_async import ConfigError
from testvibe_async._core.http.clock import ServiceClock, clock_lead
from testvibe_async._core.http.request_body import RequestBody
from testvibe_async.testing import Emulator


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, "\ud800"])
async def test_a_body_that_is_no_json_is_refused(emulator: Emulator, value: Any) -> None:
    """What JSON or UTF-8 can't hold is a ConfigError, and nothing is sent."""
    async with client_of(emulator) as client:
        with pytest.raises(ConfigError):
            await client.request("POST", "/projects", body={"x": value})
    assert emulator.count() == 0


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
