"""The README's code runs as it stands."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of
from testvibe_async._wire.endpoints import ENDPOINTS
from testvibe_async.testing import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SCRIPTS = [block for block in BLOCKS if "asyncio.run(" in block]
FRAGMENTS = [block for block in BLOCKS if block not in SCRIPTS]
TESTS = [place for place, block in enumerate(BLOCKS) if "async def test_a_" in block]
"""The places of tests of what the block before defines."""


@pytest.fixture
async def emulator(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Emulator]:
    """The shop as it comes, and the environment set."""
    async with Emulator() as emulator:
        use(emulator, monkeypatch)
        yield emulator


def use(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTVIBE_SERVER", emulator.url)
    monkeypatch.setenv("TESTVIBE_API_KEY", emulator.api_key)
    monkeypatch.setenv("TESTVIBE_PROJECT", emulator.project_id)


@pytest.mark.parametrize("code", FRAGMENTS, ids=map(str, range(len(FRAGMENTS))))
async def test_a_fragment_runs(
    code: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fragment runs where `client` and `project` are at hand."""
    monkeypatch.chdir(tmp_path)
    async with client_of(emulator) as client:
        names: dict[str, Any] = {"client": client, "project": client.project()}
        compiled = compile(code, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(compiled, names)  # noqa: S307 - our own README
        if inspect.isawaitable(result):
            await result


@pytest.mark.parametrize("place", TESTS)
async def test_a_test_passes(place: int) -> None:
    """A test that is shown passes, of the code that is shown before it."""
    names: dict[str, Any] = {}
    exec(compile("\n".join(BLOCKS[place - 1 : place + 1]), "README.md", "exec"), names)  # noqa: S102 - our own README
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    await test()


@pytest.mark.parametrize("code", SCRIPTS, ids=lambda code: code.strip().splitlines()[-1])
def test_a_script_runs(
    code: str,
    testvibe_emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The example on the first page runs on real time, on an emulator in another thread."""
    use(testvibe_emulator, monkeypatch)

    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README

    assert re.match(r"(passed|failed) RunSummary\(", capsys.readouterr().out)


def test_there_is_a_script_and_there_are_fragments() -> None:
    """The README has the first example, and examples of each capability."""
    assert len(SCRIPTS) == 1
    assert len(FRAGMENTS) >= 10
    assert len(TESTS) == 1


def test_the_table_of_operations_is_the_one_in_force() -> None:
    """Each operation stands in the README with its method, its path and what is assumed of it."""
    for endpoint in ENDPOINTS.values():
        path = re.sub(r"^/projects/{project}/", "…/", endpoint.path)
        row = re.search(
            rf"\| `(?:client|project)\.{endpoint.name}\(.*?\)` "
            rf"\| `{endpoint.method} (.*?)` \| (.*) \|",
            README,
        )
        assert row is not None, endpoint.name
        assert row[1] == path
        assert (
            row[2].startswith("assumed") is not endpoint.is_documented or "route assumed" in row[2]
        )


ROWS = {
    "this, where the service has lists": "testvibe_async",
    "this, with a task for each run": "testvibe_async, a task each",
    "this, where it has no lists": "testvibe_async, without lists",
    "the loops": "aiohttp, a loop each, `gather`",
}
"""What the README calls a row of the benchmark against peers."""


@pytest.mark.parametrize("name", ROWS)
def test_what_it_costs_was_measured(name: str) -> None:
    """The numbers are those of the results that lie beside the benchmarks."""
    (scenario, *_) = results("peers")["scenarios"]
    rows = {row["title"]: row["medians"] for row in scenario["rows"]}
    measured, loops = rows[ROWS[name]], rows[ROWS["the loops"]]
    shown = re.search(rf"^\| {re.escape(name)} \| (.*) \|$", README, re.MULTILINE)
    assert shown is not None
    assert shown[1].replace("\u00d7", "x").split(" | ") == [
        f"{measured['requests_per_operation']:.1f}",
        f"{measured['cpu_ms_per_operation'] / loops['cpu_ms_per_operation']:.2f} x",
        f"{measured['peak_kib_per_operation'] / loops['peak_kib_per_operation']:.2f} x",
        f"{measured['delay_p99']:.2f} s",
    ]


def test_what_50_000_runs_take_was_measured() -> None:
    """So is what very many outcomes take."""
    largest = results("scale")["sizes"][-1]
    mebibytes = largest["medians"]["peak_kib_per_operation"] * largest["operations"] / 1024
    assert f"{largest['operations']:,} runs of three tests take {mebibytes:.0f} MiB" in README


def results(benchmark: str) -> Any:
    path = Path(__file__).parent.parent / "benchmarks" / "results" / f"{benchmark}.json"
    return json.loads(path.read_text())
