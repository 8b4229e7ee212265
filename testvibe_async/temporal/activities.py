"""The activities of a worker: which features a project has, and one chunk of a batch.

A chunk is the core's own batch, on a ledger that the engine keeps. The engine decides which worker
carries it, and who takes over; the core decides what a dispatch is.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve
from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from testvibe_async.batch import is_refusal, select_features
from testvibe_async.errors import ConfigError, VibeError
from testvibe_async.outcomes import Verdict
from testvibe_async.refs import Ref
from testvibe_async.temporal.ledger import HeartbeatLedger, shortened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias

    import temporalio.client

    from testvibe_async import Batch, Client
    from testvibe_async.ledger import Ledger
    from testvibe_async.outcomes import BatchItem

    Clients: TypeAlias = Callable[[Ledger | None], Client]

BEAT_SECONDS = 2.0
"""Seconds between two heartbeats of a chunk, and between two questions whether it is to stop."""

RPC_SECONDS = timedelta(seconds=3)
"""Seconds that a heartbeat or a question may take: both must fit into the heartbeat time-out."""

BUSY_SECONDS = 2.0
"""Seconds after which a chunk is offered again that a worker had no slot for."""

END_SECONDS = 8.0
"""Seconds in which a worker that ends gives its chunks back: 1.5 are spent on late answers."""


class Activities:
    """The activities of one worker."""

    def __init__(self, engine: temporalio.client.Client, client: Clients, max_chunks: int) -> None:
        """Create the activities.

        Args:
            engine: The connection to the engine.
            client: Makes a client of the service with a ledger.
            max_chunks: Maximum number of chunks that the worker carries at once.
        """
        self._engine = engine
        self._client = client
        self._slots = max_chunks
        self._chunks: dict[asyncio.Task[None], Chunk] = {}

    @activity.defn(name="testvibe.features")
    async def features(self, request: dict[str, Any]) -> list[int]:
        """Return the features of a batch without names: those with tests, or those without."""
        is_run = request.get("kind", "run") == "run"
        try:
            async with self._client(None) as client:
                listing = await client.project(request.get("project")).list_features()
            found = select_features(
                listing, lambda row: (row.has_tests, row.needs_tests)[not is_run]
            )
        except VibeError as error:
            raise _failure(error) from error
        if not found:
            raise _failure(ConfigError("the project has no such feature"))
        return [row.id for row in found]

    @activity.defn(name="testvibe.chunk")
    async def chunk(self, job: dict[str, Any]) -> None:
        """Carry a chunk of a batch, in a task of its own: the SDK's heartbeats are not durable."""
        if job["runId"] != activity.info().workflow_run_id:
            # What was dispatched is known to the first run alone.
            what = "this batch was reset, retried or continued, and would dispatch again"
            raise _failure(ConfigError(f"{what}: start a new one, with another workflow id"))
        if len(self._chunks) >= self._slots:
            raise _offered_again("this worker has enough chunks", BUSY_SECONDS)
        chunk = Chunk(self._engine, activity.info(), job)
        task = asyncio.create_task(chunk.carry(self._client), name="testvibe_async chunk")
        self._chunks[task] = chunk
        task.add_done_callback(self._chunks.pop)
        activity.raise_complete_async()

    async def aclose(self) -> None:
        """Give the chunks under way back to the engine, with all that is known of them."""
        self._slots = 0
        for chunk in self._chunks.values():
            chunk.leaving.set()
        if self._chunks:
            _, late = await asyncio.wait(self._chunks, timeout=END_SECONDS)
            for task in late:  # The engine is away: it misses the heartbeats.
                task.cancel()


class Chunk:
    """One try to carry a chunk."""

    def __init__(
        self, engine: temporalio.client.Client, info: activity.Info, job: Mapping[str, Any]
    ) -> None:
        self._handle = engine.get_async_activity_handle(task_token=info.task_token)
        self._key = str(info.workflow_id)
        self._workflow = engine.get_workflow_handle(self._key, run_id=info.workflow_run_id)
        self._job = job
        self._rows: list[str] = next(iter(info.heartbeat_details), job.get("rows", []))
        beat = partial(self._handle.heartbeat, rpc_timeout=RPC_SECONDS)
        self._ledger = HeartbeatLedger(beat)
        self.leaving: asyncio.Event = asyncio.Event()
        """Set to give the chunk back to the engine, unless its result is being reported."""
        self._batch: Batch[Any] | None = None
        self._is_stopped = False
        self._failures = 0

    async def carry(self, client: Clients) -> None:
        """Carry the chunk, and report its result, or that it is free to be taken over."""
        working = asyncio.create_task(self._result(client))
        beating = asyncio.create_task(self._beat())
        try:
            await asyncio.wait([working, beating], return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            beating.cancel()
        await asyncio.gather(working, beating, return_exceptions=True)
        if working.cancelled() or self._ledger.is_broken:
            await self._fail(_offered_again("the worker gave the chunk back", 0.001))
        elif (error := working.exception()) is not None:
            await self._fail(_failure(error))
        else:
            await self._until_heard(lambda: self._handle.complete(working.result()))

    async def _result(self, client: Clients) -> dict[str, Any]:
        await self._ledger.load(self._rows)
        for decision in self._job.get("decisions", []):
            asked = {**decision}
            value: Any = asked.pop("decision")
            with suppress(ConfigError):  # It is another chunk's, or no such operation can be it.
                value = value if isinstance(value, str) else Ref.from_dict(value)
                await self._ledger.decide(self._key, value, **asked)
        await self._ask()
        async with client(self._ledger) as opened, self._made(opened) as batch:
            self._batch = batch
            if self._is_stopped:
                batch.stop()
            async for _ in batch:
                pass
            items = batch.items
        unknown = [item for item in items if item.verdict is Verdict.UNKNOWN]
        undecided = [
            [each.feature, each.name, each.config] for each in unknown if not each.is_dropped
        ]
        return {
            "summary": Counter(str(item.verdict) for item in items),
            "items": _documents(items, self._job["maxBytes"]),
            "undecided": undecided,
            "rows": self._ledger.state() if undecided else [],
        }

    def _made(self, client: Client) -> Batch[Any]:
        request = self._job["request"]
        project = client.project(request.get("project"))
        common: dict[str, Any] = {
            "features": self._job["features"],
            "site_url": request.get("siteUrl"),
            "max_in_flight": self._job["maxInFlight"],
            "on_conflict": request.get("onConflict"),
            "stop_on_failure": request.get("maxFailures", False),
            "key": self._key,
        }
        if request.get("kind", "run") == "generation":
            return project.generate_features(**common)
        return project.run_features(
            config=request.get("configs"), attempts=request.get("attempts"), **common
        )

    async def _beat(self) -> None:
        """Send heartbeats, and ask whether to stop, until the chunk is to be given back."""
        while not self._ledger.is_broken:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self.leaving.wait()
                return
            try:
                await self._ledger.beat()
            except AsyncActivityCancelledError:  # Paused or reset, by a person.
                return
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:  # Another worker has it.
                    return
                # The engine is away: what is in flight is still polled.
            await self._ask()

    async def _ask(self) -> None:
        """Report failures if the batch limits them, and ask whether to dispatch nothing more."""
        failures = 0
        if self._batch is not None and "maxFailures" in self._job["request"]:
            failures = sum(item.is_bad for item in self._batch.items)
        with suppress(RPCError, WorkflowQueryFailedError):
            if failures > self._failures:
                report = [self._job["index"], failures]
                await self._workflow.signal("failures", args=report, rpc_timeout=RPC_SECONDS)
                self._failures = failures
            self._is_stopped |= await self._workflow.query("stopped", rpc_timeout=RPC_SECONDS)
        if self._is_stopped and self._batch is not None:
            self._batch.stop()

    async def _fail(self, error: ApplicationError) -> None:
        state = self._ledger.state() or self._rows
        await self._until_heard(lambda: self._handle.fail(error, last_heartbeat_details=[state]))

    async def _until_heard(self, report: Callable[[], Awaitable[None]]) -> None:
        """Report to the engine until it hears, or has no such try any more."""
        while True:
            try:
                return await report()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
            await asyncio.sleep(BEAT_SECONDS)


def _offered_again(what: str, seconds: float) -> ApplicationError:
    """Return the error with which a chunk is offered to all workers again."""
    delay, category = timedelta(seconds=seconds), ApplicationErrorCategory.BENIGN
    return ApplicationError(what, type="OfferedAgain", next_retry_delay=delay, category=category)


def _failure(error: BaseException) -> ApplicationError:
    """Return an error for the engine, which tries again unless that would fail the same way."""
    refused = error if isinstance(error, VibeError) else None
    is_final = isinstance(error, ConfigError) or is_refusal(refused)
    return ApplicationError(str(error)[:1000], type=type(error).__name__, non_retryable=is_final)


def _documents(items: list[BatchItem[Any]], max_bytes: int) -> list[dict[str, Any]]:
    """Return the items as plain JSON; with few of their tests if there would be too much of it."""
    documents = [item.to_dict() for item in items]
    if len(json.dumps(documents)) <= max_bytes:
        return documents
    return [
        evolve(
            item, outcome=shortened(item.outcome), earlier=tuple(map(shortened, item.earlier))
        ).to_dict()
        for item in items
    ]
