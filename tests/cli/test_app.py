"""The command line itself: what it is called with, what it needs, and its exit codes."""

from __future__ import annotations

import io
import runpy
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import testvibe_async
from tests.cli.process import environment, finished
from testvibe_async import NotSentError, cli
from testvibe_async.cli import app, demo

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(autouse=True)
def _signals() -> Generator[None]:
    """Leave SIGTERM as it was."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def code_of(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        app.run(arguments)
    return caught.value.code


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a module it is the same command, and knows its version."""
    monkeypatch.setattr(sys, "argv", ["testvibe-async", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("testvibe_async.cli", run_name="__main__")
    assert not caught.value.code
    assert capsys.readouterr().out == f"{testvibe_async.__version__}\n"


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists each command under the name of the installed script."""
    assert not code_of("--help")
    output = capsys.readouterr().out
    assert "Usage: testvibe-async COMMAND" in output
    assert " demo " in output
    assert " emulator " in output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch"],
        ["demo", "--speed", "0"],
        ["demo", "--speed", "inf"],
        ["emulator", "--speed", "nan"],
        ["emulator", "--port", "70000"],
        ["emulator", "--credits", "-1"],
    ],
)
def test_wrong_call_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong call is refused before anything is done, and names what was wrong."""
    assert code_of(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert arguments[-1].lstrip("-").split(".")[0] in captured.err


@pytest.mark.parametrize("command", ["demo", "emulator"])
def test_bad_folder_is_said_in_one_sentence(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not there exits with 2 and one sentence."""
    assert code_of(command, "--features", "/no/such") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "testvibe-async: /no/such is no folder with .feature files in it.\n"


def test_failure_on_the_way_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the SDK is one line, whatever it holds, and no traceback."""

    async def perform(*_arguments: object, **_options: object) -> None:
        raise NotSentError("refused\x1b[2J", method="GET", url="http://s")

    monkeypatch.setattr(demo, "perform", perform)
    assert code_of("demo") == 1
    assert capsys.readouterr().err == "testvibe-async: GET http://s: refused\\x1b[2J\n"


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, stop: signal.Signals, code: int
) -> None:
    """A command that a signal stopped exits with 128 and its number."""

    async def perform(*_arguments: object, **_options: object) -> None:
        signal.raise_signal(stop)

    monkeypatch.setattr(demo, "perform", perform)
    assert code_of("demo") == code


def test_interrupt_while_it_loads_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the command has begun exits with 130 too."""

    def run() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", run)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130


def test_text_beyond_the_encoding_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that has no such characters shows them as escapes, and nothing fails."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not code_of("demo", "--speed", "40")
    narrow.flush()
    output = narrow.buffer
    assert isinstance(output, io.BytesIO)
    assert b"16 runs at once" in output.getvalue()
    assert b"\\u2026" in output.getvalue()


@pytest.mark.parametrize("module", ["cyclopts", "rich"])
def test_missing_extra_names_the_pip_command(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the extra the command says in one sentence how to get it, and exits with 2."""
    for name in [name for name in sys.modules if name.startswith(("testvibe_async.cli.", "rich."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"testvibe-async: the command line needs {module}, which is not installed: "
        "pip install 'testvibe-async[cli]'\n"
    )


def test_missing_extra_in_another_process() -> None:
    """The same holds for a process that never had it."""
    script = (
        "import sys; sys.modules['cyclopts'] = None; from testvibe_async.cli import main; main()"
    )
    (output, errors), code = finished(python=("-c", script))
    assert (code, output) == (2, "")
    assert errors.endswith("pip install 'testvibe-async[cli]'\n")
    assert errors.count("\n") == 1


def test_other_missing_module_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of ours that is missing is no matter of the extra, and is not hidden."""
    monkeypatch.setitem(sys.modules, "testvibe_async.cli.app", None)
    with pytest.raises(ModuleNotFoundError, match=r"testvibe_async\.cli\.app"):
        cli.main()


def test_package_loads_nothing_of_the_command_line() -> None:
    """Importing the package loads neither the command line nor what it needs."""
    script = "import sys, testvibe_async; print(*sys.modules)"
    loaded = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"cyclopts", "rich", "testvibe_async.cli"} & set(loaded)
