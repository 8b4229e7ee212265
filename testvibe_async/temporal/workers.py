"""A worker: a process, or a part of an application's own, that carries chunks of batches."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from testvibe_async.temporal.activities import Activities
from testvibe_async.temporal.workflow import BatchWorkflow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import temporalio.client

    from testvibe_async import Client
    from testvibe_async.ledger import Ledger

TASK_QUEUE = "testvibe"
"""The task queue of workers and batches that name no other."""


@asynccontextmanager
async def worker(
    engine: temporalio.client.Client,
    client: Callable[[Ledger | None], Client],
    *,
    task_queue: str = TASK_QUEUE,
    max_chunks: int = 8,
) -> AsyncGenerator[Worker]:
    """Run a worker for as long as the block runs.

    For example::

        engine = await temporalio.client.Client.connect("localhost:7233")
        async with worker(engine, lambda ledger: Client(ledger=ledger)):
            await stopped.wait()

    At the end, the chunks under way are given back to the engine within a few seconds, and another
    worker takes them over. Nothing is cancelled at the service.

    Args:
        engine: The connection to the engine.
        client: Makes a client of the service: it takes the ledger that the client must have.
        task_queue: The task queue.
        max_chunks: Maximum number of chunks, of up to 100 features each, to carry at once.

    Raises:
        RuntimeError: The engine has no such namespace, or the worker failed in another way.
    """
    activities = Activities(engine, client, max_chunks)
    running = Worker(
        engine,
        task_queue=task_queue,
        workflows=[BatchWorkflow],
        activities=[activities.features, activities.chunk],
        # The sandbox would import the package anew for each batch.
        workflow_runner=UnsandboxedWorkflowRunner(),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=5),
        graceful_shutdown_timeout=timedelta(seconds=5),
    )
    async with running:
        try:
            yield running
        finally:  # It must not take back a chunk that it gives back.
            await asyncio.gather(running.shutdown(), activities.aclose())
