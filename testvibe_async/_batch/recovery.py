"""Recovery of the dispatches whose answers were lost, in this process or in an earlier one.

Decides when such a dispatch is reconciled, and when once more. Only a later run proves that nothing
started, so the batch holds back its last dispatch to provide one. This module dispatches nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from testvibe_async._dispatch import may_have_started
from testvibe_async._wire import KINDS
from testvibe_async.errors import (
    DispatchUnknownError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async._batch.entry import Entry
    from testvibe_async._dispatch import Dispatcher, Known
    from testvibe_async.intents import Intent
    from testvibe_async.operations import Operation
    from testvibe_async.refs import Ref


class Recovery:
    """The entries whose dispatch has no known result yet."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        attach: Callable[[Ref], Operation[Any]],
        known: Known,
        *,
        may_dispatch: Callable[[], bool],
        patience: float | None,
    ) -> None:
        """Create it; requests nothing yet.

        Args:
            dispatcher: Reconciles dispatches.
            attach: Returns the operation of a ref.
            known: Knows the dispatches of all entries: an operation of one belongs to no other.
            may_dispatch: Returns whether another feature may still be dispatched.
            patience: Maximum seconds to wait for that; None for no limit.
        """
        self._dispatcher = dispatcher
        self._attach = attach
        self._known = known
        self._may_dispatch = may_dispatch
        self._patience = patience
        self._open: set[Entry[Any]] = set()
        self._dispatched = 0
        """Number of features dispatched since the start."""
        self._progress = asyncio.Event()
        """Set, and replaced, whenever the tasks that wait must look again."""

    @property
    def is_open(self) -> bool:
        """True while the dispatch of a run is not reconciled yet."""
        return bool(self._open)

    def begin(self, entry: Entry[Any]) -> None:
        """Note that an entry is to be recovered."""
        intent = entry.intent
        if intent is not None and KINDS[intent.kind].ids_grow:  # Else nothing later proves it.
            self._open.add(entry)

    async def operation(self, entry: Entry[Any]) -> Operation[Any] | None:
        """Return the operation that an entry's dispatch started; None if nothing started.

        Raises:
            DispatchUnknownError: The result can't be determined.
        """
        intent = entry.intent
        assert intent is not None
        try:
            if entry.named is not None:
                return await self._named(entry, entry.named, intent)
            try:
                return await self._reconcile(intent)
            except DispatchUnknownError as error:
                if error.reason != "absent" or not KINDS[intent.kind].ids_grow:
                    raise
                self._close(entry)
                if not await self._sees_another_dispatched():
                    raise
            return await self._reconcile(intent)
        finally:
            self._close(entry)

    async def _named(self, entry: Entry[Any], named: Ref, intent: Intent) -> Operation[Any]:
        """Return the operation that a decision named for an entry, if a poll shows that it fits.

        Raises:
            DispatchUnknownError: It has another feature or configuration, or can't be observed.
        """
        operation = self._attach(named)
        try:
            await operation.poll()
        except ObservationError as error:
            why = error.brief
            is_refuted = isinstance(error, OperationNotFoundError | OperationSupersededError)
        else:
            if operation.snapshot is not None and may_have_started(intent, operation.snapshot):
                return operation
            why = f"{named} is of another feature or configuration, or from before the dispatch"
            is_refuted = True
        if is_refuted:
            entry.refute()
        raise DispatchUnknownError(
            why,
            advice="name another operation for it, or have it sent again",
            method="POST",
            url=intent.server,
            project=intent.project,
            feature=intent.feature,
            reason="ambiguous",
            candidates=(named,),
            intent=intent,
        )

    async def _reconcile(self, intent: Intent) -> Operation[Any] | None:
        return await self._dispatcher.reconcile(intent, known=self._known, outlasts=True)

    async def _sees_another_dispatched(self) -> bool:
        """Wait until one more feature was dispatched; return False if none will be, or in time."""
        before = self._dispatched
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while self._dispatched == before and self._may_dispatch():
                    await self.progress()
        return self._dispatched > before

    def _close(self, entry: Entry[Any]) -> None:
        self._open.discard(entry)
        self.note_progress()

    def note_dispatched(self) -> None:
        """Note that one more feature was dispatched."""
        self._dispatched += 1

    async def progress(self) -> None:
        """Wait until there may be more to see: a feature was dispatched, reconciled or ended."""
        await self._progress.wait()

    def note_progress(self) -> None:
        """Wake the tasks that wait for progress."""
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()


class Gate:
    """Limits the dispatches of a batch under way, and holds back the last one as a proof."""

    def __init__(self, slots: int, recovery: Recovery, *, is_held: Callable[[], bool]) -> None:
        """Create an open gate.

        Args:
            slots: Maximum number of dispatches under way.
            recovery: Reports progress, after which the gate asks again.
            is_held: Returns whether a dispatch is to wait if no other one has come to the gate.
        """
        self._slots = asyncio.Semaphore(slots)
        self._recovery = recovery
        self._is_held = is_held
        self._waiting = 0

    async def __aenter__(self) -> None:
        """Wait for a slot; the last dispatch also waits until lost answers are reconciled."""
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            while not self._waiting and self._is_held():
                await self._recovery.progress()
        except asyncio.CancelledError:
            self.release()
            raise

    async def __aexit__(self, *exception: object) -> None:
        """Return the slot."""
        self.release()

    def release(self) -> None:
        """Return a slot."""
        self._slots.release()
