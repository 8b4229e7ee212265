"""What the tools that dispatch have in common: what was begun, and how far it has come.

Decides what a call goes on with: what an earlier one began, also one before a restart, and also
where its answer was lost. It begins anew where that ended long ago, or where `again` says so.
`generations` decides what holds for those besides.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from attrs import define, frozen
from mcp.server.mcpserver.exceptions import ToolError

from testvibe_async import (
    Batch,
    DispatchUnknownError,
    Generation,
    GenerationRef,
    Intent,
    OperationNotFoundError,
    OperationSupersededError,
    Run,
    RunRef,
)
from testvibe_async._wire import serialize
from testvibe_async.errors import OperationRef
from testvibe_async.mcp_server.journals import GENERATION, Keeping
from testvibe_async.mcp_server.session import LookContext, begun_at_of, session_of
from testvibe_async.mcp_server.waits import PATIENCE, Progress, message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractAsyncContextManager

    from testvibe_async import Client, Journal, Operation, Project
    from testvibe_async.mcp_server.budget import Document
    from testvibe_async.mcp_server.journals import Key
    from testvibe_async.mcp_server.session import Ctx
    from testvibe_async.mcp_server.works import Work

__all__ = [
    "ELSEWHERE",
    "BatchOfOne",
    "BegunOperation",
    "NothingBeganError",
    "dispatched_once",
    "ids_of",
    "keeping_run",
    "keeping_runs",
    "key_of",
    "named",
    "note_of",
    "noted_as_told",
    "opened",
    "reconciled",
    "seen_to_end",
]

SnapshotT = TypeVar("SnapshotT", Run, Generation)

ELSEWHERE = "another server of this user has the same in hand, and this one waits for it"
"""How a work stands that can't begin, since another server has its journal."""


class NothingBeganError(ToolError):
    """A paid dispatch whose answer was lost began nothing, as the service shows."""

    def __init__(self, begun_at: datetime) -> None:
        super().__init__(
            f"Nothing began: the answer to your call at {begun_at:%H:%M:%S} UTC was lost, and the "
            "service shows that it started no generation. Nor did this call: `again: true` does."
        )


def key_of(ctx: Ctx, word: str, project: Project, *more: object) -> Key:
    """Return the name of what a call begins: the same for a later call that means the same."""
    return (word, session_of(ctx).client.server, project.id, *more)


def opened(
    ctx: Ctx, key: Key, work: Work[Any], *, again: bool, keeping: Keeping
) -> AbstractAsyncContextManager[Journal]:
    """Open the journal of a work; see `Journals.open`."""
    return session_of(ctx).journals.open(
        key,
        again=again,
        begun_at=begun_at_of(ctx),
        keeping=keeping,
        on_wait=lambda: work.tell(ELSEWHERE),
    )


async def reconciled(client: Client, journal: Journal) -> bool:
    """Find out what became of a dispatch of one feature that nobody saw an answer to.

    Returns:
        Whether it is proved that nothing began. What began is in the journal then.

    Raises:
        DispatchUnknownError: Nobody can say.
    """
    for intent in journal.open_intents:
        operation = await client.reconcile(intent)
        if operation is None:
            return True
        await journal.decide(operation.ref)
    return False


@contextmanager
def noted_as_told(ctx: Ctx, key: Key) -> Generator[None]:
    """Note that an answer has told of a dispatch, where it tells that nobody knows of one."""
    try:
        yield
    except (DispatchUnknownError, NothingBeganError) as error:
        intent = error.intent if isinstance(error, DispatchUnknownError) else None
        if key[0] != GENERATION or not isinstance(intent, Intent) or intent.kind == GENERATION:
            session_of(ctx).journals.note_told(key)
        raise


async def seen_to_end(client: Client, journal: Journal) -> datetime | None:
    """Return when what was dispatched ended, as the service says; None while it goes on.

    Raises:
        VibeError: It could not be seen.
    """
    ended = datetime.fromtimestamp(0, UTC)
    for ref in journal.refs:
        try:
            seen = await client.attach(ref).poll()
        except (OperationSupersededError, OperationNotFoundError):
            continue  # It is over, whenever that was.
        if not seen.is_finished:
            return None
        ended_at = seen.finished_at if isinstance(seen, Run) else seen.updated_at
        ended = max(ended, ended_at or ended)
    return ended


def keeping_runs(ctx: Ctx, project: Project, *, is_all: bool) -> Keeping:
    """Return when a batch of runs is of no use: also once tests of its were generated anew."""
    return Keeping(is_stale=lambda journal: _is_stale(ctx, project, journal, is_all=is_all))


def keeping_run(ctx: Ctx, project: Project) -> Keeping:
    """Return the same for a run whose journal does not say how it ended."""
    client = session_of(ctx).client
    return Keeping(
        ended_at=lambda journal: seen_to_end(client, journal),
        is_stale=lambda journal: _is_stale(ctx, project, journal, is_all=False),
    )


async def _is_stale(ctx: Ctx, project: Project, journal: Journal, *, is_all: bool) -> bool:
    """Whether tests of its features were generated since, or may have been."""
    session = session_of(ctx)
    refs = [item.ref for item in journal.items]
    ids = {ref.feature_id for ref in refs if isinstance(ref, RunRef)}
    known = {each for each in ids if each is not None}
    is_whole = len(known) == len(ids) and all(isinstance(ref, RunRef) for ref in refs)
    assert journal.created_at is not None
    return await session.journals.has_generated(
        session.client.server,
        project.id,
        known if is_whole and not is_all else None,
        since=journal.created_at,
    )


@frozen
class BegunOperation:
    """What a call dispatched, or an earlier call with the same arguments."""

    ref: OperationRef | None
    """The operation; None where it is not dispatched yet."""

    begun_at: datetime | None
    is_new: bool
    """Whether this call dispatched it."""

    line: str = ""
    """How it stands."""

    outcome: Run | Generation | None = None
    """How it ended, where that is known."""


async def dispatched_once(
    ctx: Ctx,
    key: Key,
    begin: Callable[[Journal], Batch[Any]],
    *,
    again: bool,
    keeping: Keeping,
) -> BegunOperation:
    """Begin a batch of one run, and leave it once that is dispatched.

    Args:
        ctx: The call.
        key: What is begun; see `key_of`.
        begin: Makes the batch.
        again: Whether to begin anew what has ended.
        keeping: When what was begun is of no use any more.

    Raises:
        VibeError: It could not be dispatched.
    """
    client, works = session_of(ctx).client, session_of(ctx).works

    async def play(work: Work[list[OperationRef]]) -> None:
        async with opened(ctx, key, work, again=again, keeping=keeping) as journal:
            work.journal = journal
            if await reconciled(client, journal):
                await journal.decide("resend")  # It is proved that this does not do it twice.
            work.is_resumed = bool(journal.refs)
            if not journal.refs:
                await _dispatch(begin(journal))
            work.state.extend(journal.refs)

    is_joined = works.has(key)
    work = works.join(key, list[OperationRef], play)
    async with Progress(ctx).repeated():
        await asyncio.wait({work.task}, timeout=PATIENCE)
    if work.task.done():
        with noted_as_told(ctx, key):
            work.task.result()
    return BegunOperation(
        ref=next(iter(work.state), None),
        begun_at=work.begun_at,
        is_new=not (is_joined or work.is_resumed),
        line=work.line,
    )


async def _dispatch(batch: Batch[Any]) -> None:
    """Run a batch of one feature until that is dispatched: who wants its outcome waits for it."""

    async def first_change() -> None:
        async for _ in batch.changes():
            return

    async with batch:
        # The batch's item too: `changes` does not end where something else than its feature fails.
        waits = [asyncio.create_task(anext(batch)), asyncio.create_task(first_change())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.wait(waits)
        with suppress(asyncio.CancelledError):
            waits[0].result()
    if (error := batch.items[0].error) is not None and not batch.refs:
        raise error


def ids_of(ref: OperationRef) -> Document:
    """Return the ids of an operation, as the service names them."""
    if isinstance(ref, GenerationRef):
        return {"requestId": ref.request_id, "featureId": ref.feature_id}
    assert isinstance(ref, RunRef)
    return {"runId": ref.run_id, "featureId": ref.feature_id}


def named(journal: Journal, feature: int | str) -> list[int | str]:
    """Name the feature as the journal does, which an earlier call may have spelt otherwise."""
    return [item.feature for item in journal.items] or [feature]


def note_of(ctx: Ctx, work: Work[Any], *, again: bool) -> str | None:
    """Say that what ended was begun by an earlier call, which the model may not expect."""
    is_expected = isinstance(ctx, LookContext) or not (work.is_joined or work.is_resumed)
    if is_expected or not work.task.done():
        return None
    told = f"The result of your call at {work.begun_at:%H:%M:%S} UTC"
    if again:
        return (
            f"{told}, which no answer had told yet, so this call began nothing: call once more "
            "with `again: true` to begin anew."
        )
    return f"{told}; `again: true` begins anew."


@define
class BatchOfOne(Generic[SnapshotT]):
    """A batch of one feature, as far as it has come."""

    journal: Journal | None = None
    operation: Operation[SnapshotT] | None = None
    outcome: SnapshotT | None = None

    @property
    def ref(self) -> OperationRef | None:
        """The operation; None where it is not dispatched yet."""
        return next(iter(self.journal.refs), None) if self.journal else None

    @property
    def snapshot(self) -> SnapshotT | None:
        """What was seen last of the operation."""
        return self.outcome or (self.operation.snapshot if self.operation else None)

    @property
    def document(self) -> Document | None:
        """What was seen last of the operation, or its ids; None before it began."""
        if self.snapshot is not None:
            return cast("Document", serialize(self.snapshot))
        return None if self.ref is None else ids_of(self.ref)

    async def play(
        self, work: Work[Any], journal: Journal, begin: Callable[[Journal], Batch[SnapshotT]]
    ) -> SnapshotT:
        """Run a batch to its end, tell of its changes, and return the outcome.

        Raises:
            VibeError: It could not be dispatched or observed.
        """
        self.journal = journal
        if self.ref is not None:
            work.tell(f"{self.ref}: not seen yet")
        async with begin(journal) as batch:
            async for operation, transition in batch.changes():
                self.operation = operation
                work.tell(message_of(operation, transition))
            (item,) = batch.items
        if item.error is not None:
            raise item.error
        assert item.outcome is not None
        self.outcome = item.outcome
        return item.outcome
