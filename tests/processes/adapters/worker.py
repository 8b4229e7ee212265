"""A worker of a durable batch in a process of its own, which may stop or kill itself.

`python -m tests.processes.adapters.worker OPTIONS`, with the options as JSON; see `work`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from typing import Any

from testvibe_async import Client
from testvibe_async.adapters import worker
from testvibe_async.adapters.dbos import DurableBatch

STEPS = {
    "after the intent": "intended",
    "after the answer": "answered",
}
"""The moments at which it can act, and the method that they belong to: the first between the stored
intent and the first byte, the second between the answer and the stored ref."""


def hurt_itself(step: str, *, at: int, how: str) -> None:
    """Have this process send itself a signal at the given intent or answer.

    Args:
        step: One of `STEPS`.
        at: At the how many-th.
        how: The signal's name.
    """
    name = STEPS[step]
    original = getattr(worker.BatchWorker, name)
    count = 0

    async def replaced(*args: Any) -> Any:
        nonlocal count
        count += 1
        is_now = count == at
        if name == "intended":
            await original(*args)
        if is_now:
            print(how, flush=True)
            os.kill(os.getpid(), signal.Signals[how])
        return None if name == "intended" else await original(*args)

    setattr(worker.BatchWorker, name, replaced)


async def work(options: dict[str, Any]) -> None:
    """Work on a batch to its end, and print how many items have which verdict."""
    client = Client(
        options["server"],
        api_key=options["api_key"],
        project=options["project"],
        poll_interval=0.5,
        timeout=options.get("timeout", 2.0),
    )
    if "step" in options:
        hurt_itself(options["step"], at=options["at"], how=options["how"])
    async with client:
        items = await DurableBatch(options["url"], id=options["id"]).work(client)
    for item in items:
        if item.error is not None:
            print(item.feature, item.error, file=sys.stderr)
    print(json.dumps(Counter(str(item.verdict) for item in items)))


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
