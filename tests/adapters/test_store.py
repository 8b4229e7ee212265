"""What is kept of a durable batch, and what is refused."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine, event

from testvibe_async import ConfigError

if TYPE_CHECKING:
    from tests.adapters.conftest import Stored

FEATURES = ("Checkout", "Returns", "Wishlist")


async def test_another_batch_of_that_id(stored: Stored) -> None:
    """The same batch again changes nothing, and another one is refused."""
    await stored.submit(*FEATURES)
    jobs = [row.job for row in (await stored.store.rows())[0]]
    assert not await stored.store.submit(stored.plan, jobs, stored.enqueue)
    assert len(stored.queue) == 3
    with pytest.raises(ConfigError, match="other features or options"):
        await stored.store.submit(stored.plan, jobs[:2], stored.enqueue)


async def test_another_version(stored: Stored) -> None:
    """Tables of a later release are refused in one sentence."""
    await stored.submit("Checkout")
    with sqlite3.connect(str(stored.store.url.database)) as connection:
        connection.execute("UPDATE testvibe_batches SET version = 9")
    connection.close()
    with pytest.raises(ConfigError, match="is of version 9, and this release reads version 1"):
        await stored.store.plan()


async def test_a_closed_store(stored: Stored) -> None:
    """Nothing is written once it is closed."""
    await stored.store.aclose()
    with pytest.raises(ValueError, match="closed"):
        await stored.store.plan()


async def test_it_disconnects_once(stored: Stored) -> None:
    """Closed twice, it has ended its connections once."""
    disposed: list[Engine] = []
    event.listen(stored.store.engine, "engine_disposed", disposed.append)
    await stored.store.aclose()
    await stored.store.aclose()
    assert disposed == [stored.store.engine]
