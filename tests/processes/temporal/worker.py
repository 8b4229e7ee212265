"""A worker that kills itself at a step of a dispatch if asked to.

`python -m tests.processes.temporal.worker OPTIONS`, where the options are one JSON object.
"""

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from temporalio.client import Client as Engine

from tests.processes.temporal.conftest import quicken
from testvibe_async import Client
from testvibe_async.ledger import Ledger, Row, RowState
from testvibe_async.temporal import worker
from testvibe_async.temporal.ledger import ChunkLedger

seen = 0


def die_at(step: str, count: int) -> None:
    """Have this process die when a step is reached for the given time, counted from 1."""
    insert, note = ChunkLedger.insert, ChunkLedger.note

    def pass_by() -> None:
        global seen  # noqa: PLW0603 - one process, one count
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    async def inserted(self: ChunkLedger, row: Row) -> Row:
        stored = await insert(self, row)
        if step == "after the row" and not row.is_plan:
            pass_by()
        return stored

    async def noted(self: ChunkLedger, row: Row) -> None:
        if step == "after the POST" and row.state is RowState.DISPATCHED:
            pass_by()
        await note(self, row)

    ChunkLedger.insert = inserted  # type: ignore[method-assign]
    setattr(ChunkLedger, "note", noted)  # noqa: B010 - it is inherited


async def work(options: dict[str, Any]) -> None:
    """Work until a signal ends it."""
    quicken(setattr)

    def made(ledger: Ledger | None) -> Client:
        # Twice the time-out passes before the rows of a worker that dies expire.
        return Client(ledger=ledger, poll_interval=0.4, timeout=options.get("timeout", 5.0))

    die_at(options.get("step", ""), options.get("count", 1))
    engine = await Engine.connect(options["address"])
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    queue, chunks = options["queue"], options.get("chunks", 8)
    async with worker(engine, made, task_queue=queue, max_chunks=chunks):
        print("ready", flush=True)
        await stopped.wait()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
