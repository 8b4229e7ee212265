"""A process that works on a journal's batch, and kills itself at a given step if it is asked to.

`python -m tests.processes.journal.worker OPTIONS`, where the options are one JSON object. It
prints its items as JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from testvibe_async import BatchItem, Client, Intent, Journal, Ref, VibeError
from testvibe_async._http.request_body import RequestBody
from testvibe_async._journal import RowRecorder, Rows

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
    intended, dispatched = RowRecorder.intended, RowRecorder.dispatched
    write, note_end = RequestBody.write_with_length, Rows.note_end

    is_over = False

    async def intend(self: RowRecorder, intent: Intent) -> None:
        if is_over:
            await asyncio.sleep(60)  # It is to die before another dispatch is open.
        if step == "before the intent":
            die()
        await intended(self, intent)
        if step == "after the intent":
            die()

    async def send(self: RequestBody, *arguments: Any) -> None:
        await write(self, *arguments)
        if step == "after the first byte" and self.size != 0:
            die()
        if step == "after the service acted":
            await asyncio.sleep(0.5)  # The answer takes longer.
            die()

    async def note_ref(self: RowRecorder, intent: Intent, ref: Ref) -> None:
        if step == "before the ref":
            die()
        await dispatched(self, intent, ref)
        if step == "after the ref":
            await journal._file.write(lambda _: None)
            die()

    def end(self: Rows, place: int, item: BatchItem[Any]) -> None:
        nonlocal is_over
        if step == "before the outcome":
            die()
        note_end(self, place, item)
        if step == "after the outcome":
            is_over = True
            self._file.write_soon(lambda _: None)
            asyncio.get_running_loop().call_later(0.1, die)

    RowRecorder.intended = intend  # type: ignore[method-assign]
    RowRecorder.dispatched = note_ref  # type: ignore[method-assign]
    RequestBody.write_with_length = send  # type: ignore[method-assign, assignment]
    Rows.note_end = end  # type: ignore[method-assign]


async def work(options: dict[str, Any]) -> list[BatchItem[Any]]:
    """Work on the batch to its end."""
    async with (
        Journal(options["journal"]) as journal,
        Client(
            options["server"],
            api_key=options["api_key"],
            project=options["project"],
            poll_interval=options.get("poll_interval", 0.1),
            timeout=options.get("timeout", 2.0),
        ) as client,
    ):
        if options.get("step"):
            crash_at(options["step"], journal)
        if "announces" in options:
            _announce_intents(options["announces"])
        project = client.project()
        many = project.run_features if options["kind"] == "run" else project.generate_features
        batch: Any = many(
            options.get("features"),
            journal=journal,
            max_in_flight=options.get("max_in_flight", 1),
        )
        items: list[BatchItem[Any]] = await batch
        return items


def _announce_intents(most: int) -> None:
    """Print a line when an intent is open, for the one who aims at it; open so many at the most.

    However late the aim is, something is left to dispatch: a later run shows that nothing began.
    """
    intended = RowRecorder.intended
    opened = 0

    async def intend(self: RowRecorder, intent: Intent) -> None:
        nonlocal opened
        opened += 1
        if opened > most:
            await asyncio.sleep(60)
        await intended(self, intent)
        print("intent", flush=True)

    RowRecorder.intended = intend  # type: ignore[method-assign]


def main() -> None:
    """Work as the first argument says."""
    try:
        items = asyncio.run(work(json.loads(sys.argv[1])))
    except VibeError as error:
        print(json.dumps({"error": str(error)}))
        sys.exit(2)
    print(json.dumps({"verdicts": [str(item.verdict) for item in items]}))


if __name__ == "__main__":
    main()
