"""Batches that calls start, and that outlive them: each is kept in a journal, in its place.

Decides what a call does with what an earlier one of the same meaning dispatched, also where that
one's answer was lost. The work is done in a task of its own, so a client that gives up loses the
answer, and not the operation. What the features of a batch are, and how it is dispatched, is
decided in the runner.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve, frozen

from testvibe_async import NotSentError
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.answers import STILL_IN_FLIGHT, answer_of_wait, ids_of
from testvibe_async.mcp_server.memory import pause
from testvibe_async.mcp_server.waits import Progress
from testvibe_async.runner.generation_limit import with_limit_named

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from datetime import datetime

    from mcp.types import CallToolResult

    from testvibe_async import Batch, Journal, Project, Ref
    from testvibe_async.mcp_server.budget import Document
    from testvibe_async.mcp_server.memory import Place
    from testvibe_async.mcp_server.session import Session
    from testvibe_async.mcp_server.toolkit import Call
    from testvibe_async.runner.selection import Selection
    from testvibe_async.runner.spec import BatchSpec

ELSEWHERE = "an earlier call of the same, here or to another server of this user, is not done yet"
"""Why a call has started nothing."""


@frozen
class Start:
    """What a call wants to start, unless an earlier one did."""

    place: Place
    """Where it is kept: the same for each call of the same meaning."""

    home: Project
    spec: BatchSpec
    choose: Callable[[], Awaitable[Selection]]
    """Chooses the features of a new batch; it may refuse."""

    @asynccontextmanager
    async def journal(self) -> AsyncGenerator[tuple[Journal, Selection | None]]:
        """Open its journal, with the features if it is new; its lock must be held."""
        await self.place.forget_useless()
        selection = None if self.place.path.exists() else await self.choose()
        async with self.place.journal(**_kept(selection)) as journal:
            yield journal, selection

    def batch(self, journal: Journal, selection: Selection | None) -> Batch[Any]:
        """Return the batch of its journal: a new one of these features, or the one that it has."""
        spec, kept = self.spec, _kept(selection)
        features: Any = selection and selection.features
        if journal.plan is not None:
            spec, kept = evolve(spec, site_url=journal.plan.site_url), journal.plan.options
            features = None if journal.is_complete else kept["features"]
        return spec.start(self.home, features, kept["configs"], timeout=None, journal=journal)


def _kept(selection: Selection | None) -> Document:
    """Return what a new journal keeps of a selection."""
    if selection is None:
        return {}
    return {
        "features": [each if isinstance(each, str) else each.id for each in selection.features],
        "configs": list(selection.configs),
        "notRun": [
            {
                "feature": each.name or str(each.id),
                "status": "suggestion" if each.is_suggestion else str(each.status or "draft"),
            }
            for each in selection.left_out
        ],
    }


@frozen
class Started:
    """An operation that a call dispatched, or an earlier call of the same meaning."""

    ref: Ref
    started_at: datetime
    is_new: bool
    """Whether this call dispatched it."""

    @property
    def document(self) -> Document:
        """Its ids, and when it was started."""
        return {**ids_of(self.ref), "startedAt": serialize(self.started_at)}


def time_of(started_at: datetime | None) -> str:
    """Return when a call started something, for a sentence."""
    return f"{started_at:%Y-%m-%d %H:%M:%S} UTC"


def not_started(tool: str, feature: str, why: str = ELSEWHERE) -> CallToolResult:
    """Say that a call has started nothing yet."""
    note = f"{STILL_IN_FLIGHT} call {tool} again with the same arguments."
    return answer_of_wait(f"{feature} is not started by this call ({why}).", {}, note=note)


async def started_once(call: Call, start: Start, *, seconds: float) -> Started | str:
    """Dispatch a batch of one feature, unless that was done and its answer is not delivered.

    Args:
        call: The call.
        start: What to start.
        seconds: How long to wait for the answer.

    Returns:
        What was started; why there is nothing yet when the time is over.

    Raises:
        VibeError: It could not be dispatched, or it is unknown whether it was.
    """
    session, task = call.session, None
    with anyio.move_on_after(seconds):
        async with Progress(call.ctx).repeated():
            while (lock := start.place.lock()) is None:
                await pause()
            task = session.memory.work(lock, _started(session, start))
            await asyncio.wait({task})
    if task is None:
        return ELSEWHERE
    return task.result() if task.done() else "the service has not answered yet"


async def _started(session: Session, start: Start) -> Started:
    async with start.journal() as (journal, selection):
        is_new = selection is not None or await _is_nothing(session, journal)
        if not journal.refs:
            await _dispatch(start.batch(journal, selection))
        (ref,) = journal.refs
        started_at = ref.dispatched_at or journal.created_at
        assert started_at is not None
        return Started(ref, started_at, is_new)


async def _is_nothing(session: Session, journal: Journal) -> bool:
    """Return whether it is proved that a dispatch whose answer was lost started nothing.

    Raises:
        DispatchUnknownError: It is unknown.
    """
    if any(item.ref is not None for item in journal.items):
        return False
    for intent in journal.open_intents:
        operation = await session.client.reconcile(intent)
        await journal.decide("resend" if operation is None else operation.ref)
        if operation is not None:
            return False
        nothing = NotSentError("nothing started", method="POST", url=intent.server)
        await session.generations.not_dispatched(intent, nothing)
    return True


async def _dispatch(batch: Batch[Any]) -> None:
    """Run a batch of one feature until that is dispatched."""
    async with batch, aclosing(batch.changes()) as changes:
        async for _ in changes:
            break
        if not batch.refs:
            await anext(batch)  # It raises what else went wrong.
    error = with_limit_named(batch.items[0]).error
    if error is not None and not batch.refs:
        raise error


class SharedBatch:
    """A batch of many runs, as far as it has come, for all calls that wait for it."""

    task: asyncio.Task[None]
    """Runs it to its end."""

    def __init__(self) -> None:
        self.batch: Batch[Any] | None = None
        """The batch, once it has begun."""
        self.not_run: list[Document] = []
        """The features that are left out."""
        self.started_at: datetime | None = None
        self.is_resumed: bool = False
        """Whether a call started it that has ended without its result, or whose server has."""
        self._line = "the features are being chosen"
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, start: Start) -> None:
        """Start the batch, or resume it, and run it to its end; the lock must be held.

        Raises:
            VibeError: It could not start.
        """
        async with start.journal() as (journal, selection):
            self.is_resumed = selection is None
            self.batch = start.batch(journal, selection)
            assert journal.plan is not None
            self.not_run, self.started_at = journal.plan.options["notRun"], journal.created_at
            async with self.batch as batch:
                async for item in batch:
                    word = f"{item.verdict}, flaky" if item.is_flaky else item.verdict
                    self._line = f"{batch.summary}; {item.feature_name}: {word}"
                    self._changed.set_result(None)
                    self._changed = asyncio.get_running_loop().create_future()

    async def wait(self, progress: Progress, seconds: float) -> None:
        """Wait until the batch is over, for so many seconds at most, and report its changes."""
        with anyio.move_on_after(seconds):
            while not self.task.done():
                await progress.report(self._line)
                changes = {self.task, self._changed}
                await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)


async def shared_batch(session: Session, start: Start, *, deadline: float) -> SharedBatch | None:
    """Return the batch that is in flight, else start it; None where another server has it."""
    known: dict[Place, SharedBatch] = session.memory.shared
    while (shared := known.get(start.place)) is None and anyio.current_time() < deadline:
        if (lock := start.place.lock()) is None:
            await pause()
            continue
        shared = known[start.place] = SharedBatch()
        shared.task = session.memory.work(lock, shared.run(start))
        shared.task.add_done_callback(lambda _: known.pop(start.place))
    return shared
