"""Heartbeats of workers, and taking over from those that have none.

It decides when a worker is gone, by the database's clock, and has DBOS hand out its work anew. That
a worker which was thought gone does no harm is decided in `store` and by the intents' lease.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from dbos import DBOS

from testvibe_async.events import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa
    from dbos import DBOSClient

    from testvibe_async.adapters.store import Store, Worker

__all__ = ["BEAT_SECONDS", "GONE_SECONDS", "Heartbeat", "is_gone"]

BEAT_SECONDS = 1.0
"""The time between two heartbeats of a worker."""

GONE_SECONDS = 5.0
"""After how long without one a worker is gone."""

BEATS_A_CHECK = 5
"""After how many it is checked whether work is left that nobody has."""


class Heartbeat:
    """The heartbeat of one worker of one batch."""

    def __init__(
        self,
        store: Store,
        engine: DBOSClient,
        enqueue: Callable[[sa.Connection, int, int], None],
        *,
        queue: str,
        executor: str,
    ) -> None:
        self._store = store
        self._engine = engine
        self._enqueue = enqueue
        self._queue = queue
        self._executor = executor
        self._beats = 0

    async def run(self) -> None:
        """Beat, and take over from workers that do not, for ever: also after database errors."""
        while True:
            try:
                await self._beat()
            except Exception as error:  # noqa: BLE001 - the next beat may go well
                logger.warning("a heartbeat of batch %r failed: %r", self._store.batch, error)
            await asyncio.sleep(BEAT_SECONDS)

    async def _beat(self) -> None:
        await self._store.beat(self._executor, socket.gethostname(), os.getpid())
        workers = await self._store.workers()
        gone = {each.id for each in workers if each.id != self._executor and is_gone(each)}
        is_check = self._beats % BEATS_A_CHECK == 0
        if gone or is_check:
            await self._take_over({each.id for each in workers} - gone)
            await self._store.forget(gone)
        if is_check:
            await self._enqueue_forgotten()
        self._beats += 1

    async def _take_over(self, there: set[str]) -> None:
        """Have DBOS hand out anew what workers had that are not there."""
        pending = await asyncio.to_thread(
            self._engine.list_workflows,
            queue_name=self._queue,
            status="PENDING",
            load_input=False,
            load_output=False,
        )
        holders = {each.executor_id for each in pending if each.executor_id}
        if lost := [*(holders - there)]:
            logger.warning("batch %r: taking over from %s", self._store.batch, ", ".join(lost))
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
        if not active and await self._store.is_left(self._enqueue):
            await self._store.enqueue_left(self._enqueue)


def is_gone(worker: Worker) -> bool:
    """Say whether a worker is gone: it was not there for long, or its process has ended."""
    if worker.age > GONE_SECONDS:
        return True
    if worker.host != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
