"""The README and the pages that it leads to: their code runs as it stands, their links lead on."""

import ast
import inspect
import json
import re
import shlex
import sys
import tomllib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from attrs import fields_dict

from benchmarks.peers import cost_table
from tests.conftest import client_of
from tests.surfaces.cli.conftest import use
from testvibe_async import Batch, Client, Hooks, Operation
from testvibe_async.cli.app import NAMES, parse
from testvibe_async.testing import Emulator

ROOT = Path(__file__).parents[3]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [
        ROOT / "README.md",
        *sorted(ROOT.glob("testvibe_async/**/README.md")),
        *(
            ROOT / ".github" / f"{name}.md"
            for name in ("COMPATIBILITY", "CONTRIBUTING", "SECURITY")
        ),
        ROOT / "CHANGELOG.md",
    ]
}
README, LIBRARY = PAGES["README.md"], PAGES["testvibe_async/README.md"]


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the page and the text of each block in a language, except the recipes.

    Those are files of their own: see `test_readme_recipes`.
    """
    pattern = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    return [
        (page, block)
        for page, text in PAGES.items()
        for block in pattern.findall(text.partition("\n## Recipes\n")[0])
    ]


BLOCKS = blocks("python")
AIRFLOW = [block for block in BLOCKS if "from airflow" in block[1]]
SCRIPTS = [block for block in BLOCKS if "asyncio.run(" in block[1] and block not in AIRFLOW]
FRAGMENTS = [block for block in BLOCKS if block not in (*SCRIPTS, *AIRFLOW)]
TESTS = [place for place, (_, block) in enumerate(BLOCKS) if "async def test_a_" in block]
"""The places of tests of what the block before defines."""


@pytest.fixture
async def emulator(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Emulator]:
    """The shop as it comes, and the environment set."""
    async with Emulator() as emulator:
        use(emulator, monkeypatch)
        yield emulator


@pytest.mark.parametrize(("page", "code"), FRAGMENTS, ids=map(str, range(len(FRAGMENTS))))
async def test_a_fragment_runs(
    page: str, code: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fragment runs where `client` and `project` are at hand."""
    monkeypatch.chdir(tmp_path)
    async with client_of(emulator) as client:
        names: dict[str, Any] = {"client": client, "project": client.project()}
        compiled = compile(code, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(compiled, names)  # noqa: S307 - our own page
        if inspect.isawaitable(result):
            await result


@pytest.mark.parametrize("described", [Client, Operation, Batch])
async def test_the_example_of_a_class_runs(
    described: type, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `help` shows of the classes that a newcomer meets first runs as it stands."""
    monkeypatch.chdir(tmp_path)
    documented = inspect.getdoc(described) or ""
    (example,) = re.findall(r"For example.*:\n\n((?: {4}.*\n|\n)+)", documented)
    compiled = compile(dedent(example), described.__name__, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with client_of(emulator) as client:
        names = {"Client": Client, "project": client.project()}
        await eval(compiled, names)  # noqa: S307 - our own


@pytest.mark.parametrize("place", TESTS)
async def test_a_test_passes(place: int) -> None:
    """A test that is shown passes, of the code that is shown before it."""
    names: dict[str, Any] = {}
    (page, tested), (_, test_code) = BLOCKS[place - 1 : place + 1]
    exec(compile(f"{tested}\n{test_code}", page, "exec"), names)  # noqa: S102 - our own page
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    await test()


@pytest.mark.parametrize(("page", "code"), SCRIPTS, ids=map(str, range(len(SCRIPTS))))
@pytest.mark.usefixtures("emulator")
async def test_a_script_runs(
    page: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first example runs as it stands, in the event loop of the test."""
    mains: list[Any] = []
    monkeypatch.setattr("asyncio.run", mains.append)

    exec(compile(code, page, "exec"), {})  # noqa: S102 - our own page
    await mains.pop()

    assert re.match(r"(passed|failed) RunSummary\(", capsys.readouterr().out)


def task(**_options: object) -> Callable[[Any], Any]:
    """Stand for Airflow's decorator, which is not installed."""

    def decorated(function: Any) -> Any:
        return function

    return decorated


async def test_the_task_of_a_scheduler_resumes(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's second try of the task has the runs of the first, and dispatches none."""
    ((page, code),) = AIRFLOW
    mains: list[Any] = []
    sdk: Any = ModuleType("airflow.sdk")
    sdk.task = task
    for module in (ModuleType("airflow"), sdk):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("asyncio.run", mains.append)
    monkeypatch.setenv("TESTVIBE_LEDGER", str(tmp_path / "ledger.sqlite"))
    names: dict[str, Any] = {}
    exec(compile(code, page, "exec"), names)  # noqa: S102 - our own page

    for _ in range(2):
        names["run_features"](["Checkout", "Returns"], run_id="1")

    assert await mains[0] == await mains[1]
    assert emulator.count("run_feature") == 2


PARSERS = {"json": json.loads, "toml": tomllib.loads}
DOCUMENTS = [(read, text) for language, read in PARSERS.items() for _, text in blocks(language)]


@pytest.mark.parametrize(("read", "text"), DOCUMENTS, ids=map(str, range(len(DOCUMENTS))))
def test_a_document_parses(read: Callable[[str], Any], text: str) -> None:
    """Each configuration to paste is well-formed, and not empty."""
    assert read(text)


COMMANDS = {
    line.removeprefix("$ ")
    for _, block in blocks("console")
    for line in block.splitlines()
    if line.removeprefix("$ ").startswith("testvibe-async ")
}


@pytest.mark.parametrize("line", sorted(COMMANDS))
def test_a_command_is_one(line: str) -> None:
    """Each command that is shown has the options and arguments that the command line takes."""
    words = shlex.split(re.sub(r" [<>] \S+| \| .*", "", line), comments=True)[1:]
    parse(words)


LINKS = re.compile(r"\[(?:[^\]]+)\]\(([^)]+)\)")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Each link within the repository leads to a file, and to a heading that this file has."""
    for link in LINKS.findall(PAGES[page]):
        if link.startswith("https://"):
            continue
        name, _, heading = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.is_file(), link
        if heading:
            assert heading in headings(target.read_text(encoding="utf-8")), link


def headings(text: str) -> set[str]:
    """Return the names by which links lead to a page's headings."""
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_the_front_page_is_short_and_leads_to_every_page() -> None:
    """The README fits into 250 lines, and links to each other page."""
    assert len(README.splitlines()) <= 250
    assert PAGES.keys() - {"README.md"} <= {
        link.partition("#")[0] for link in LINKS.findall(README)
    }


def test_the_front_page_of_an_index_has_no_link_that_ends_there() -> None:
    """Where a package index shows the README alone, links to files are their names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    assert hook["fragments"] == [{"path": "README.md"}]
    text = README
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    links = LINKS.findall(text)
    assert links
    assert all(link.startswith(("https://", "#")) for link in links)
    assert "**The command line (`testvibe_async/cli/README.md`)**" in text
    assert "The results (`benchmarks/RESULTS.md`) have" in text
    assert "![" not in text


def test_what_it_costs_was_measured() -> None:
    """The table, and the commit that it names, are those of the results beside the benchmarks."""
    assert f"\n## What it costs\n\n{cost_table(results('peers'))}\n\n" in README


def test_the_library_page_names_each_hook() -> None:
    """A reader finds every hook in the list."""
    (hooks,) = re.findall(r"(?ms)^The hooks are (.*?)\. Each gets one event\.", LIBRARY)
    assert set(re.findall(r"`(on_\w+)`", hooks)) == set(fields_dict(Hooks))


def test_the_command_line_s_page_names_each_command() -> None:
    """Each command stands in the table of all commands, or is an option that the page tells of."""
    page = PAGES["testvibe_async/cli/README.md"]
    table = page.partition("\n## All commands\n")[2].partition("\n## ")[0]
    commands = [name for name in NAMES if not name.startswith("-")]
    assert len(commands) > 15
    for name in commands:
        assert re.search(rf"^\|.*`{name}\b", table, re.MULTILINE), name
    assert all(name in page for name in NAMES)


def test_what_50_000_runs_take_was_measured() -> None:
    """So is what very many outcomes take, and how late they come."""
    largest = results("scale")["sizes"][-1]
    operations, delay = f"{largest['operations']:,}", f"{largest['figures']['delay_p99']:.1f} s"
    assert f"{operations} operations in flight at once in one process (delay p99 {delay})" in README
    mebibytes = largest["figures"]["peak_kib_per_operation"] * largest["operations"] / 1024
    assert f"{operations} runs of three tests take {mebibytes:.0f} MiB" in LIBRARY


def results(benchmark: str) -> Any:
    path = ROOT / "benchmarks" / "results" / f"{benchmark}.json"
    return json.loads(path.read_text())
