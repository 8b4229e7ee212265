"""The README's code runs as it stands."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of
from testvibe_async import _endpoints
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
    for endpoint in _endpoints.ENDPOINTS.values():
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
