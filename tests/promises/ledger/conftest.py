"""What the tests of ledgers share: the file, processes that die, and the calls with a key."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Received, Send, Sent, client_of, client_through
from tests.support.batches import verdicts
from tests.support.ledgers import copy_of_the_disk
from testvibe_async import BatchItem, Client, Ref, Run, RunRef, SqliteLedger
from testvibe_async.testing import Emulator, Fault

KEY = "nightly"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger file, not there yet."""
    return tmp_path / "testvibe.sqlite"


async def opened(path: Path) -> None:
    """Open a ledger file, and close it."""
    async with SqliteLedger(path):
        pass


async def ran(
    path: Path, emulator: Emulator, features: Any = None, **options: Any
) -> list[BatchItem[Run]]:
    """Run the batch to its end, in a process of its own."""
    async with client_of(emulator, ledger=path) as client:
        return await client.project().run_features(features, key=KEY, **options)


async def leave_unknown(
    path: Path,
    emulator: Emulator,
    features: Any,
    *,
    fault: Fault | None = None,
    lists_read: int = 1,
    **options: Any,
) -> None:
    """Lose the answers to a batch, and find nothing in the lists after some: as a crash does."""
    lost = emulator.fail("run_feature", fault or Fault.lost())
    hidden = emulator.fail("list_runs", Fault.status(404), skip=lists_read)
    items = await ran(path, emulator, features, **options)
    assert {*verdicts(items)} == {"unknown"}
    lost.remove()
    hidden.remove()


def ref_of(emulator: Emulator, feature: str) -> RunRef:
    """Return the ref of a feature's run."""
    (run_id,) = (run.id for run in emulator.runs.values() if run.feature_name == feature)
    return RunRef(server=emulator.url, project=emulator.project_id, run_id=run_id)


def execute(path: Path, statement: str) -> None:
    """Change a database."""
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


Call = Callable[[Client], Coroutine[Any, Any, Ref]]


@asynccontextmanager
async def killed(
    emulator: Emulator, path: Path, call: Call, *, acted: bool
) -> AsyncGenerator[Path]:
    """Kill a process once the service has its POST, whether or not that acts; give what it left."""

    async def hang(request: Sent, send: Send) -> Received:
        response = await send(request)
        if request.method == "POST":
            await asyncio.Event().wait()
        return response

    lost = Fault.edit(lambda answer: answer) if acted else Fault.hang()
    rules = [emulator.fail(each, lost, times=1) for each in ("run_feature", "generate_feature")]
    async with client_through(hang, emulator, ledger=path) as client:
        call_of_the_dead = asyncio.create_task(call(client))
        while not any(rule.hits for rule in rules):  # noqa: ASYNC110 - the service's own counts
            await asyncio.sleep(0.01)
        left = path.with_name(f"left by {path.name}")
        copy_of_the_disk(path, left)
        for rule in rules:
            rule.remove()
        yield left
        call_of_the_dead.cancel()
        with suppress(asyncio.CancelledError):
            await call_of_the_dead


async def outcome_of(call: Awaitable[Ref]) -> Ref | Exception:
    """Return what a call returns or raises."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - the test compares it
        return error
