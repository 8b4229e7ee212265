"""Generations: each costs credits, so there is one memory of them, by the feature's id.

Decides what a call for a generation goes on with, whichever tool asks for it and however the
feature is spelt; when a generation may be begun at all, and when the user is asked before. What is
known of one is kept in its journal.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, cast

from attrs import frozen
from mcp.server.mcpserver import Elicit, Resolve
from mcp.server.mcpserver.exceptions import ToolError

from testvibe_async import (
    Batch,
    DispatchUnknownError,
    Generation,
    Journal,
    Project,
    RateLimitedError,
    ServerError,
    TransportError,
    VibeError,
)
from testvibe_async.mcp_server.consent import Consent, ask_for_credits
from testvibe_async.mcp_server.dispatches import (
    BatchOfOne,
    NothingBeganError,
    key_of,
    named,
    opened,
    reconciled,
    seen_to_end,
)
from testvibe_async.mcp_server.journals import GENERATION, Keeping, has_begun
from testvibe_async.mcp_server.session import Ctx, LookContext, session_of
from testvibe_async.mcp_server.toolkit import explained
from testvibe_async.mcp_server.waits import PATIENCE, Progress

if TYPE_CHECKING:
    from testvibe_async.mcp_server.journals import Key
    from testvibe_async.mcp_server.works import Work

__all__ = ["Target", "ask_to_generate", "generation_of", "seen_to_be_dispatched", "target_of"]

READ_SECONDS = 10.0
"""How long a feature may take to be read."""


@frozen
class Target:
    """The feature that a call wants to have generated."""

    home: Project
    feature_id: int
    name: str
    has_tests: bool | None
    """Whether there are tests already; None where the service did not say."""

    key: Key
    """The name of its generation."""


async def target_of(
    ctx: Ctx,
    feature: str,
    again: bool,  # noqa: FBT001 - the arguments of the tools
    project: str | None,
) -> Target:
    """Read which feature is meant, and whether it has tests.

    While the service is out, a feature that this server has begun to generate is known.

    Raises:
        ToolError: There is no such feature, or it could not be read.
    """
    session = session_of(ctx)
    home = session.project(project)
    known = session.started_generation(home, feature)
    if known is not None and isinstance(ctx, LookContext):
        return _target(ctx, home, known.feature_id, feature, has_tests=None)
    try:
        async with asyncio.timeout(READ_SECONDS):
            found = await home.get_feature(feature)
    except (TransportError, ServerError, RateLimitedError, TimeoutError) as error:
        if known is not None:
            return _target(ctx, home, known.feature_id, feature, has_tests=None)
        if isinstance(error, VibeError):
            raise ToolError(await explained(ctx, error, "generate_feature", {})) from error
        raise ToolError(
            f"Nothing was started by this call: the service did not say within {READ_SECONDS:g} s "
            "which feature that is. Call again."
        ) from error
    except VibeError as error:
        arguments = {"feature": feature, "project": project}
        raise ToolError(await explained(ctx, error, "generate_feature", arguments)) from error
    target = _target(ctx, home, found.id, found.name or feature, has_tests=found.has_tests)
    await _see_end(ctx, target, polls=again)
    return target


async def _see_end(ctx: Ctx, target: Target, *, polls: bool) -> None:
    """Let the work for a generation end that has ended.

    Args:
        ctx: The call.
        target: The feature.
        polls: Whether to ask the service, where no poll has seen that yet.
    """
    session = session_of(ctx)
    work = session.works.get(target.key)
    ref = None if work is None else cast("BatchOfOne[Generation]", work.state).ref
    if work is None or ref is None:
        return
    operation = session.client.attach(ref)
    if polls:
        with suppress(VibeError):
            await operation.poll()
    if operation.done:
        await asyncio.wait({work.task}, timeout=READ_SECONDS)


def _target(
    ctx: Ctx, home: Project, feature_id: int, name: str, *, has_tests: bool | None
) -> Target:
    return Target(home, feature_id, name, has_tests, key_of(ctx, GENERATION, home, feature_id))


async def ask_to_generate(
    ctx: Ctx,
    target: Annotated[Target, Resolve(target_of)],
    again: bool,  # noqa: FBT001 - the argument of the tools
) -> Consent | Elicit[Consent]:
    """Ask the user for credits, unless the call begins no generation."""
    session = session_of(ctx)
    if (
        isinstance(ctx, LookContext)
        or session.works.has(target.key)
        or await session.journals.goes_on(target.key, again=again)
        or (target.has_tests and not again)
    ):
        return Consent(generate=True)
    return await ask_for_credits(ctx, target.name)


def generation_of(
    ctx: Ctx, target: Target, site_url: str | None, *, again: bool
) -> Work[BatchOfOne[Generation]]:
    """Go on with the generation of a feature, or begin it; the work ends with it.

    Args:
        ctx: The call.
        target: The feature.
        site_url: The site to test; None for the project's own.
        again: Whether to begin anew what has ended and was told, and what nobody knows about.
    """
    session = session_of(ctx)

    def begin(journal: Journal) -> Batch[Generation]:
        site = site_url if journal.plan is None else journal.plan.site_url
        return target.home.generate_features(
            named(journal, target.feature_id), site_url=site, journal=journal
        )

    async def play(work: Work[BatchOfOne[Generation]]) -> None:
        keeping = Keeping(
            ended_at=lambda journal: seen_to_end(session.client, journal), is_paid=True
        )
        async with opened(ctx, target.key, work, again=again, keeping=keeping) as journal:
            work.journal = journal
            work.is_resumed = not await _is_to_begin(ctx, target, journal, again=again)
            if work.is_resumed:
                await work.state.play(work, journal, begin)
                return
            _require_wanted(target, again=again)
            with session.generation_allowed(lambda: has_begun(journal)):
                session.journals.note_begun(target.key)
                await work.state.play(work, journal, begin)

    return session.works.join(target.key, BatchOfOne[Generation], play)


async def _is_to_begin(ctx: Ctx, target: Target, journal: Journal, *, again: bool) -> bool:
    """Whether a generation is to be sent: none was, or its answer was lost and it is not found.

    Raises:
        NothingBeganError: It is not found, and that was not told yet, or is not to begin anew.
        DispatchUnknownError: The same, where nobody can say.
    """
    if not journal.open_intents:
        return not journal.refs
    session = session_of(ctx)
    may_begin = again and session.journals.is_told(target.key)
    lost_at = journal.open_intents[0].intended_at
    try:
        is_nothing = await reconciled(session.client, journal)
    except DispatchUnknownError:
        if not may_begin:
            raise
    else:
        if not is_nothing:
            return False
        if not may_begin:
            raise NothingBeganError(lost_at)
    await journal.decide("resend")
    return True


def _require_wanted(target: Target, *, again: bool) -> None:
    """Check that there is something to generate.

    Raises:
        ToolError: There are tests already, or nobody knows.
    """
    if again:
        return
    if target.has_tests is None:
        raise ToolError(
            "Nothing was started: the service did not say whether the feature has tests already. "
            "Call again."
        )
    if target.has_tests:
        raise ToolError(
            f"Nothing was started: {target.name} has tests already, and run_feature runs them. To "
            "generate them anew, such as after update_feature, pass `again: true`: it costs "
            "credits."
        )


async def seen_to_be_dispatched(ctx: Ctx, work: Work[BatchOfOne[Generation]]) -> None:
    """Wait until a generation is dispatched, for so long as a call may take."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    async with Progress(ctx).repeated():
        while not work.task.done() and work.state.ref is None and loop.time() < deadline:
            await work.change(deadline - loop.time())
    if work.task.done() and work.state.ref is None:
        work.task.result()
