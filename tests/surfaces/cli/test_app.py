"""The command line itself: its options, exit codes, signals and log; and wrong calls of it."""

import asyncio
import gc
import importlib
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import testvibe_async
from tests.conftest import KEY
from tests.surfaces.cli.conftest import Call, Run, write
from testvibe_async import Client, NotSentError, cli
from testvibe_async.cli import app
from testvibe_async.testing import Emulator, Fault, Scenario

SCENARIO = Scenario(run_duration=20, failing_runs=0)
ENDING = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGQUIT: 131}
URL: Any = {"method": "GET", "url": "http://s"}


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a module it is the same command, with the same version."""
    monkeypatch.setattr(sys, "argv", ["testvibe-async", "--version"])
    monkeypatch.delitem(sys.modules, "testvibe_async.__main__", raising=False)
    with pytest.raises(SystemExit) as caught:
        importlib.import_module("testvibe_async.__main__")
    assert not caught.value.code
    assert capsys.readouterr().out == f"{testvibe_async.__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (NotSentError("no\x1b[2J", **URL), 5, "s: not sent: no\\x1b[2J\n"),
        (OSError(28, "No space left on device", "x/y"), 2, "x/y: No space left on device\n"),
        (OSError("odd"), 2, "this machine: odd\n"),
        (RuntimeError("no\nsuch\x1b[2J"), 70, "internal error: RuntimeError: no such"),
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


async def test_pause_that_is_logged_is_a_sentence(call: Call, emulator: Emulator) -> None:
    """A pause says for how long, with the reason in short."""
    emulator.fail("diagnose_run", Fault.status(429))
    assert (await call("runs diagnose 1")).errors.startswith(
        "testvibe-async: the service asks for a pause, so nothing is sent for 1 s: "
        'the service says "The emulator was told to answer 429." (429 rate_limited)\n'
    )


@pytest.mark.parametrize("options", ["--json", "-j=lines", "-vv", "-p='Acme Shop' -q"])
async def test_common_options_stand_before_or_after_the_command(options: str, call: Call) -> None:
    """Each option of every command means the same before, within and after it."""
    before, after = await call(f"{options} features list"), await call(f"features {options}")
    assert (await call(f"features {options} list")).output == after.output
    assert before.code == after.code == 0
    assert before.output == after.output
    assert after.output
    assert "'-x'" in (await call(f"{options} run -- -x")).errors


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
    modules = ("testvibe_async.cli.", "rich.")
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


GUESSES = {
    "nosuch": 'unknown command "nosuch"; see testvibe-async --help',
    "run x --json=foo": 'invalid value for --json: unable to convert "foo"',
    "runs show last": 'invalid value for RUN: unable to convert "last" into int',
    "--gherkin": 'unknown command "--gherkin"',
}
"""Words that are no command, or no option, and what is usually meant."""

WRONG = {
    "runs show 0": '"0" for RUN',
    "emulator --json": "this command asks no service",
    "emulator --features /no/such": "/no/such is no folder with .feature files in it.",
    "features show": "FEATURE needs a value; see testvibe-async features",
    "features show Login Functionality": "name of several words in quotes",
    "features update 1": "nothing to change: pass --file, --name or both",
    "features create X --file /no/such": "/no/such can't be read: No such",
    "features list -p 'Acme Shp'": "there is no project 'Acme Shp': did you mean 'Acme Shop'?",
    "projects --server http://h.example": "in the clear: use https://, or pass",
    "run --all Login": "--all takes no names but exclusions: leave out --all, or 'Login'",
    "run all !Log*": "there is no feature 'all': to choose all features, give --all",
    "run Login --repeat 5 --attempts 2": "repeated runs take no further attempts",
    "run Login --wait --report -": "a report needs a file",
    "run Login --wait --report a.txt": "let it end in .xml (JUnit), .json (CTRF), .md",
    "run Login --wait --timeout 5x": "'5x' is not a duration such as 90, 20m or 1h30m",
    "run --failed --all": "--failed takes the batch alone",
    "run --failed": "there is no batch of runs of project ",
    "run Checkout --key 12": "A key is not blank",
    "generate": "which features?",
    "wait {nosuch": "quote it for the shell",
    "emulator --fault run_feature": "--fault 'run_feature' is not understood: write OPERATION:",
    "emulator --fault walk:503": "--fault walk:503: No operation is named 'walk'",
    "emulator --limit 100/s": 'invalid value for --limit: unable to convert "100/s"',
}
"""Calls that can't be meant so."""

REFUSED = {
    "files put ../x -f /dev/null": "(400 invalid_request)",
    "generation show Chekout": "; did you mean 'Checkout'?",
    "runs show 999": "(404 not_found)",
    "wait Chekout": "; did you mean 'Checkout'?",
}
"""Calls that the service refuses."""

CODES = [*((each, 2) for each in (GUESSES | WRONG)), *((each, 3) for each in REFUSED)]


@pytest.mark.parametrize(("typed", "code"), CODES, ids=[typed for typed, _ in CODES])
async def test_wrong_call_is_one_sentence(
    typed: str, code: int, emulator: Emulator, call: Call
) -> None:
    """A wrong or refused call is one line on standard error, and starts nothing."""
    write("x", "something else" * 100)
    ended = await call(typed)
    ended.refuses((GUESSES | WRONG | REFUSED)[typed], code)
    assert not emulator.runs
    assert not emulator.generations
    assert Path("x").stat().st_size == 14 * 100  # noqa: ASYNC240


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (Fault.status(400), 3, 'The emulator was told to answer 400." (400 invalid_request)'),
        (Fault.status(401), 3, "put a valid one there, or log in with testvibe-async login"),
        (Fault.status(500), 5, 'told to answer 500." (500 internal_error)'),
        (Fault.garbage(), 5, "the answer could not be read: "),
        (Fault.garbage(), 5, "; testvibe-async doctor shows what differs"),
        (Fault.reset(), 5, "no whole answer came: the connection was lost"),
    ],
)
async def test_the_exit_code_says_who_must_act(
    fault: Fault, code: int, said: str, emulator: Emulator, call: Call
) -> None:
    """3 is a refusal, 5 a service that could not answer; the sentence is the service's."""
    emulator.fail("update_feature", fault)
    (await call("features update Checkout --name x")).refuses(said, code)
