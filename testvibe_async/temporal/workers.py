"""A worker: a process, or a part of an application's own, that carries chunks of batches."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from testvibe_async.batch import select_features
from testvibe_async.errors import ConfigError, VibeError
from testvibe_async.temporal.chunks import Chunk, engine_error, offered_again
from testvibe_async.temporal.workflow import BatchWorkflow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import temporalio.client

    from testvibe_async import Client
    from testvibe_async.ledger import Ledger
    from testvibe_async.temporal.chunks import Clients

TASK_QUEUE = "testvibe"
"""The task queue of workers and batches that name no other."""

BUSY_SECONDS = 2.0
"""Seconds after which a chunk is offered again that a worker had no slot for."""

LIST_SECONDS = 40.0
"""Seconds of an outage after which another worker may list the features of a batch."""

END_SECONDS = 4.0
"""Seconds in which a worker that ends gives its chunks back: 1.5 are spent on late answers."""


class _Activities:
    """The activities of one worker."""

    def __init__(self, engine: temporalio.client.Client, client: Clients, slots: int) -> None:
        self._engine = engine
        self._client = client
        self._slots = slots
        self._chunks: dict[asyncio.Task[None], Chunk] = {}

    @activity.defn(name="testvibe.features")
    async def features(self, request: dict[str, Any]) -> list[int]:
        """Return the features of a batch without names: those with tests, or those without."""
        is_meant = attrgetter("has_tests" if request.get("kind", "run") == "run" else "needs_tests")
        try:
            async with self._client(None) as client:
                project = client.project(request.get("project"))
                listing = await project.list_features(max_outage=LIST_SECONDS)
            if not (found := select_features(listing, is_meant)):
                raise ConfigError("the project has no such feature")
        except VibeError as error:
            raise engine_error(error) from error
        return [row.id for row in found]

    @activity.defn(name="testvibe.chunk")
    async def chunk(self, job: dict[str, Any]) -> None:
        """Carry a chunk of a batch, in a task of its own: the SDK's heartbeats are not durable."""
        if job["runId"] != activity.info().workflow_run_id:
            # What was dispatched is known to the first run alone.
            what = "this batch was reset, retried or continued, and would dispatch again"
            raise engine_error(ConfigError(f"{what}: start a new one, with another workflow id"))
        if len(self._chunks) >= self._slots:
            raise offered_again("this worker has enough chunks", BUSY_SECONDS)
        chunk = Chunk(self._engine, activity.info(), job)
        task = asyncio.create_task(chunk.carry(self._client), name="testvibe_async chunk")
        self._chunks[task] = chunk
        task.add_done_callback(self._chunks.pop)
        activity.raise_complete_async()

    async def aclose(self) -> None:
        """Return the chunks under way to the engine, with all rows and items."""
        self._slots = 0
        for chunk in self._chunks.values():
            chunk.ledger.lost.set()
        if self._chunks:
            _, late = await asyncio.wait(self._chunks, timeout=END_SECONDS)
            for task in late:  # The engine is away: it misses the heartbeats.
                task.cancel()


@asynccontextmanager
async def worker(
    engine: temporalio.client.Client,
    client: Callable[[Ledger | None], Client],
    *,
    task_queue: str = TASK_QUEUE,
    max_chunks: int = 8,
) -> AsyncGenerator[Worker]:
    """Run a worker until the block ends.

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
    activities = _Activities(engine, client, max_chunks)
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
