"""What the tests of journals share: the file, and batches that it keeps."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.batches import verdicts
from testvibe_async import BatchItem, Journal, Project, Run, RunRef
from testvibe_async.testing import Emulator, Fault


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.journal"


async def opened(path: Path) -> None:
    """Open a journal, and close it."""
    async with Journal(path):
        pass


async def resumed(
    path: Path, project: Project, *features: Any, **options: Any
) -> list[BatchItem[Run]]:
    """Run a batch to its end with the journal of an earlier one."""
    async with Journal(path) as journal:
        return await project.run_features(*features, journal=journal, **options)


async def ran(
    path: Path, emulator: Emulator, *features: Any, **options: Any
) -> list[BatchItem[Run]]:
    """Run a batch to its end, in a process of its own."""
    async with client_of(emulator) as client:
        return await resumed(path, client.project(), *features, **options)


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
