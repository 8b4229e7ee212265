"""Heartbeats of workers, and which workers are dead."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from testvibe_async.adapters.workers import Worker, Workers

if TYPE_CHECKING:
    from tests.rooms.adapters.conftest import Stored


async def test_heartbeats(stored: Stored) -> None:
    """They are on the database's clock, a worker has one at a time, and can be forgotten."""
    workers = Workers(stored.store)
    for name in ("one", "one", "two"):
        await workers.beat(name)
    found = await workers.read()
    assert {each.id: each.age < 60 for each in found} == {"one": True, "two": True}
    assert {(each.host, each.pid) for each in found} == {(socket.gethostname(), os.getpid())}
    await workers.forget(["one"])
    assert [each.id for each in await workers.read()] == ["two"]


@pytest.mark.parametrize(
    ("host", "pid", "age", "is_dead"),
    [
        ("elsewhere", 1, 4.0, False),
        ("elsewhere", 1, 6.0, True),
        ("here", 2**22 + 1, 0.1, os.name == "posix"),
        ("here", 0, 0.1, False),
    ],
)
def test_a_worker_is_dead(host: str, pid: int, age: float, *, is_dead: bool) -> None:
    """It is after 5 s without a heartbeat, or when its process on this machine has ended."""
    name = socket.gethostname() if host == "here" else host
    assert Worker("id", name, pid or os.getpid(), age).is_dead is is_dead
