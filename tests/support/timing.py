"""The time of the event loop, and a scenario in which every duration is known."""

import asyncio

from testvibe_async.testing import Scenario

STEADY = Scenario(
    run_queue=(5, 5),
    run_duration=(25, 25),
    failing_runs=0,
    generation_warm_up=(20, 20),
    generation_section=(35, 35),
    verification=(10, 10),
    failing_generations=0,
)
"""Every run queues for 5 s, executes for 25 s and passes; every generation takes at least 65 s."""


def now() -> float:
    """Return the time of the running event loop, in seconds."""
    return asyncio.get_running_loop().time()
