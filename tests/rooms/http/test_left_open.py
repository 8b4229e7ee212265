"""A client that is left open."""

import asyncio

import pytest

from tests.conftest import client_of
from tests.promises.test_client import drop
from testvibe_async import NotFoundError
from testvibe_async.testing import Emulator, VirtualTimeLoop


def test_a_client_left_open_warns() -> None:
    """A client that was used and never closed is a ResourceWarning that names the cure."""

    async def left_open() -> None:
        async with Emulator() as emulator:
            clients = [client_of(emulator)]
            with pytest.raises(NotFoundError):
                await clients[0].get_project("nowhere")
            session = clients[0]._transport._http._session
            assert session is not None
            with pytest.warns(ResourceWarning, match="was not closed: use 'async with'"):
                drop(clients)
            await session.close()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(left_open())
