"""A process that makes a keyed call on a ledger file, and kills itself at a given step if asked to.

`python -m tests.processes.ledger.worker OPTIONS`, where the options are one JSON object.
"""

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from testvibe_async import Client, SqliteLedger, VibeError
from testvibe_async._core.dispatch import dispatch
from testvibe_async._core.dispatch import settlement as searches
from testvibe_async._core.http.request_body import RequestBody
from testvibe_async.ledger import Row, RowState

STEPS = (
    "before the row",
    "after the row",
    "after the first byte",
    "after the service acted",
    "before the ref",
    "after the ref",
    "before the outcome",
    "after the outcome",
)
"""The steps of a dispatch at which a process can die."""

NOTED = {RowState.DISPATCHED: "the ref", RowState.FINISHED: "the outcome"}


def die() -> None:
    """End as a machine does that loses its power."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


class DyingLedger(SqliteLedger):
    """A ledger file whose process dies at a step."""

    step = ""
    is_dying = False

    async def insert(self, row: Row) -> Row:
        """Die before or after the row of an attempt."""
        if self.step == "before the row" and not row.is_plan:
            die()
        stored = await super().insert(row)
        if self.step == "after the row" and not row.is_plan:
            die()
        return stored

    async def note(self, row: Row) -> None:
        """Die before or after the ref or the outcome."""
        if self.is_dying:
            await asyncio.sleep(60)
        what = NOTED.get(row.state, "")
        if self.step == f"before {what}":
            die()
        await super().note(row)
        if self.step == f"after {what}":
            self.is_dying = True
            asyncio.get_running_loop().call_later(0.1, die)


def crash_at(step: str) -> None:
    """Have this process die the first time that it comes to a step of a request."""
    write = RequestBody.write_with_length

    async def send(self: RequestBody, *arguments: Any) -> None:
        await write(self, *arguments)
        if step == "after the first byte" and self.size != 0:
            die()
        if step == "after the service acted" and self.size != 0:
            await asyncio.sleep(0.5)  # The answer takes longer.
            die()

    async def search(*_: Any) -> Any:
        die()

    RequestBody.write_with_length = send  # type: ignore[method-assign, assignment]
    if step == "during the search":
        setattr(searches.Searcher, "search", search)  # noqa: B010 - it is the core's own


async def work(options: dict[str, Any]) -> None:
    """Make the call, and print the verdict and the operation of each feature."""
    setattr(dispatch, "LATE_SECONDS", 4.0)  # noqa: B010 - time is real here
    ledger = DyingLedger(options["ledger"])
    ledger.step = options.get("step", "")
    crash_at(ledger.step)
    async with (
        ledger,
        Client(poll_interval=0.1, timeout=options["timeout"], ledger=ledger) as client,
    ):
        await asyncio.sleep(options.get("at", 0.0) - time.time())
        print(json.dumps(await call(client, **options)))


async def call(
    client: Client,
    *,
    kind: str,
    features: list[str],
    is_batch: bool = True,
    max_in_flight: int = 1,
    **_: Any,
) -> list[tuple[str, str]]:
    """Call the batch, or one feature after the other."""
    project = client.project()
    if is_batch:
        many: Any = project.run_features if kind == "run" else project.generate_features
        items = await many(features, key="nightly", max_in_flight=max_in_flight)
        return [(str(item.verdict), str(item.ref)) for item in items]
    one: Any = project.run_feature if kind == "run" else project.generate_feature
    results: list[tuple[str, str]] = []
    for feature in features:
        try:
            operation = await one(feature, key=feature)
            await operation
            results.append(("succeeded", str(operation.ref)))
        except VibeError as error:
            results.append((getattr(error, "reason", type(error).__name__), ""))
    return results


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
