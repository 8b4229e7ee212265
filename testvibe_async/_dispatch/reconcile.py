"""Finding the operation of a dispatch whose answer was lost.

Decides which operation the dispatch started, by asking the service a few times, and adopts it only
where nothing else that this client knows of can have started it. It never dispatches.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from testvibe_async.errors import RateLimitedError, ResponseError, ServerError, TransportError
from testvibe_async.events import logger

if TYPE_CHECKING:
    from collections.abc import Generator

    from testvibe_async._dispatch.dispatches import Dispatch
    from testvibe_async.models import Generation, Run
    from testvibe_async.operations import ClientParts
    from testvibe_async.refs import Ref

__all__ = ["Reconciler"]

RECONCILE_DELAYS = (0.0, 2.0, 5.0)
"""Seconds before each try: the service may need a moment to show what it has accepted."""

RECONCILE_SECONDS = 120.0
"""How long these tries may take in all, retries and pauses included."""

REMEMBERED = 10_000
"""How many operations of a project are remembered as answered: a lost answer is not theirs."""


class Reconciler:
    """Finds the operations of lost answers, for one client."""

    def __init__(self, parts: ClientParts) -> None:
        self._transport = parts.transport
        self._poller = parts.poller
        self._pending: set[Dispatch[Any, Any]] = set()
        self._own_ids: defaultdict[str, deque[object]] = defaultdict(
            partial(deque[object], maxlen=REMEMBERED)
        )
        """By project, the ids of the operations that were dispatched here."""

    def remember(self, ref: Ref) -> None:
        """Remember the operation of a dispatch, so that another one does not adopt it."""
        self._own_ids[ref.project].append(_id_of(ref))

    @contextmanager
    def pending(self, dispatch: Dispatch[Any, Any]) -> Generator[None]:
        """Note that a dispatch has no answer yet, so that no other one adopts its operation."""
        self._pending.add(dispatch)
        try:
            yield
        finally:
            self._pending.discard(dispatch)

    async def find(self, dispatch: Dispatch[Any, Any]) -> Ref | None:
        """Return the operation of a dispatch; None where it was not found, or is ambiguous."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RECONCILE_SECONDS):
                for delay in RECONCILE_DELAYS:
                    await asyncio.sleep(delay)
                    try:
                        if (found := await self._find_once(dispatch)) is not None:
                            return found
                    except (TransportError, ServerError, RateLimitedError):
                        continue
                    except ResponseError:
                        # There is no such call, or not for this key: another try brings the same.
                        return None
                    except Exception as error:  # noqa: BLE001 - nothing may hide the lost answer
                        logger.warning("reconciling a dispatch failed unexpectedly: %r", error)
                        return None
        return None

    async def _find_once(self, dispatch: Dispatch[Any, Any]) -> Ref | None:
        """Return the one operation that no other known dispatch can have started."""
        candidates = await dispatch.candidates(self._transport)
        own_ids = {*self._own_ids[dispatch.project]}
        found: list[tuple[Run | Generation, Ref]] = []
        for candidate in candidates:
            ref = dispatch.ref_of(candidate, server=self._transport.server)
            is_new = ref is not None and not self._poller.knows(ref)
            if ref is not None and is_new and _id_of(ref) not in own_ids:
                found.append((candidate, ref))
        # Of several nobody can say which is which; the wrong one would report another's outcome.
        if len(found) != 1 or self._may_be_anothers(found[0][0], dispatch):
            return None
        return found[0][1]

    def _may_be_anothers(self, candidate: Run | Generation, dispatch: Dispatch[Any, Any]) -> bool:
        """Say whether another dispatch without an answer may have started a candidate."""
        is_for_its_site = dispatch.asked_for_site_of(candidate)
        return any(
            other.submission.may_have_arrived
            and other.may_have_started(candidate)
            and (not is_for_its_site or other.asked_for_site_of(candidate))
            for other in self._pending
            if other is not dispatch
            and (type(other), other.project) == (type(dispatch), dispatch.project)
        )


def _id_of(ref: Ref) -> object:
    """Return an operation's id at the service: it takes a tenth of the memory of its ref."""
    return ref.key[-1]
