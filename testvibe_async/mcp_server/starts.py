"""What the tools that dispatch have in common: one dispatch, made once, however often asked for.

Decides what a call does with what an earlier one dispatched, also where that one's answer was lost,
and whether a generation may replace what is there. A dispatch is made in a task of its own, so a
client that gives up loses the answer, and not the operation.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

from attrs import frozen
from mcp.server.mcpserver import Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError

from testvibe_async import (
    FeatureStatus,
    Generation,
    GenerationRef,
    Journal,
    NotFoundError,
    Project,
    RunRef,
    VibeError,
)
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.consent import Consent, ask_for_credits
from testvibe_async.mcp_server.memory import Key, Place, has_begun, pause
from testvibe_async.mcp_server.session import Ctx, session_of
from testvibe_async.mcp_server.toolkit import explained
from testvibe_async.mcp_server.waits import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from typing import TypeAlias

    from testvibe_async import Batch, Client, Feature
    from testvibe_async.errors import OperationRef
    from testvibe_async.mcp_server.budget import Document

    Begin: TypeAlias = Callable[[Journal], Batch[Any]]
    Permit: TypeAlias = Callable[[Journal], AbstractAsyncContextManager[None]]

__all__ = [
    "ELSEWHERE",
    "Started",
    "Target",
    "ask_to_generate",
    "generated_once",
    "how_to_replace",
    "ids_of",
    "key_of",
    "named",
    "started_once",
    "target_of",
]

ELSEWHERE = "an earlier call of the same, here or to another server of this user, is not done yet"
"""Why a call has started nothing."""

READ_SECONDS = 10.0
"""How long a feature may take to be read."""


def key_of(ctx: Ctx, word: str, project: Project, *more: object) -> Key:
    """Return the name of what a call starts: the same for a later call of the same meaning."""
    return (word, session_of(ctx).client.server, project.id, *more)


@frozen
class Started:
    """An operation that a call dispatched, or an earlier call of the same meaning."""

    ref: OperationRef
    started_at: datetime
    is_new: bool
    """Whether this call dispatched it."""

    @property
    def document(self) -> Document:
        """Its ids, and when it was started."""
        return {**ids_of(self.ref), "startedAt": serialize(self.started_at)}


async def started_once(
    ctx: Ctx,
    place: Place,
    begin: Begin,
    *,
    seconds: float,
    permit: Permit | None = None,
) -> Started | str:
    """Dispatch a batch of one feature, unless that was done and its answer is not delivered.

    Args:
        ctx: The call.
        place: Where it is kept.
        begin: Makes the batch.
        seconds: How long to wait for the answer.
        permit: Entered around a dispatch; it may refuse.

    Returns:
        What was started; why there is nothing yet when the time is over.

    Raises:
        VibeError: It could not be dispatched, or it is unknown whether it was.
    """
    session = session_of(ctx)
    task: asyncio.Task[Started] | None = None
    with suppress(TimeoutError):
        async with Progress(ctx).repeated(), asyncio.timeout(seconds):
            while (lock := place.lock()) is None:
                await pause()
            task = session.memory.work(
                lock, _started(session.client, place, begin, permit or _permitted)
            )
            await asyncio.wait({task})
    if task is None:
        return ELSEWHERE
    return task.result() if task.done() else "the service has not answered yet"


async def _started(client: Client, place: Place, begin: Begin, permit: Permit) -> Started:
    await place.forget_useless()
    is_of_use = True
    try:
        async with Journal(place.path) as journal:
            try:
                is_new = not journal.refs and not await _is_found(client, journal)
                if is_new:
                    async with permit(journal):
                        await _dispatch(begin(journal))
                elif not journal.refs:
                    await _dispatch(begin(journal))  # It polls what was found, and stores it.
                (ref,) = journal.refs
                started_at = ref.dispatched_at or journal.created_at
                assert started_at is not None
                return Started(ref, started_at, is_new)
            finally:
                is_of_use = has_begun(journal)
    finally:
        if not is_of_use:
            place.delete()


@asynccontextmanager
async def _permitted(_journal: Journal) -> AsyncGenerator[None]:
    yield


async def _is_found(client: Client, journal: Journal) -> bool:
    """Return whether a dispatch whose answer was lost started something; else nothing began.

    Raises:
        DispatchUnknownError: It is unknown.
    """
    if any(item.latest_ref is not None for item in journal.items):
        return True  # An earlier call found it, and has not stored it yet.
    for intent in journal.open_intents:
        operation = await client.reconcile(intent)
        await journal.decide("resend" if operation is None else operation.ref)
        return operation is not None
    return False


async def _dispatch(batch: Batch[Any]) -> None:
    """Run a batch of one feature until that is dispatched."""

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


@frozen
class Target:
    """What a call wants to have generated."""

    home: Project
    feature: Feature
    replace: str | None
    """Which generation it replaces, as the call names it."""

    place: Place
    """Where it is kept: the same for each call of the same feature and `replace`."""

    is_known: bool
    """Whether an earlier call started it."""

    @property
    def name(self) -> str:
        """The feature's name."""
        return self.feature.name or str(self.feature.id)

    async def require_latest(self) -> None:
        """Check that the call names the generation that it replaces, as the service has it now.

        So what was decided on an old view, or is repeated blindly, replaces nothing.

        Raises:
            ToolError: The latest generation is another, or in flight.
            VibeError: It can't be read.
        """
        try:
            latest = await self.home.get_generation_status(self.feature.id)
        except NotFoundError:
            latest = Generation(self.feature.id)
        if latest.feature_status == FeatureStatus.GENERATING:
            raise ToolError(
                f"Nothing was started: a generation of {self.name!r} is in flight. Wait for it "
                "with wait_for_generation, then run_feature runs its tests; or stop it with "
                "cancel_generation."
            )
        has_tests = self.feature.has_tests or latest.feature_status == FeatureStatus.GENERATED
        names = _names_of(latest, self.feature if has_tests else None)
        if self.replace in names or (self.replace is None and not has_tests):
            return
        if not names:
            raise ToolError(
                f"Nothing was started: the service names no generation of {self.name!r} that "
                "could be replaced. Without tests it is generated without `replace`; with tests, "
                "tell the user."
            )
        what = "has tests already, and run_feature runs them"
        if self.replace is not None:
            what = f"has another latest generation than {self.replace[:100]!r}"
        raise ToolError(f"Nothing was started: {self.name!r} {what}. {how_to_replace(names[0])}")


def _names_of(latest: Generation, feature: Feature | None) -> list[str]:
    """Return what the latest generation may be called: its id first, or a date that it changed."""
    dates = [latest.updated_at]
    if latest.request_id is None and feature is not None:
        dates.append(feature.updated_at)
    names = [latest.request_id, *(serialize(date) for date in dates if date is not None)]
    return [name for name in names if name]


def how_to_replace(name: str) -> str:
    """Say how to have a generation replaced, such as after `update_feature`."""
    return (
        "To replace that generation, such as after update_feature, pass "
        f'`replace: "{name}"`: it costs credits.'
    )


async def target_of(ctx: Ctx, feature: str, replace: str | None, project: str | None) -> Target:
    """Read which feature is meant, and check that the call may generate it.

    Raises:
        ToolError: It may not, there is no such feature, or it could not be read.
    """
    session = session_of(ctx)
    home = session.project(project)
    try:
        async with asyncio.timeout(READ_SECONDS):
            found = await home.get_feature(feature)
            place = session.memory.place(key_of(ctx, "generation", home, found.id, replace))
            target = Target(home, found, replace, place, await place.is_known())
            if not target.is_known:
                await target.require_latest()
    except TimeoutError as error:
        raise ToolError(
            f"Nothing was started: the service did not say within {READ_SECONDS:g} s how the "
            "feature stands. Call again."
        ) from error
    except VibeError as error:
        arguments = {"feature": feature, "project": project}
        raise ToolError(await explained(ctx, error, "generate_feature", arguments)) from error
    return target


async def ask_to_generate(
    ctx: Ctx, target: Annotated[Target, Resolve(target_of)]
) -> Consent | Elicit[Consent]:
    """Ask the user for credits, unless an earlier call started the generation."""
    return Consent(generate=True) if target.is_known else await ask_for_credits(ctx, target.name)


async def generated_once(
    ctx: Ctx, target: Target, site_url: str | None, *, seconds: float
) -> Started | str:
    """Start a generation, unless a call of the same meaning did.

    Args:
        ctx: The call.
        target: What to generate.
        site_url: The site to test; None for the project's own.
        seconds: How long to wait for the answer.

    Raises:
        VibeError: As `started_once` raises.
        ToolError: It may not be started any more.
    """
    session = session_of(ctx)

    def begin(journal: Journal) -> Batch[Generation]:
        site = site_url if journal.plan is None else journal.plan.site_url
        features = named(journal, target.feature.id)
        return target.home.generate_features(features, site_url=site, journal=journal)

    @asynccontextmanager
    async def permit(journal: Journal) -> AsyncGenerator[None]:
        # The user was asked for consent only where nothing was known; and that may take long.
        if target.is_known and journal.plan is None:
            raise ToolError("Nothing was started: the earlier call was refused. Call again.")
        await target.require_latest()
        with session.generation_allowed(target.place, lambda: has_begun(journal)):
            yield

    return await started_once(ctx, target.place, begin, seconds=seconds, permit=permit)
