"""Durable batches on DBOS, for real: real time, real databases, and workers that are killed."""

from __future__ import annotations

import asyncio
import gc
import inspect
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from dbos import DBOS, DBOSPortableJSONSerializer
from sqlalchemy.exc import OperationalError

from tests.conftest import client_of
from tests.processes.adapters.kills import batch_of, many_machines, one_machine, postgresql, zombie
from tests.processes.journal.kills import FAST
from testvibe_async import Client, ConfigError
from testvibe_async.adapters import dbos
from testvibe_async.adapters.dbos import DurableBatch
from testvibe_async.adapters.store import Store
from testvibe_async.adapters.tables import WORKERS
from testvibe_async.adapters.workers import Workers
from testvibe_async.testing import Emulator

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from pathlib import Path

T = TypeVar("T")

pytestmark = [
    pytest.mark.timeout(300),
    # Ours to close are the stores; DBOS leaves connections and threads to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _no_leftovers() -> Generator[None]:
    """Have what DBOS leaves unclosed warned of here, and not in another test."""
    yield
    gc.collect()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on an ordinary event loop: processes and databases take real time."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(work)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A PostgreSQL server."""
    found = postgresql(tmp_path_factory.mktemp("server"))
    yield found.get_uri()
    found.cleanup()


def test_killed_workers_on_one_machine(tmp_path: Path) -> None:
    """Workers are killed at open intents one after the other, and each feature runs once."""
    found = run(one_machine(3, features=40, kills=2, folder=tmp_path))
    assert found["runs a feature"] == {1: 40}, found
    assert found["verdicts"] == {"succeeded": 40}, found


def test_without_lists_nothing_runs_twice(tmp_path: Path) -> None:
    """Where the service shows no runs, what a kill left open is unknown, and never doubled."""
    found = run(one_machine(1, features=40, kills=1, folder=tmp_path, lists=False))
    begun, verdicts = found["runs a feature"], found["verdicts"]
    assert set(begun) <= {0, 1}, found
    assert begun.get(0, 0) <= verdicts["unknown"], found
    assert verdicts["succeeded"] + verdicts["unknown"] == 40, found


def test_many_machines(server: str) -> None:
    """One of three workers is killed, one stopped and continued when another has taken over."""
    found = run(many_machines(server, features=60, kills=1))
    assert found["runs a feature"] == {1: 60}, found
    assert found["verdicts"] == {"succeeded": 60}, found


def test_a_worker_that_was_stopped_before_its_first_byte(server: str) -> None:
    """Continued after it was taken over from, it sends nothing: its intent has lapsed."""
    found = run(zombie(server))
    assert found["runs a feature"] == {1: 2}, found


def test_an_application_that_has_dbos(tmp_path: Path) -> None:
    """It binds its client, and its own DBOS does the work; another batch may be bound after it."""
    path = tmp_path / "shop.sqlite"

    async def play() -> None:
        async with (
            Emulator(scenario=FAST) as emulator,
            client_of(emulator, poll_interval=0.5) as client,
        ):
            batch = DurableBatch(path, id="nightly", application="shop", application_version="12")
            assert await batch.submit(client, ["Checkout", "Returns"])
            DBOS(
                config={
                    "name": "shop",
                    "system_database_url": f"sqlite:///{path}",
                    "application_version": "12",
                    "serializer": DBOSPortableJSONSerializer(),
                    "log_level": "ERROR",
                }
            )
            try:
                DBOS.launch()
                with pytest.raises(ConfigError, match="use bind"):
                    await batch.work(client)
                async with batch.bind(client):
                    with pytest.raises(ConfigError, match="bound in this process already"):
                        async with DurableBatch(path, id="nightly").bind(client):
                            pass
                    while not (status := await batch.status()).is_over:
                        assert set(status.workers) <= {"local"}  # none where it is late
                        await asyncio.sleep(0.2)
                with pytest.raises(OperationalError, match="of the application"):
                    async with batch.bind(client):
                        raise OperationalError("SELECT 1", {}, Exception("of the application"))
            finally:
                await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=0)
            assert [str(item.verdict) for item in status.items] == ["succeeded"] * 2
            assert emulator.count("run_feature") == 2

    run(play())


def test_cancel_and_resume(tmp_path: Path) -> None:
    """Cancelled, it is over once nothing is in flight; resumed, it goes on to its end."""

    async def play() -> None:
        async with batch_of(3, str(tmp_path / "a.sqlite"), max_in_flight=2) as (emulator, workers):
            batch = DurableBatch(tmp_path / "a.sqlite", id=workers.name)
            await batch.cancel()
            assert (await batch.status()).is_over
            assert await workers.ended(workers.start()) == {"skipped": 3}
            assert len(await batch.resume()) == 3
            assert not (await batch.status()).is_cancelled
            assert await workers.ended(workers.start()) == {"succeeded": 3}
            assert len(emulator.runs) == 3
            assert emulator.api_key.encode() not in (tmp_path / "a.sqlite").read_bytes()

    run(play())


def test_a_call_of_dbos_that_is_private() -> None:
    """What takes over from a dead worker is there, and takes its id."""
    parameters = inspect.signature(DBOS._recover_pending_workflows).parameters
    assert list(parameters) == ["executor_ids"]
    assert not dbos._is_running()


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "sqlite:///relative.db", "postgres//", "postgresql+psycopg://h/p"]
)
def test_urls(url: str) -> None:
    """A file or PostgreSQL is taken, and another database refused."""
    if url.startswith(("mysql", "sqlite")):
        with pytest.raises(ConfigError, match=r"a SQLite file or in postgresql://"):
            DurableBatch(url, id="x")
    else:
        assert DurableBatch(url, id="x")


def test_a_password_is_not_shown() -> None:
    """The database is named without it."""
    shown = repr(DurableBatch("postgresql://me:secret@db/tests", id="nightly"))
    assert "secret" not in shown
    assert "nightly" in shown


def test_what_is_refused(tmp_path: Path) -> None:
    """No id, no batch, no feature, no folder, another server: one sentence each."""

    async def play() -> None:
        with pytest.raises(ConfigError, match="must not be empty"):
            DurableBatch(tmp_path / "a", id="")
        batch = DurableBatch(tmp_path / "a.sqlite", id="nightly")
        with pytest.raises(ConfigError, match=r"no batch 'nightly' in .*a.sqlite: submit it first"):
            await batch.status()
        assert not (tmp_path / "a.sqlite").exists()
        with pytest.raises(ConfigError, match="'resend', 'drop' or a ref"):
            await batch.decide("again")  # type: ignore[arg-type]
        async with Emulator() as emulator, client_of(emulator) as client:
            with pytest.raises(ConfigError, match="has no features"):
                await batch.submit(client, [])
            with pytest.raises(ConfigError, match="can't be used: unable to open"):
                await DurableBatch(tmp_path / "no" / "a", id="nightly").submit(client)
            assert await batch.submit(client)
            assert not await batch.submit(client)
            assert (await batch.plan()).server == emulator.url
            with pytest.raises(ConfigError, match="other features or options"):
                await batch.submit(client, ["Checkout"])
        async with Client("https://other.example", api_key="tvb_" + "k" * 43) as other:
            with pytest.raises(ConfigError, match=r"this client's server is https://other.example"):
                await batch.work(other)

    run(play())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"features": "Checkout"}, r"features must be several, not 'Checkout'"),
        ({"on_conflict": "typo"}, r"on_conflict must be one of 'raise', 'generate', not 'typo'"),
        ({"config": []}, r"config names no configuration"),
        ({"max_in_flight": 0}, r"max_in_flight"),
        ({"attempts": 0}, r"attempts"),
    ],
)
def test_what_run_features_refuses(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    """A batch that `run_features` refuses is refused in the same sentence, and not stored."""

    async def play() -> None:
        async with Emulator() as emulator, client_of(emulator) as client:
            with pytest.raises(ConfigError, match=message) as refused:
                await DurableBatch(tmp_path / "a", id="nightly").submit(client, **asked)
            with pytest.raises(ConfigError) as expected:
                client.project().run_features(**asked)
            assert str(refused.value) == str(expected.value)
            assert emulator.requests == []
        assert not (tmp_path / "a").exists()

    run(play())


def test_features_that_are_generated_one_by_one(tmp_path: Path) -> None:
    """What can be read only once is checked without being read, and stored whole."""

    async def play() -> None:
        async with Emulator() as emulator, client_of(emulator) as client:
            batch = DurableBatch(tmp_path / "a", id="nightly")
            features = (name for name in ("Checkout", "Returns"))
            configs: Any = iter(("Chrome", "Firefox"))
            assert await batch.submit(client, features, config=configs)
            items = (await batch.status()).items
            assert [(item.feature, item.config) for item in items] == [
                ("Checkout", "Chrome"),
                ("Checkout", "Firefox"),
                ("Returns", "Chrome"),
                ("Returns", "Firefox"),
            ]

    run(play())


def test_a_dead_worker_is_not_shown(tmp_path: Path) -> None:
    """A status names a worker until its process has ended, by the rule for taking over from it."""
    path = tmp_path / "a.sqlite"

    async def play() -> None:
        async with Emulator() as emulator, client_of(emulator) as client:
            batch = DurableBatch(path, id="nightly")
            await batch.submit(client, ["Checkout"])
            async with aclosing(Store(batch._database.url, "nightly")) as store:
                await Workers(store).beat("one")
                assert (await batch.status()).workers == ["one"]
                ended = WORKERS.update().values(pid=2**22 + 1)
                assert await store.changes(ended)
            assert (await batch.status()).workers == []

    run(play())
