"""What the tools that dispatch have in common: what was begun, under which name, and whose consent.

Decides what a call's arguments make the same call as an earlier one, how far its batch has come,
and when the user is asked for credits. A call goes on with what an earlier one began, also one
before a restart; it begins anew where that ended long ago, or where `again` says so.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from attrs import define, frozen

from testvibe_async import Batch, Generation, GenerationRef, Run, RunRef
from testvibe_async._wire import serialize
from testvibe_async.errors import OperationRef
from testvibe_async.mcp_server.consent import Consent, ask_for_credits
from testvibe_async.mcp_server.session import LookContext, begun_at_of, session_of
from testvibe_async.mcp_server.waits import PATIENCE, Progress, message_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from mcp.server.mcpserver import Elicit

    from testvibe_async import Journal, Operation, Project
    from testvibe_async.mcp_server.budget import Document
    from testvibe_async.mcp_server.session import Ctx
    from testvibe_async.mcp_server.works import Work

__all__ = [
    "BatchOfOne",
    "Dispatched",
    "ask_unless_begun",
    "dispatched_once",
    "ids_of",
    "key_of",
    "named",
    "note_of",
    "opened",
    "text_of",
]

SnapshotT = TypeVar("SnapshotT", Run, Generation)

LOOK_SECONDS = 0.05
"""How long a dispatch may go unseen: a batch tells of what ended, not of what it dispatched."""


def key_of(ctx: Ctx, tool: str, project: Project, *arguments: object) -> tuple[object, ...]:
    """Return the name of what a call begins: the same for a later call with the same arguments."""
    return (session_of(ctx).client.server, tool, project.id, *arguments)


def opened(
    ctx: Ctx,
    key: tuple[object, ...],
    *,
    again: bool,
    has_ended: Callable[[Journal], Awaitable[bool]] | None = None,
) -> AbstractAsyncContextManager[Journal]:
    """Open the journal of a call; see `Journals.open`."""
    journals = session_of(ctx).journals
    return journals.open(key, again=again, begun_at=begun_at_of(ctx), has_ended=has_ended)


@frozen
class Dispatched:
    """What a call dispatched, or an earlier call with the same arguments."""

    ref: OperationRef | None
    """The operation; None where it is not dispatched yet."""

    begun_at: datetime | None
    is_new: bool
    """Whether this call dispatched it."""


async def dispatched_once(
    ctx: Ctx, key: tuple[object, ...], begin: Callable[[Journal], Batch[Any]], *, again: bool
) -> Dispatched:
    """Begin a batch of one feature, and leave it once that is dispatched.

    Args:
        ctx: The call.
        key: What is begun; see `key_of`.
        begin: Makes the batch.
        again: Whether to begin anew what has ended.

    Raises:
        VibeError: It could not be dispatched.
    """
    client, works = session_of(ctx).client, session_of(ctx).works

    async def has_ended(journal: Journal) -> bool:
        polls = [client.attach(ref).poll() for ref in journal.refs]
        return bool(polls) and all([(await poll).is_finished for poll in polls])

    async def play(work: Work[list[OperationRef]]) -> None:
        async with opened(ctx, key, again=again, has_ended=has_ended) as journal:
            work.note(journal)
            if not journal.refs:
                await _dispatch(begin(journal))
            work.state.extend(journal.refs)

    is_joined = works.has(key)
    work = works.join(key, list[OperationRef], play)
    async with Progress(ctx).repeated():
        await asyncio.wait({work.task}, timeout=PATIENCE)
    if work.task.done():
        work.task.result()
    return Dispatched(
        ref=next(iter(work.state), None),
        begun_at=work.begun_at,
        is_new=not (is_joined or work.is_resumed),
    )


async def _dispatch(batch: Batch[Any]) -> None:
    """Run a batch of one feature until that is dispatched: who wants its outcome waits for it."""
    async with batch:
        item = asyncio.create_task(anext(batch))
        while not (item.done() or batch.refs):
            await asyncio.wait({item}, timeout=LOOK_SECONDS)
        if not item.done():
            item.cancel()
        with suppress(asyncio.CancelledError):
            await item
    if (error := batch.items[0].error) is not None and not batch.refs:
        raise error


def ids_of(ref: OperationRef) -> Document:
    """Return the ids of an operation, as the service names them."""
    if isinstance(ref, GenerationRef):
        return {"requestId": ref.request_id, "featureId": ref.feature_id}
    assert isinstance(ref, RunRef)
    return {"runId": ref.run_id, "featureId": ref.feature_id}


def named(journal: Journal, feature: str) -> list[int | str]:
    """Name the feature as the journal does, which an earlier call may have spelt otherwise."""
    return [item.feature for item in journal.items] or [feature]


async def ask_unless_begun(
    ctx: Ctx, key: tuple[object, ...], feature: str, *, again: bool
) -> Consent | Elicit[Consent]:
    """Ask the user for credits, unless the call goes on with what was begun."""
    session = session_of(ctx)
    if (
        isinstance(ctx, LookContext)
        or session.works.has(key)
        or await session.journals.goes_on(key, again=again)
    ):
        return Consent(generate=True)
    return await ask_for_credits(ctx, feature)


def text_of(begun_at: datetime | None) -> str | None:
    """Return when something began, as answers name it."""
    return None if begun_at is None else begun_at.isoformat()


def note_of(ctx: Ctx, work: Work[Any]) -> str | None:
    """Say that what ended was begun by an earlier call, which the model may not expect."""
    is_expected = isinstance(ctx, LookContext) or not (work.is_joined or work.is_resumed)
    if is_expected or not work.task.done():
        return None
    return f"The result of your call at {work.begun_at:%H:%M:%S} UTC; `again: true` begins anew."


@define
class BatchOfOne(Generic[SnapshotT]):
    """A batch of one feature, as far as it has come."""

    batch: Batch[SnapshotT] | None = None
    operation: Operation[SnapshotT] | None = None
    outcome: SnapshotT | None = None

    @property
    def snapshot(self) -> SnapshotT | None:
        """What was seen last of the operation."""
        return self.outcome or (self.operation.snapshot if self.operation else None)

    @property
    def document(self) -> Document | None:
        """What was seen last of the operation, or its ids; None before it began."""
        if self.snapshot is not None:
            return cast("Document", serialize(self.snapshot))
        ref = next(iter(self.batch.refs), None) if self.batch else None
        return None if ref is None else ids_of(ref)

    async def play(
        self, work: Work[Any], journal: Journal, begin: Callable[[Journal], Batch[SnapshotT]]
    ) -> SnapshotT:
        """Run a batch to its end, tell of its changes, and return the outcome.

        Raises:
            VibeError: It could not be dispatched or observed.
        """
        async with begin(journal) as batch:
            self.batch = batch
            async for operation, transition in batch.changes():
                self.operation = operation
                work.tell(message_of(operation, transition))
            (item,) = batch.items
        if item.error is not None:
            raise item.error
        assert item.outcome is not None
        self.outcome = item.outcome
        return item.outcome
