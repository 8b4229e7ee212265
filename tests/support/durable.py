"""A database of durable batches on the virtual time of the event loop."""

import asyncio

import pytest
import sqlalchemy as sa

from testvibe_async.adapters import store
from testvibe_async.adapters.database import Database


def put_on_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give databases the clock of the running event loop, and have them asked less often."""
    monkeypatch.setattr(store, "CLAIM_SECONDS", 4.0)
    monkeypatch.setattr(store, "BEAT_SECONDS", 4.0)
    time = asyncio.get_running_loop().time
    now = sa.bindparam("now_", callable_=time, type_=sa.Float)
    monkeypatch.setattr(Database, "now", now)
