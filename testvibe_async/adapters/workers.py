"""The workers of a database: their heartbeats, and which of them are dead.

A heartbeat is stored by the database's clock, which all machines share. It decides when a worker is
dead, and never what becomes of its work.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import sqlalchemy as sa
from attrs import frozen

from testvibe_async.adapters.tables import WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testvibe_async.adapters.store import Store

__all__ = ["DEAD_SECONDS", "Worker", "Workers"]

DEAD_SECONDS = 5.0
"""After how long without a heartbeat a worker is dead."""


@frozen
class Worker:
    """A process that works on batches."""

    id: str
    host: str
    pid: int
    age: float
    """Seconds since its last heartbeat."""

    @property
    def is_dead(self) -> bool:
        """Whether it had no heartbeat for too long, or its process on this machine has ended."""
        if self.age > DEAD_SECONDS:
            return True
        if self.host != socket.gethostname() or os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


class Workers:
    """The workers of all batches of a database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def beat(self, worker: str) -> None:
        """Note that this process, a worker of that id, is alive."""
        values = {"host": socket.gethostname(), "pid": os.getpid(), "beat_at": self._store.now}

        def work(connection: sa.Connection) -> None:
            here = WORKERS.update().where(WORKERS.c.id == worker).values(**values)
            if connection.execute(here).rowcount == 0:
                connection.execute(WORKERS.insert().values(id=worker, **values))

        await self._store.write(work)

    async def read(self) -> list[Worker]:
        """Return all that are not forgotten."""
        age = self._store.now - WORKERS.c.beat_at
        query = sa.select(WORKERS.c.id, WORKERS.c.host, WORKERS.c.pid, age)
        return await self._store.write(
            lambda connection: [Worker(*row) for row in connection.execute(query)]
        )

    async def forget(self, workers: Iterable[str]) -> None:
        """Remove workers that ended or are dead."""
        await self._store.changes(WORKERS.delete().where(WORKERS.c.id.in_([*workers])))
