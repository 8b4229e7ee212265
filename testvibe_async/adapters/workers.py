"""The workers of durable batches: which are alive, by heartbeats on the database's clock.

Decides when a worker is dead, so that others may take over what it carries. What they take over is
decided in `store`.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from testvibe_async.adapters.database import ITEMS, WORKERS, Database

DEAD_SECONDS = 5.0
"""After how long without a heartbeat a worker is dead."""


def new_worker() -> str:
    """Return the name of this process as one more worker."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


def beat(connection: sa.Connection, database: Database, batch: str, worker: str) -> list[str]:
    """Note that a worker of this process is alive, and forget dead workers; return their names."""
    values = {"batch": batch, "machine": _machine(), "pid": os.getpid(), "beat_at": database.now}
    here = WORKERS.update().where(WORKERS.c.id == worker)
    if connection.execute(here.values(**values)).rowcount == 0:
        connection.execute(WORKERS.insert().values(id=worker, **values))
    dead = [name for name, is_alive in workers_of(connection, database).items() if not is_alive]
    if dead:
        connection.execute(WORKERS.delete().where(WORKERS.c.id.in_(dead)))
    return dead


def workers_of(
    connection: sa.Connection, database: Database, batch: str | None = None
) -> dict[str, bool]:
    """Return the noted workers of a batch, or of all, and whether each is alive."""
    age = (database.now - WORKERS.c.beat_at).label("age")
    query = sa.select(WORKERS.c.id, WORKERS.c.machine, WORKERS.c.pid, age)
    if batch is not None:
        query = query.where(WORKERS.c.batch == batch)
    return {
        row.id: row.age <= DEAD_SECONDS and not _has_ended(row.machine, row.pid)
        for row in connection.execute(query)
    }


def has_no_owner() -> sa.ColumnElement[bool]:
    """Return the condition of an entry that no living worker owns."""
    owner = ITEMS.c.owner
    return sa.or_(owner.is_(None), owner.not_in(sa.select(WORKERS.c.id)))


@cache
def _machine() -> str:
    """Return what names the processes among which a pid is one; empty if that is unknown.

    Machines and containers may share a host name, and containers may share a machine.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return boot.strip() + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _has_ended(machine: str, pid: int) -> bool:
    """Return whether a process of this machine has ended."""
    if not machine or machine != _machine():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
