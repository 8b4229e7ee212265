"""One read of a project's runs serves all that ask for it at the same time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from testvibe_async import Listing, Run
from testvibe_async._dispatch.search import ProjectRuns


class SlowTransport:
    """Takes a second for each list, and another to be cancelled."""

    def __init__(self) -> None:
        self.reads = 0

    async def call_page(self, _request: object) -> Listing[Run]:
        """Return an empty list."""
        self.reads += 1
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(1)
        return Listing([])


@pytest.fixture
def transport() -> SlowTransport:
    return SlowTransport()


@pytest.fixture
def runs(transport: SlowTransport) -> ProjectRuns:
    return ProjectRuns(cast("Any", transport))


async def test_a_read_outlasts_a_cancelled_reader(
    runs: ProjectRuns, transport: SlowTransport
) -> None:
    """The others get the list."""
    first, second = (asyncio.create_task(runs.read("p", 10)) for _ in range(2))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await second == []
    assert transport.reads == 1


async def test_a_reader_after_the_cancellation_of_the_last_reads_anew(
    runs: ProjectRuns, transport: SlowTransport
) -> None:
    """The read that is being cancelled is not its own."""
    first = asyncio.create_task(runs.read("p", 10))
    await asyncio.sleep(0.5)
    first.cancel()
    await asyncio.sleep(0.1)
    assert await runs.read("p", 10) == []
    assert transport.reads == 2
    with pytest.raises(asyncio.CancelledError):
        await first
