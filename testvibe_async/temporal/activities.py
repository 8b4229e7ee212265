"""The activities of a worker: which features a project has, and one chunk of a batch.

A chunk is the core's own batch, on a ledger that the engine keeps. The engine decides which worker
carries it, and who takes over; the core decides what a dispatch is.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from testvibe_async.errors import ConfigError, VibeError
from testvibe_async.ledger import Decision, Ledger
from testvibe_async.outcomes import BatchSummary
from testvibe_async.refs import Ref
from testvibe_async.temporal.ledger import HeartbeatLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import temporalio.client

    from testvibe_async import Batch, Client, Project
    from testvibe_async.outcomes import BatchItem

BEAT_SECONDS = 2.0
"""Seconds between two heartbeats of a chunk."""

ASK_BEATS = 2
"""Number of heartbeats after which a chunk asks whether its batch is stopped."""

BUSY_SECONDS = 2.0
"""Seconds after which a chunk is offered again that a worker had no slot for."""

MAX_RESULT_BYTES = 1_000_000
"""Size from which the tests of items are left out of a result: the engine takes at most 2 MB."""


class Activities:
    """The activities of one worker."""

    def __init__(
        self,
        engine: temporalio.client.Client,
        client: Callable[[Ledger | None], Client],
        *,
        max_chunks: int,
    ) -> None:
        """Create the activities.

        Args:
            engine: The connection to the engine.
            client: Makes a client of the service with a ledger.
            max_chunks: Maximum number of chunks that the worker carries at once.
        """
        self._engine = engine
        self._client = client
        self._slots = max_chunks
        self._chunks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    @activity.defn(name="testvibe.features")
    async def features(self, request: dict[str, Any]) -> list[int]:
        """Return the features that a batch without names has: those with tests, or those without."""
        try:
            async with self._client(None) as client:
                rows = (await client.project(request.get("project")).list_features()).require_complete()
        except ConfigError as error:
            raise ApplicationError(str(error), type="ConfigError", non_retryable=True) from error
        is_run = request.get("kind", "run") == "run"
        found = [
            row.id
            for row in rows
            if not row.is_suggestion and (row.has_tests if is_run else row.needs_tests)
        ]
        if not found:
            what = "the project has no feature " + ("with tests" if is_run else "without tests")
            raise ApplicationError(what, type="ConfigError", non_retryable=True)
        return found

    @activity.defn(name="testvibe.chunk")
    async def chunk(self, job: dict[str, Any]) -> dict[str, Any]:
        """Carry a chunk of a batch, in a task of its own: the SDK's heartbeats are not durable."""
        info = activity.info()
        handle = self._engine.get_async_activity_handle(task_token=info.task_token)
        rows = info.heartbeat_details[0] if info.heartbeat_details else job.get("rows", [])
        if self._is_stopping or len(self._chunks) >= self._slots:
            await handle.heartbeat(rows)  # The next try needs them.
            what = "this worker has enough chunks"
            delay = timedelta(seconds=BUSY_SECONDS)
            raise ApplicationError(what, type="Busy", next_retry_delay=delay)
        chunk = Chunk(self._engine, handle, info, job)
        task = asyncio.create_task(chunk.carry(self._client, rows), name="testvibe_async chunk")
        self._chunks.add(task)
        task.add_done_callback(self._chunks.discard)
        activity.raise_complete_async()

    async def aclose(self) -> None:
        """Give the chunks under way back to the engine, with all that is known of them."""
        self._is_stopping = True
        for task in self._chunks:
            task.cancel()
        await asyncio.gather(*self._chunks, return_exceptions=True)


class Chunk:
    """One try to carry a chunk."""

    def __init__(
        self,
        engine: temporalio.client.Client,
        handle: temporalio.client.AsyncActivityHandle,
        info: activity.Info,
        job: Mapping[str, Any],
    ) -> None:
        self._handle = handle
        self._job = job
        self._key = str(info.workflow_id)
        self._workflow = engine.get_workflow_handle(self._key, run_id=info.workflow_run_id)
        limit = job.get("maxGenerations")
        self._ledger = HeartbeatLedger(handle.heartbeat, limit=limit)

    async def carry(self, client: Callable[[Ledger | None], Client], rows: list[str]) -> None:
        """Carry the chunk, and report its result, or that it is free to be taken over."""
        try:
            result = await self._result(client, rows)
        except asyncio.CancelledError:
            with suppress(RPCError, AsyncActivityCancelledError):
                await self._ledger.beat()
                what, now = "the worker stops", timedelta(milliseconds=1)
                await self._handle.fail(ApplicationError(what, next_retry_delay=now))
            raise
        except _LostError:
            return  # Another worker carries it.
        except ConfigError as error:
            failure = ApplicationError(str(error), type="ConfigError", non_retryable=True)
            await self._until_heard(lambda: self._handle.fail(failure))
        except Exception as error:  # noqa: BLE001 - the engine tries again
            text = str(error)
            await self._until_heard(lambda: self._handle.fail(ApplicationError(text)))
        else:
            await self._until_heard(lambda: self._handle.complete(result))

    async def _result(
        self, client: Callable[[Ledger | None], Client], rows: list[str]
    ) -> dict[str, Any]:
        await self._ledger.load(rows)
        request = self._job["request"]
        for decision in self._job.get("decisions", []):
            with suppress(ConfigError):  # Nothing of this feature is unknown any more.
                await self._ledger.decide(
                    self._key, _decision(decision), feature=decision.get("feature")
                )
        async with client(self._ledger) as opened:
            project = opened.project(request.get("project"))
            async with self._batch(project, request) as batch:
                beating = asyncio.create_task(self._beat(batch))
                try:
                    reading = asyncio.ensure_future(_all(batch))
                    await asyncio.wait([reading, beating], return_when=asyncio.FIRST_COMPLETED)
                    if beating.done():
                        reading.cancel()
                        beating.result()
                    await reading
                finally:
                    beating.cancel()
                items = batch.items
        return {
            "summary": _counts(items),
            "items": _documents(items),
            "rows": self._ledger.state(),
        }

    def _batch(self, project: Project, request: Mapping[str, Any]) -> Batch[Any]:
        common: dict[str, Any] = {
            "site_url": request.get("siteUrl"),
            "max_in_flight": self._job["maxInFlight"],
            "on_conflict": request.get("onConflict"),
            "stop_on_failure": request.get("maxFailures", False),
            "key": self._key,
        }
        features = self._job["features"]
        if request.get("kind", "run") == "generation":
            return project.generate_features(features, **common)
        return project.run_features(
            features, config=request.get("configs"), attempts=request.get("attempts"), **common
        )

    async def _beat(self, batch: Batch[Any]) -> None:
        """Send heartbeats, and stop the batch once that is asked for.

        Raises:
            _LostError: The engine has given the chunk to another worker.
        """
        beats = 0
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            beats += 1
            try:
                await self._ledger.beat()
                if beats % ASK_BEATS == 0 and await self._workflow.query("stopped"):
                    batch.stop()
            except AsyncActivityCancelledError:
                batch.stop()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    raise _LostError from error
                # The engine is away: nothing new is dispatched, since no row is acknowledged.

    async def _until_heard(self, report: Callable[[], Any]) -> None:
        """Report to the engine until it hears, or has no such try any more."""
        while True:
            try:
                await report()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return
                await asyncio.sleep(BEAT_SECONDS)
            else:
                return


class _LostError(Exception):
    """The engine has given the chunk to another worker."""


async def _all(batch: Batch[Any]) -> None:
    async for _ in batch:
        pass


def _decision(document: Mapping[str, Any]) -> Decision:
    decision: Any = document["decision"]
    return Ref.from_dict(decision) if isinstance(decision, dict) else decision


def _counts(items: list[BatchItem[Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in items:
        counts[str(item.verdict)] = counts.get(str(item.verdict), 0) + 1
    return counts


def _documents(items: list[BatchItem[Any]]) -> list[dict[str, Any]]:
    """Return the items as plain JSON; without their tests if there would be too much of it."""
    documents = [item.to_dict() for item in items]
    if sum(len(str(each)) for each in documents) > MAX_RESULT_BYTES:
        for document in documents:
            for outcome in (document.get("outcome"), *document.get("runs", [])):
                if outcome is not None:
                    for name in ("tests", "artifacts", "log"):
                        outcome.pop(name, None)
    return documents
