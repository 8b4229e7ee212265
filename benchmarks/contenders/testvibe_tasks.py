"""testvibe_async in the most direct way: a task for each run, under one `gather`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.contenders.testvibe_finished import client_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.contenders import FanOut, Seen, Service
    from testvibe_async import Project

__all__ = ["contend"]


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client."""
    async with client_of(service, interval) as client:
        yield partial(_fan_out, client.project())


async def _fan_out(project: Project, features: Sequence[int], seen: Seen) -> Sequence[object]:
    return await asyncio.gather(*(_run(project, feature, seen) for feature in features))


async def _run(project: Project, feature: int, seen: Seen) -> object:
    operation = await project.run_feature(feature)
    run = await operation
    seen(run.run_id, str(run.status))
    return run
