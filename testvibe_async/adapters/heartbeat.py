"""Heartbeats of workers, and taking over from those that have none.

It has DBOS hand out anew what dead workers had. When a worker is dead is decided in `workers`; that
one which was thought dead does no harm, in `store` and by the intents' lease.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dbos import DBOS

from testvibe_async.adapters.workers import Workers
from testvibe_async.events import logger

if TYPE_CHECKING:
    from dbos import DBOSClient

    from testvibe_async.adapters.store import Store
    from testvibe_async.adapters.turns import Turns

__all__ = ["BEAT_SECONDS", "Heartbeat"]

BEAT_SECONDS = 1.0
"""The time between two heartbeats of a worker."""

BEATS_A_CHECK = 5
"""After how many it is checked whether work is left that nobody has."""


class Heartbeat:
    """The heartbeat of one worker of one batch."""

    def __init__(
        self,
        store: Store,
        engine: DBOSClient,
        turns: Turns,
        *,
        queue: str,
        executor: str,
    ) -> None:
        self._batch = store.batch
        self._workers = Workers(store)
        self._engine = engine
        self._turns = turns
        self._queue = queue
        self._executor = executor
        self._beats = 0

    async def run(self) -> None:
        """Beat, and take over from workers that do not, for ever: also after database errors."""
        while True:
            try:
                await self._beat()
            except Exception as error:  # noqa: BLE001 - the next beat may go well
                logger.warning("a heartbeat of batch %r failed: %r", self._batch, error)
            await asyncio.sleep(BEAT_SECONDS)

    async def _beat(self) -> None:
        await self._workers.beat(self._executor)
        workers = await self._workers.read()
        dead = {each.id for each in workers if each.id != self._executor and each.is_dead}
        is_check = self._beats % BEATS_A_CHECK == 0
        if dead or is_check:
            await self._take_over({each.id for each in workers} - dead)
            await self._workers.forget(dead)
        if is_check:
            await self._enqueue_forgotten()
        self._beats += 1

    async def _take_over(self, alive: set[str]) -> None:
        """Have DBOS hand out anew what workers had that are not alive."""
        pending = await asyncio.to_thread(
            self._engine.list_workflows,
            queue_name=self._queue,
            status="PENDING",
            load_input=False,
            load_output=False,
        )
        holders = {each.executor_id for each in pending if each.executor_id}
        if lost := [*(holders - alive)]:
            logger.warning("batch %r: taking over from %s", self._batch, ", ".join(lost))
            # Private, but the one call whose update is guarded by the executor's id: the public
            # resume_workflows takes work from a live owner too.
            await asyncio.to_thread(DBOS._recover_pending_workflows, lost)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def _enqueue_forgotten(self) -> None:
        """Enqueue what is left where no workflow is, such as after an error of the engine."""
        active = await asyncio.to_thread(
            self._engine.list_workflows,
            queue_name=self._queue,
            status=["ENQUEUED", "PENDING"],
            limit=1,
            load_input=False,
            load_output=False,
        )
        if not active and await self._turns.are_left():
            await self._turns.enqueue_left()
