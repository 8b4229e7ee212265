"""`open`: the report or the trace of a run."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async import Artifact, ConfigError
from testvibe_async.cli import runs
from testvibe_async.cli.output import Output

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call
    from testvibe_async.testing import Emulator, Scenario


@pytest.fixture
def scenario() -> Scenario:
    from testvibe_async.testing import Scenario  # noqa: PLC0415

    return Scenario(run_queue=1, run_duration=5, failing_runs=1)


@pytest.fixture
async def failed(signed_in: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch) -> int:
    """The id of a run that failed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd() / "cache"))
    await call("run", "Checkout", "--wait", "--quiet")
    (run,) = signed_in.runs
    return run


async def test_in_a_pipe_it_says_the_command(failed: int, call: Call) -> None:
    """Without a terminal the trace is downloaded, and the command that shows it is printed."""
    ended = await call("open", str(failed), "--kind", "trace")
    npx, playwright, show, path = shlex.split(ended.output)
    assert (ended.code, npx, playwright, show) == (0, "npx", "playwright", "show-trace")
    assert path in [str(each) for each in Path("cache").absolute().rglob("*.zip")]  # noqa: ASYNC240


async def test_as_json(failed: int, call: Call) -> None:
    """With --json there is the kind, the path and the command."""
    document = json.loads((await call("open", str(failed), "-j", "--kind", "trace")).output)
    assert document["kind"] == "trace"
    assert document["command"].endswith(shlex.quote(document["path"]))


async def test_on_a_terminal_it_starts_the_viewer(
    failed: int, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the trace viewer is started and waited for; without Node.js it says so."""
    started: list[tuple[str, ...]] = []

    class Viewer:
        async def wait(self) -> int:
            return 0

    def found(name: str) -> str:
        return f"/bin/{name}"

    def not_found(_name: str) -> None:
        return None

    async def start(*command: str) -> Viewer:
        started.append(command)
        return Viewer()

    monkeypatch.setattr(Output, "is_live", True)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    monkeypatch.setattr("shutil.which", found)
    await call("open", str(failed), "--kind", "trace")
    assert [command[:3] for command in started] == [("npx", "playwright", "show-trace")]
    monkeypatch.setattr("shutil.which", not_found)
    ended = await call("open", str(failed), "--kind", "trace")
    assert "Install Node.js, then open it with:\n  npx playwright show-trace " in ended.output
    assert len(started) == 1


async def test_a_report_is_opened_in_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is opened by the browser; where there is none, its path is printed."""
    opened: list[str] = []
    said: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return len(opened) == 1

    monkeypatch.setattr("webbrowser.open", browse)
    monkeypatch.setattr(Output, "is_live", True)

    def say(_output: Output, text: str) -> None:
        said.append(text)

    monkeypatch.setattr(Output, "say", say)
    page = Path("/report/index.html")
    for _ in range(2):
        await runs._show(page, None, Output())
    assert opened == ["file:///report/index.html"] * 2
    assert said == [f"{page} is open in the browser.", f"Open {page} in a browser."]


@pytest.mark.parametrize("name", ["report.exe", "setup.command", "index.html.bat", "report"])
async def test_what_may_be_a_program_is_not_opened(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that no browser shows is not handed to the system, which might start it."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(Output, "is_live", True)

    await runs._show(Path("/files") / name, None, Output())

    assert not opened
    assert f"{name} is downloaded, and not opened" in capsys.readouterr().out


async def test_kind_that_is_not_there(failed: int, call: Call) -> None:
    """A kind that the run has not is refused, with those that it has."""
    ended = await call("open", str(failed), "--kind", "video")
    assert ended.code == 2
    assert "has no files of kind video; it has " in ended.errors


async def test_run_without_files(call: Call, signed_in: Emulator) -> None:
    """A run that left nothing is refused in one sentence."""
    await call("run", "Wishlist")
    (run,) = signed_in.runs
    ended = await call("open", str(run))
    assert ended.code == 2
    assert f"run {run} has left no files, or none yet" in ended.errors


def test_the_file_that_says_most_is_chosen() -> None:
    """A report comes before a trace, and of a report its first page."""

    def kinds(*names: str) -> list[Any]:
        return [Artifact(kind=name, path=f"{name}.x") for name in names]

    assert runs._best_kind(kinds("screenshot", "trace"), 1) == "trace"
    assert runs._best_kind(kinds("trace", "report"), 1) == "report"
    assert runs._best_kind(kinds("odd"), 1) == "odd"
    assert runs._best_kind(kinds("trace", "report"), 1, "trace") == "trace"
    with pytest.raises(ConfigError):
        runs._best_kind([], 1)
    files = [Path("a/data.js"), Path("a/z.html"), Path("a/index.html")]
    assert runs._file_to_open(files) == Path("a/index.html")
    assert runs._file_to_open(files[:2]) == Path("a/z.html")
