"""One try to carry a chunk of a batch: the core's own batch, on a ledger that the engine keeps.

The engine decides which worker carries a chunk, and which one takes over. The core decides what a
dispatch is. Decides here when a try gives its chunk back, and what it reports.
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
from temporalio.client import AsyncActivityCancelledError, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from testvibe_async.batch import is_refusal
from testvibe_async.errors import ConfigError, LedgerError, VibeError
from testvibe_async.outcomes import Verdict
from testvibe_async.refs import Ref
from testvibe_async.temporal.ledger import ChunkLedger, shortened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias

    import temporalio.client
    from temporalio import activity

    from testvibe_async import Batch, Client
    from testvibe_async.ledger import Ledger
    from testvibe_async.outcomes import BatchItem

    Clients: TypeAlias = Callable[[Ledger | None], Client]

BEAT_SECONDS = 2.0
"""Seconds between two heartbeats of a chunk, and between two questions whether it is to stop."""

RPC_SECONDS = timedelta(seconds=3)
"""Seconds that a heartbeat or a question may take: both must fit into the heartbeat time-out."""

_EXPECTED = ApplicationErrorCategory.BENIGN
"""The category of errors that the SDK does not log."""

_OPTIONS = {
    "siteUrl": "site_url",
    "onConflict": "on_conflict",
    "maxFailures": "stop_on_failure",
    "configs": "config",
    "attempts": "attempts",
}
"""The arguments of `run_features` and `generate_features`, by the members of a request."""


class Chunk:
    """One try to carry a chunk."""

    def __init__(
        self, engine: temporalio.client.Client, info: activity.Info, job: Mapping[str, Any]
    ) -> None:
        self._handle = engine.get_async_activity_handle(task_token=info.task_token)
        self._key = str(info.workflow_id)
        self._workflow = engine.get_workflow_handle(self._key, run_id=info.workflow_run_id)
        self._job = job
        self._request: dict[str, Any] = job["request"]
        self._rows: list[str] = next(iter(info.heartbeat_details), job["rows"])
        beat = partial(self._handle.heartbeat, rpc_timeout=RPC_SECONDS)
        self.ledger: ChunkLedger = ChunkLedger(beat)
        self._batch: Batch[Any] | None = None
        self._failures = 0

    async def carry(self, client: Clients) -> None:
        """Carry the chunk, and report its result, or that it is free to be taken over."""
        working = asyncio.create_task(self._result(client))
        losses = asyncio.create_task(self._beat()), asyncio.create_task(self.ledger.lost.wait())
        await asyncio.wait([working, *losses], return_when=asyncio.FIRST_COMPLETED)
        for task in (working, *losses):
            task.cancel()
        await asyncio.wait([working, *losses])
        if working.cancelled() or self.ledger.lost.is_set():
            await self._fail(offered_again("the worker gave the chunk back", 0.001))
        elif (error := working.exception()) is not None:
            await self._fail(engine_error(error))
        else:
            await _until_heard(lambda: self._handle.complete(working.result()))

    async def _result(self, client: Clients) -> dict[str, Any]:
        await self.ledger.load(self._rows)
        for decision in self._job["decisions"]:
            asked = {**decision}
            value: Any = asked.pop("decision")
            with suppress(ConfigError):  # It is another chunk's, or no such operation can be it.
                value = value if isinstance(value, str) else Ref.from_dict(value)
                await self.ledger.decide(self._key, value, **asked)
        # A client of its own: what another try observed must not count for this one.
        async with client(self.ledger) as opened, self._made(opened) as self._batch:
            await self._ask()
            async for _ in self._batch:
                pass
            items = self._batch.items
        if any(isinstance(item.error, LedgerError) for item in items):
            self.ledger.lost.set()  # A row was stored too late to send its request.
        unknown = [item for item in items if item.verdict is Verdict.UNKNOWN]
        undecided = [[i.feature, i.name, i.config] for i in unknown if not i.is_dropped]
        return {
            "summary": Counter(str(item.verdict) for item in items),
            "items": _documents(items, self._job["maxBytes"]),
            "undecided": undecided,
            "rows": self.ledger.state() if undecided else [],
        }

    def _made(self, client: Client) -> Batch[Any]:
        project = client.project(self._request.get("project"))
        is_run = self._request.get("kind", "run") == "run"
        dispatch: Any = project.run_features if is_run else project.generate_features
        options = {name: self._request.get(member) for member, name in _OPTIONS.items()}
        batch: Batch[Any] = dispatch(
            self._job["features"],
            max_in_flight=self._job["maxInFlight"],
            key=self._key,
            **{name: value for name, value in options.items() if value is not None},
        )
        return batch

    async def _beat(self) -> None:
        """Send heartbeats, and ask whether to stop, until another try has the chunk."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.ledger.beat()
            except AsyncActivityCancelledError:  # Paused or reset, by a person.
                return
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return
                # The engine is away: what is in flight is still polled.
            await self._ask()

    async def _ask(self) -> None:
        """Report failures if the batch limits them; stop dispatching if the batch does."""
        if self._batch is None:
            return
        is_limited = "maxFailures" in self._request
        failures = sum(item.is_bad for item in self._batch.items) if is_limited else 0
        with suppress(RPCError, WorkflowQueryFailedError):
            if failures > self._failures:
                report = [self._job["index"], failures]
                await self._workflow.signal("failures", args=report, rpc_timeout=RPC_SECONDS)
                self._failures = failures
            if await self._workflow.query("stopped", rpc_timeout=RPC_SECONDS):
                self._batch.stop()

    async def _fail(self, error: ApplicationError) -> None:
        state = self.ledger.state() or self._rows
        await _until_heard(lambda: self._handle.fail(error, last_heartbeat_details=[state]))


async def _until_heard(report: Callable[[], Awaitable[None]]) -> None:
    """Report to the engine until it acknowledges, or no longer has this try."""
    while True:
        try:
            return await report()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
        await asyncio.sleep(BEAT_SECONDS)


def offered_again(what: str, seconds: float) -> ApplicationError:
    """Return the error with which a chunk is offered to all workers again."""
    delay = timedelta(seconds=seconds)
    return ApplicationError(what, type="OfferedAgain", next_retry_delay=delay, category=_EXPECTED)


def engine_error(error: BaseException) -> ApplicationError:
    """Return an error for the engine, which tries again unless that would fail the same way."""
    refused = error if isinstance(error, VibeError) else None
    is_final = isinstance(error, ConfigError) or is_refusal(refused)
    # What the service causes is announced in a line: the engine's SDK would log a traceback.
    category = ApplicationErrorCategory.UNSPECIFIED if refused is None else _EXPECTED
    return ApplicationError(
        str(error)[:1000],
        type=type(error).__name__,
        non_retryable=is_final,
        category=category,
    )


def _documents(items: list[BatchItem[Any]], max_bytes: int) -> list[dict[str, Any]]:
    """Return the items as plain JSON; with few of their tests if there would be too much of it."""
    documents = [item.to_dict() for item in items]
    if len(json.dumps(documents)) <= max_bytes:
        return documents
    return [
        evolve(
            item,
            outcome=item.outcome and shortened(item.outcome),
            earlier=tuple(map(shortened, item.earlier)),
        ).to_dict()
        for item in items
    ]
