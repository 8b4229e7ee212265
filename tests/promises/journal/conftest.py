"""What the tests of journals share: the file, and batches that it keeps."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import client_of
from testvibe_async import BatchItem, Journal, Project, Run
from testvibe_async.testing import Emulator


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


def verdicts(items: list[BatchItem[Any]]) -> list[str]:
    return [str(item.verdict) for item in items]
