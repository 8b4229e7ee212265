"""The command line itself: what it is called with, what it needs, and its exit codes."""

from __future__ import annotations

import gc
import importlib
import logging
import signal
import sys
import warnings
from typing import TYPE_CHECKING

import pytest

import testvibe_async
from tests.conftest import KEY
from testvibe_async import NotSentError, cli
from testvibe_async.cli import app, demo

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call, Run
    from testvibe_async.testing import Emulator


def code_of(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        app.run(arguments)
    return caught.value.code


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a module it is the same command, with the same version."""
    monkeypatch.setattr(sys, "argv", ["testvibe-async", "--version"])
    monkeypatch.delitem(sys.modules, "testvibe_async.cli.__main__", raising=False)
    with pytest.raises(SystemExit) as caught:
        importlib.import_module("testvibe_async.cli.__main__")
    assert not caught.value.code
    assert capsys.readouterr().out == f"{testvibe_async.__version__}\n"


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists each command, with what it does, and the exit codes."""
    assert not code_of("--help")
    output = capsys.readouterr().out
    assert all(f" {name} " in output for name in app.NAMES)
    assert "Run the tests of features" in output
    assert "Exit codes: 0 passed" in output


@pytest.mark.parametrize("command", ["demo", "emulator"])
def test_bad_folder_is_one_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there exits with 2 and one sentence."""
    assert code_of(command, "--features", "/no/such") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "testvibe-async: /no/such is no folder with .feature files in it.\n"


def test_failure_on_the_way_exits_with_5(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the SDK is one line, whatever it holds, and no traceback."""

    async def generate(**_options: object) -> None:
        raise NotSentError("refused\x1b[2J", method="GET", url="http://s")

    monkeypatch.setattr(demo, "generate", generate)
    assert code_of("demo") == 5
    assert capsys.readouterr().err == "testvibe-async: s is not reachable: refused\\x1b[2J\n"


def raise_from_demo(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    async def generate(**_options: object) -> None:
        raise error

    monkeypatch.setattr(demo, "generate", generate)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (OSError(28, "No space left on device", "x/y"), 2, "x/y: No space left on device"),
        (OSError("odd"), 2, "this machine: odd"),
        (RuntimeError("no\nsuch\x1b[2J"), 70, "an error that should not be: RuntimeError: no such"),
    ],
)
def test_what_should_not_be_is_one_sentence_too(
    error: Exception, code: int, sentence: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the machine and a defect are a sentence and an exit code, not a traceback."""
    raise_from_demo(monkeypatch, error)
    ended = run("demo")
    assert ended.code == code
    assert ended.errors.startswith(f"testvibe-async: {sentence}")
    assert ended.errors.count("\n") == 1
    assert "\x1b" not in ended.errors


async def test_a_defect_shows_where_it_is_if_asked(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With -vv a defect comes with its traceback, in which there is no key."""

    def find(*_arguments: object, **_options: object) -> None:
        raise RuntimeError(f"a key: {KEY}")

    monkeypatch.setattr("testvibe_async.cli.settings.find_settings", find)
    quiet = await call("settings")
    assert quiet.code == 70
    assert quiet.errors.endswith("RuntimeError: a key: tvb_kkkk…; -vv shows where\n")
    loud = await call("settings", "-vv")
    assert loud.code == 70
    assert "Traceback" in loud.errors
    assert KEY[8:] not in loud.errors


def test_a_closed_pipe_is_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose reader has closed the pipe ends without a message."""
    raise_from_demo(monkeypatch, BrokenPipeError())
    ended = run("demo")
    assert (ended.code, ended.errors) == (141, "")


@pytest.mark.parametrize(("flags", "levels"), [("", ""), ("-v", "INFO"), ("-vv", "INFO DEBUG")])
async def test_logs_go_to_standard_error(
    flags: str, levels: str, call: Call, signed_in: Emulator
) -> None:
    """Without -v nothing is logged; -v logs each dispatch, -vv each request too."""
    await call("projects", "-vv")  # the verbosity of an earlier command has no effect
    ended = await call("run", "Checkout", *flags.split())
    assert ended.code == 0
    found = [level for level in ("INFO", "DEBUG") if f" {level} " in ended.errors]
    assert found == levels.split()
    assert signed_in.api_key[8:] not in ended.errors


@pytest.mark.parametrize(
    ("flags", "line"),
    [((), "testvibe-async: \\x1b[2J tvb_kkkk…"), (("-v",), " WARNING \\x1b[2J tvb_kkkk…")],
)
async def test_a_warning_is_one_harmless_line(
    flags: tuple[str, ...], line: str, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning is always printed, without traceback, key and control characters."""
    await call("settings", "-vv")  # the verbosity of an earlier command has no effect
    await call("settings", *flags)
    logging.getLogger("asyncio").warning("\x1b[2J %s", KEY, exc_info=RuntimeError(KEY))
    said = capsys.readouterr().err
    assert said.endswith(f"{line}\n")
    assert said.count("\n") == 1


async def test_all_of_a_warning_is_printed_if_asked(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -vv a warning has its traceback, still without the key."""
    await call("settings", "-vvv")
    logging.getLogger("testvibe_async").warning("it failed", exc_info=RuntimeError(KEY))
    assert capsys.readouterr().err.endswith("it failed\nRuntimeError: tvb_kkkk…\n")


COMMON = [("--json",), ("-j",), ("-q",), ("--no-color",), ("-vv",), ("--json=lines",)]


@pytest.mark.parametrize("options", [*COMMON, ("-p", "Acme Shop"), ("-p=Acme Shop", "-j")])
async def test_common_options_stand_before_or_after_the_command(
    options: tuple[str, ...], call: Call, signed_in: Emulator
) -> None:
    """Each option of every command means the same before, within and after it."""
    assert signed_in
    before, after = await call(*options, "features", "list"), await call("features", *options)
    assert (await call("features", *options, "list")).output == after.output
    assert before.code == after.code == 0
    assert before.output == after.output
    assert after.output
    assert "'-x'" in (await call(*options, "run", "--", "-x")).errors


async def test_timeout_may_stand_before_the_command(call: Call, signed_in: Emulator) -> None:
    """It is the option of the commands that have it, and is refused by the others."""
    assert signed_in
    assert (await call("--timeout", "2", "run", "Checkout", "--wait")).code == 4
    assert (await call("--timeout", "2", "features")).code == 2


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, stop: signal.Signals, code: int
) -> None:
    """A command that a signal stopped exits with 128 and its number."""

    async def generate(**_options: object) -> None:
        signal.raise_signal(stop)

    monkeypatch.setattr(demo, "generate", generate)
    assert code_of("demo") == code
    with warnings.catch_warnings():  # The signal ends the loop before sockets are closed.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_interrupt_while_it_loads_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the command has started exits with 130 too."""

    def run() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", run)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130


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
    said = capsys.readouterr().err
    assert f" {module}, " in said
    assert said.endswith(": pip install 'testvibe-async[cli]'\n")


@pytest.mark.parametrize("package", ["platformdirs", "tomlkit"])
def test_an_extra_that_is_missed_later_is_named_too(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package that only some commands need is named when one of them does."""

    def find(*_arguments: object, **_options: object) -> None:
        raise ModuleNotFoundError(name=package)

    monkeypatch.setattr("testvibe_async.cli.settings.find_settings", find)
    monkeypatch.setattr(sys, "argv", ["testvibe-async", "settings"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert f"needs {package}, which is not installed" in capsys.readouterr().err


def test_other_missing_module_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing module of the package itself is not blamed on the extra."""
    monkeypatch.setitem(sys.modules, "testvibe_async.cli.app", None)
    with pytest.raises(ModuleNotFoundError, match=r"testvibe_async\.cli\.app"):
        cli.main()


@pytest.mark.usefixtures("signed_in")
async def test_options_of_every_command_may_stand_before_it(call: Call) -> None:
    """As with many programs, the project and the like may be named before the command."""
    ended = await call("--no-color", "-p", "nosuch", "features", "list")
    assert "there is no project 'nosuch'" in ended.errors
    ended = await call("-p", "Acme Shop", "features")
    assert (ended.code, "Checkout" in ended.output) == (0, True)
