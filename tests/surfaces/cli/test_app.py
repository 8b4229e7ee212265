"""The command line itself: its options, exit codes, signals, log, and what it needs."""

import asyncio
import gc
import importlib
import logging
import signal
import sys
import warnings
from typing import Any

import pytest

import testvibe_async
from tests.conftest import KEY
from tests.surfaces.cli.conftest import Call, Run, later, now, press_ctrl_c
from testvibe_async import Client, NotSentError, cli
from testvibe_async.cli import app
from testvibe_async.testing import Emulator, Fault, Scenario

SCENARIO = Scenario(run_duration=20, failing_runs=0)
ENDING = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGQUIT: 131}
URL: Any = {"method": "GET", "url": "http://s"}


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a module it is the same command, with the same version."""
    monkeypatch.setattr(sys, "argv", ["testvibe-async", "--version"])
    monkeypatch.delitem(sys.modules, "testvibe_async.cli.__main__", raising=False)
    with pytest.raises(SystemExit) as caught:
        importlib.import_module("testvibe_async.cli.__main__")
    assert not caught.value.code
    assert capsys.readouterr().out == f"{testvibe_async.__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (NotSentError("no\x1b[2J", **URL), 5, "s: the service was not reachable: no\\x1b[2J\n"),
        (OSError(28, "No space left on device", "x/y"), 2, "x/y: No space left on device\n"),
        (OSError("odd"), 2, "this machine: odd\n"),
        (RuntimeError("no\nsuch\x1b[2J"), 70, "an error that should not be: RuntimeError: no such"),
        (BrokenPipeError(), 141, None),
        (KeyboardInterrupt(), 130, None),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    error: BaseException, code: int, sentence: str | None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the SDK or the machine, or a defect, is a sentence and an exit code."""

    async def start(_emulator: Emulator) -> None:
        raise error

    monkeypatch.setattr(Emulator, "start", start)
    ended = run("demo")
    if sentence is None:  # The reader is gone, or has pressed Ctrl-C.
        assert (ended.code, ended.errors) == (code, "")
    else:
        ended.refuses(f"testvibe-async: {sentence}", code)
        assert "\x1b" not in ended.errors


def test_signal_ends_a_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a signal stopped exits with 128 and its number."""
    for stop, code in ENDING.items():

        async def start(_emulator: Emulator, stop: signal.Signals = stop) -> None:
            signal.raise_signal(stop)
            await asyncio.sleep(3600)

        monkeypatch.setattr(Emulator, "start", start)
        assert run("demo").code == code
    with warnings.catch_warnings():  # The signal ends the loop before sockets are closed.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def test_signals_are_left_as_they_were(call: Call) -> None:
    """After a command the signals have their previous handlers."""
    before = [signal.getsignal(number) for number in ENDING]
    seen: list[object] = []
    press_ctrl_c(5)
    later(4, lambda: seen.extend(signal.getsignal(number) for number in ENDING))
    assert (await call("run Checkout --wait")).code == 130
    assert not {*seen} & {*before}
    assert [signal.getsignal(number) for number in ENDING] == before


async def test_loop_that_takes_no_signals(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loop can't handle signals, as on Windows, a command works all the same."""

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    assert (await call("run Checkout --wait")).code == 0


async def test_a_defect_shows_where_it_is_if_asked(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With -vv a defect or a refusal comes with its traceback, in which there is no key."""

    async def fail(_client: Client) -> None:
        raise RuntimeError(f"a key: {KEY}")

    monkeypatch.setattr(Client, "list_projects", fail)
    quiet = await call("projects")
    assert quiet.code == 70
    assert quiet.errors.endswith("RuntimeError: a key: tvb_kkkk…; -vv shows where\n")
    loud = await call("projects -vv")
    assert (loud.code, "Traceback" in loud.errors, KEY[8:] in loud.errors) == (70, True, False)
    assert "Traceback" not in (await call("features show nosuch -v")).errors
    loud = await call("features show nosuch -vv")
    assert "Traceback (most recent call last):" in loud.errors
    assert "NotFoundError" in loud.errors


@pytest.mark.parametrize(("flags", "levels"), [("", ""), ("-v", "INFO"), ("-vv", "INFO DEBUG")])
async def test_logs_go_to_standard_error(
    flags: str, levels: str, call: Call, emulator: Emulator
) -> None:
    """Without -v nothing is logged; -v logs each dispatch, -vv each request too."""
    await call("projects -vv")  # the verbosity of an earlier command has no effect
    ended = await call(f"run Checkout {flags}")
    assert ended.code == 0
    assert [each for each in ("INFO", "DEBUG") if f" {each} " in ended.errors] == levels.split()
    assert emulator.api_key[8:] not in ended.errors


@pytest.mark.parametrize(
    ("flags", "end"),
    [
        ("", "testvibe-async: \\x1b[2J tvb_kkkk…\n"),
        ("-v", " WARNING \\x1b[2J tvb_kkkk…\n"),
        ("-vvv", "\\x1b[2J tvb_kkkk…\nRuntimeError: tvb_kkkk…\n"),
    ],
)
async def test_a_warning_is_harmless(
    flags: str, end: str, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning is one line, with -vv and its traceback; no key and no control character."""
    await call("settings -vv")  # the verbosity of an earlier command has no effect
    await call(f"settings {flags}")
    logging.getLogger("asyncio").warning("\x1b[2J %s", KEY, exc_info=RuntimeError(KEY))
    said = capsys.readouterr().err
    assert said.endswith(end)
    assert flags == "-vvv" or said.count("\n") == 1


async def test_pause_that_is_logged_is_a_sentence(call: Call, emulator: Emulator) -> None:
    """A pause says for how long, with the reason in short."""
    emulator.fail("diagnose_run", Fault.status(429))
    assert (await call("runs diagnose 1")).errors.startswith(
        "testvibe-async: the service asks for a pause, so nothing is sent for 1 s: "
        'the service says "The emulator was told to answer 429." (429 rate_limited)\n'
    )


COMMON = ["--json", "-j", "-q", "--no-color", "-vv", "--json=lines", "-p 'Acme Shop'"]


@pytest.mark.parametrize("options", [*COMMON, "-p='Acme Shop' -j"])
async def test_common_options_stand_before_or_after_the_command(options: str, call: Call) -> None:
    """Each option of every command means the same before, within and after it."""
    before, after = await call(f"{options} features list"), await call(f"features {options}")
    assert (await call(f"features {options} list")).output == after.output
    assert before.code == after.code == 0
    assert before.output == after.output
    assert after.output
    assert "'-x'" in (await call(f"{options} run -- -x")).errors


@pytest.mark.parametrize(("typed", "seconds"), [("2", 2), ("10s", 10), ("15.5", 15.5)])
async def test_timeout_may_stand_before_the_command(typed: str, seconds: float, call: Call) -> None:
    """It is the option of the commands that have it; a time may have units."""
    assert (await call(f"--timeout {typed} run Checkout --wait")).code == 4
    assert now() == pytest.approx(seconds, abs=0.5)


def test_interrupt_while_it_loads_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the command has started exits with 130 too."""

    def run() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", run)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130


@pytest.mark.parametrize(
    ("package", "typed", "extra"),
    [
        ("cyclopts", "", "cli"),
        ("rich", "", "cli"),
        ("platformdirs", "logout --server https://s", "cli"),
        ("sqlalchemy", "work nightly --on x.sqlite", "durable"),
    ],
)
def test_missing_extra_names_the_pip_command(
    package: str,
    typed: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A package of the extra that is needed, at once or later, is named in one sentence."""
    modules = ("testvibe_async.cli.", "testvibe_async.adapters.", "rich.", "sqlalchemy.")
    loaded = {name: each for name, each in sys.modules.items() if name.startswith(modules)}
    for name, module in loaded.items():
        parent, _, child = name.rpartition(".")
        # What is imported anew replaces it there as well.
        monkeypatch.setattr(loaded.get(parent) or sys.modules[parent], child, module, raising=False)
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", ["testvibe-async", *typed.split()])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f" {package}, " in said
    assert said.endswith(f": pip install 'testvibe-async[{extra}]'\n")


def test_other_missing_module_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing module of the package itself is not blamed on the extra."""
    monkeypatch.setitem(sys.modules, "testvibe_async.cli.app", None)
    with pytest.raises(ModuleNotFoundError, match=r"testvibe_async\.cli\.app"):
        cli.main()
