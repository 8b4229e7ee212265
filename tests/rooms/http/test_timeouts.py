"""The time-out of one request."""

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.support.peer import ONCE
from tests.support.timing import now
from testvibe_async import OutcomeUnknownError
from testvibe_async._wire.endpoints import Endpoints
from testvibe_async.testing import Emulator, Fault


@pytest.mark.parametrize(("request_timeout", "seconds"), [(1.0, 1.0), (100.0, 2.0)])
async def test_the_timeout_of_a_request_is_at_most_the_clients(
    emulator: Emulator, request_timeout: float, seconds: float
) -> None:
    """A request may have a shorter timeout than the client, never a longer one."""
    request = evolve(Endpoints.LIST_PROJECTS.request(), timeout=request_timeout)
    async with client_of(emulator, timeout=2.0, retry=ONCE) as client:
        emulator.fail("list_projects", Fault.hang())
        with pytest.raises(OutcomeUnknownError, match=f"within {seconds:g} s"):
            await client._transport.call(request)
    assert now() == pytest.approx(seconds, abs=0.1)
