"""A process that works on a journal's batch, and kills itself at a given step if it is asked to.

`python -m tests.processes.journal.worker OPTIONS`, where the options are one JSON object.
"""

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from testvibe_async._dispatch import dispatch

from testvibe_async import Client, Journal
from testvibe_async._http.request_body import RequestBody

STEPS = (
    "before the intent",
    "after the intent",
    "after the first byte",
    "after the service acted",
    "before the ref",
    "after the ref",
    "before the outcome",
    "after the outcome",
)
"""The steps of a dispatch at which a process can die."""


def die() -> None:
    """End as a machine does that loses its power."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def crash_at(step: str, journal: Journal) -> None:  # noqa: C901 - one line for each step
    """Have this process die the first time that it comes to a step."""
    save, commit, write = journal.save, journal.commit, RequestBody.write_with_length
    states = {"intended": "the intent", "dispatched": "the ref", "over": "the outcome"}
    is_dying = False

    def save_and_die(entry: Any) -> None:
        nonlocal is_dying
        if is_dying:
            return
        what = states.get(entry.state)
        if step == f"before {what}":
            die()
        save(entry)
        if step == f"after {what}" and what != "the intent":
            is_dying = True
            asyncio.get_running_loop().call_later(0.1, die)

    async def commit_and_die() -> None:
        if is_dying:
            await asyncio.sleep(60)  # It is to die before another dispatch is open.
        await commit()
        if step == "after the intent":
            die()

    async def send(self: RequestBody, *arguments: Any) -> None:
        await write(self, *arguments)
        if step == "after the first byte" and self.size != 0:
            die()
        if step == "after the service acted":
            await asyncio.sleep(0.5)  # The answer takes longer.
            die()

    journal.save = save_and_die  # type: ignore[method-assign]
    journal.commit = commit_and_die  # type: ignore[method-assign]
    RequestBody.write_with_length = send  # type: ignore[method-assign, assignment]


async def work(options: dict[str, Any]) -> None:
    """Work on the batch to its end, and print its verdicts."""
    setattr(dispatch, "LATE_SECONDS", 4.0)  # noqa: B010 - time is real here
    async with (
        Journal(options["journal"]) as journal,
        Client(poll_interval=0.1, timeout=2.0) as client,
    ):
        if options.get("step"):
            crash_at(options["step"], journal)
        project = client.project()
        many = project.run_features if options["kind"] == "run" else project.generate_features
        batch: Any = many(
            options.get("features"),
            journal=journal,
            max_in_flight=options.get("max_in_flight", 1),
        )
        print(json.dumps([item.verdict for item in await batch]))


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
