"""Ways to observe an operation that several tests share."""

import asyncio
from typing import Any

from testvibe_async import Operation, Phase, Project, Run, RunOperation

COUNT = 12
"""How many runs are awaited together."""
ROUNDS = 11
"""How often a run of 30 s is polled at most, every 3 s from 3 s on."""


async def statuses(operation: Operation[Any]) -> list[tuple[Phase, str | None]]:
    """Iterate over an operation to its end."""
    return [(transition.phase, transition.status) async for transition in operation]


def start_wait(operation: Operation[Run]) -> asyncio.Task[Run]:
    """Wait for an operation in a task."""
    return asyncio.ensure_future(operation.wait())


async def dispatch_runs(project: Project, count: int) -> list[RunOperation]:
    """Dispatch runs of one feature, one after the other."""
    return [await project.run_feature("Checkout") for _ in range(count)]
