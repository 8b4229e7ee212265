"""What stands around the code: the workflows do what `.ci/run` does, and pages say what is so."""

import re
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY
from testvibe_async import Client
from testvibe_async._core.wire.endpoints import ENDPOINTS
from testvibe_async.mcp_server import make_server

ROOT = Path(__file__).parents[3]
SCRIPT = (ROOT / ".ci/run").read_text(encoding="utf-8")
PARTS = re.findall(r"^(\w+)\(\) \{", SCRIPT, re.MULTILINE)
WORKFLOWS = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_run_the_one_script(name: str) -> None:
    """Each command of a workflow is `.ci/run`, with a part that it has."""
    commands = _commands(name)
    assert commands
    for command in commands:
        words = command.split()
        assert words[:2] == ["bash", ".ci/run"], command
        assert not words[2:] or words[2] in PARTS, command


def test_the_workflow_runs_all_parts_at_once() -> None:
    """What the script does one after the other are jobs of their own."""
    (everything,) = re.findall(r"^all\(\) \{\n(.*?)^\}", SCRIPT, re.MULTILINE | re.DOTALL)
    parts = {word for word in everything.split() if word in PARTS} - {"beside"}
    assert parts <= {command.split()[2] for command in _commands("ci.yml")}


def _commands(*names: str) -> list[str]:
    """Return the commands of workflows, with each part that a matrix has."""
    found: list[str] = []
    for name in names:
        parts = re.findall(r"\bpart: \[(.*?)\]", WORKFLOWS[name])
        for command in re.findall(r"\brun: (.*)", WORKFLOWS[name]):
            filled = parts[0].split(", ") if "${{ matrix.part }}" in command else [""]
            found += [command.replace("${{ matrix.part }}", part) for part in filled]
    return found


def test_readme_s_test_command_is_the_one_that_is_run() -> None:
    """The script finds the README's test command, once."""
    (pattern,) = re.findall(r"grep -m1 -E '(.*?)' README\.md", SCRIPT)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(pattern, readme, re.MULTILINE)) == 1


def test_supported_pythons_are_tested() -> None:
    """Each version of Python that the metadata names is tested by the script or a workflow."""
    named = {
        line.rpartition(" :: ")[2]
        for line in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", line)
    }
    tested = set(re.findall(r"3\.1\d", SCRIPT + WORKFLOWS["ci.yml"]))
    assert named <= tested
    assert f">={min(named, key=lambda each: int(each[2:]))}" == PROJECT["requires-python"]


async def test_each_endpoint_is_a_tool() -> None:
    """A model can do what code can: nothing of the table is forgotten there."""
    server = make_server(partial(Client, "https://testvibe.example", api_key=KEY, endpoints={}))
    assert ENDPOINTS.keys() <= {tool.name for tool in await server.list_tools()}


EXTRAS = PROJECT["optional-dependencies"].keys() - {"all", "bench", "dev"}


def test_each_extra_is_tried_alone() -> None:
    """Each extra has a script that uses it where nothing else is installed, and is in `all`."""
    scripts = {path.stem for path in (ROOT / "tests/processes/packaging/surfaces").glob("[!_]*.py")}
    assert scripts == EXTRAS | {"library"}
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert everything == f"testvibe-async[{','.join(sorted(EXTRAS))}]"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"pip install '.[{extra}]'" in readme for extra in EXTRAS)


PAGES = {
    "_core": ("dispatch", "batch", "ledger"),
    "_core/http": (".",),
    "_core/polling": (".",),
}
"""The pages for contributors, each with the rooms that it is about."""


@pytest.mark.parametrize("page", PAGES)
def test_pages_for_contributors_name_each_module(page: str) -> None:
    """The picture of a room has each of its modules, and no other."""
    home = ROOT / "testvibe_async" / page
    text = (home / "README.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    modules = {path.name for room in PAGES[page] for path in (home / room).rglob("*.py")}
    assert set(re.findall(r"\b\w+\.py\b", picture)) == modules - {"__init__.py"}


INNER = re.compile(r"testvibe_async\._[a-z]|testvibe_async\.[a-z]\w*\.[a-z_]")
"""A room, or a module inside a surface: in an import, or in what a test replaces."""

PROMISES = sorted((ROOT / "tests/promises").rglob("*.py"))


@pytest.mark.parametrize("path", PROMISES, ids=lambda path: str(path.relative_to(ROOT)))
def test_promises_are_tested_from_outside(path: Path) -> None:
    """What forms the contract reaches public names alone; `tests.support.seams` has the rest."""
    named = INNER.findall(path.read_text(encoding="utf-8"))
    made_of_the_emulator = path.parent.name == "simulation"
    assert {each for each in named if not made_of_the_emulator or "testing" not in each} == set()
