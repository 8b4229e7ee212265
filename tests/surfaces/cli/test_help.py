"""The help: one screen for what most people need, and examples that work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testvibe_async.cli import app
from testvibe_async.cli.help import SCREENS, screen
from testvibe_async.testing import Emulator, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.surfaces.cli.conftest import Call, Run


def _commands() -> list[tuple[str, ...]]:
    """Return the words of each command."""
    found: list[tuple[str, ...]] = []
    for name in app.NAMES:
        inner = [each for each in app.app[name] if not each.startswith("-")]
        if not name.startswith("-"):
            found += [(name, each) for each in inner] or [(name,)]
    return found


COMMANDS = _commands()

PROJECT = "7f3c9a4e-1f4b-4c53-9d0e-2b6a7c1d8e90"

ELSEWHERE = {"batch", "emulator", "mcp", "login", "logout", "demo", "doctor"}
"""Commands that go on until Ctrl-C, or read and write what these tests do not have."""


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    scenario = Scenario(run_queue=1, run_duration=2, failing_runs=1, generation_warm_up=1)
    async with Emulator(scenario=scenario, project_id=PROJECT) as emulator:
        yield emulator


@pytest.mark.parametrize("command", sorted(SCREENS))
def test_help_fits_on_one_screen(command: str, run: Run) -> None:
    """It has at most 24 lines of 80 columns, also with other words before --help."""
    ended = run(command, "--wait", "--help")
    lines = ended.output.splitlines()
    assert (ended.code, ended.output) == (0, screen(command))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert run(command, "-h").output == screen(command)


@pytest.mark.parametrize("command", sorted(SCREENS))
def test_help_names_options_that_there_are(command: str, run: Run) -> None:
    """Each option of the screen is one of the command's, and under --help-all are all of them."""
    whole = run(command, "--help-all").output
    named = re.findall(r"^ +(?:(-\w), )?(--[\w-]+)", screen(command), re.MULTILINE)
    assert named
    for short, long in named:
        assert f" {long}" in whole
        assert not short or f" {short} " in whole
    assert "Options of every command" in whole


def examples(words: tuple[str, ...], text: str) -> list[str]:
    """Return the examples in a help, each on one line."""
    start = f"testvibe-async {' '.join(words)}"
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith(start) and "--help" not in line]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
async def test_examples_work(
    words: tuple[str, ...], signed_in: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of each help can be typed as it stands: it is no wrong call, and no defect."""
    monkeypatch.setenv("COLUMNS", "200")
    prepare(signed_in)
    await call("run", "Checkout", "Login Functionality", "--wait", "--quiet")
    shown = (await call(*words, "--help")).output
    found = examples(words, shown) + examples(
        words, (screen(words[0]) if words[0] in SCREENS else "")
    )
    assert found or words[0] in ELSEWHERE
    for example in dict.fromkeys(found):
        typed = shlex.split(re.split(r" [|<>] ", example)[0])[1:]
        # There is one batch, where the examples have a dozen.
        typed = ["1" if each in {"11", "12"} else each for each in typed]
        if words[0] in ELSEWHERE or "-" in typed[1:]:
            continue
        await call("run", "Checkout")
        if words == ("resume",):
            for more in ((), ("--journal", "nightly.journal")):
                await call("run", "Wishlist", "--wait", "--timeout", "1", *more)
        ended = await call(*typed)
        if "pass --yes" in ended.errors:
            ended = await call(*typed, "--yes")
        is_known = "is unknown in the journal" in ended.errors
        assert is_known or ended.code in {0, 1, 3, 4}, (example, ended.errors)


def prepare(emulator: Emulator) -> None:
    """Put in place what the examples name."""
    for name in ("login.feature", "gift-cards.feature", "mobile.config.js"):
        Path(name).write_text("Feature: x\n\n  Scenario: y\n    Given z\n", encoding="utf-8")
    ref = f'{{"testvibe": "run", "version": 1, "server": "{emulator.url}", "project": '
    Path("runs.json").write_text(f'{ref}"{emulator.project_id}", "run_id": 214}}', encoding="utf-8")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["cancel", "Checkout"], "did you mean generation cancel FEATURE? A run can't be"),
        (["auth"], "unknown command 'auth': did you mean login?"),
        (["config", "set", "server", "x"], "did you mean settings?"),
        (["continue"], "did you mean resume?"),
        (["flaky"], "did you mean history?"),
        (["test", "Checkout"], "did you mean run FEATURE --wait?"),
        (["runs", "logs", "214"], "unknown command 'logs': did you mean diagnose?"),
        (["runs", "rerun", "214"], "did you mean testvibe-async run --failed?"),
        (["features", "generate", "x"], "did you mean testvibe-async generate FEATURE?"),
        (["run", "--feature", "x"], "did you mean the name without an option: run Checkout?"),
        (["run", "-k", "Log"], "did you mean a name or a glob without an option: run 'Log*'?"),
        (["run", "--lf"], "unknown option --lf: did you mean --failed?"),
        (["run", "x", "--junitxml=out.xml"], "did you mean --report junit.xml?"),
        (["run", "x", "--maxfail", "1"], "did you mean --stop-on-failure?"),
        (["run", "x", "--reruns", "2"], "did you mean --attempts N, which counts the first one"),
        (["run", "x", "--zzz"], "unknown option --zzz; see testvibe-async run --help"),
        (["run", "--waite", "x"], "unknown option --waite: did you mean --wait?"),
        (["login", "--token", "x"], "did you mean testvibe-async login, which asks for the key"),
        (
            ["runs", "show", "last"],
            "RUN is a whole number, and 'last' is none; testvibe-async runs",
        ),
        (["run", "x", "--attempts", "a"], "--attempts is a whole number, and 'a' is none"),
        (["runs", "download", "214"], "testvibe-async runs download needs DIRECTORY"),
        (["wait"], "testvibe-async resume goes on with the last batch"),
        (["report", "out.xml"], "to write it, testvibe-async report --report out.xml"),
        (["rerun"], "did you mean run --failed?"),
        (["run", "Checkout", "-w", "--junit", "out.xml"], "did you mean --report junit.xml?"),
        (["report", "214"], "for a run of that id, testvibe-async open 214"),
        (["runs", "list", "--junit"], "did you mean"),
    ],
)
async def test_first_guess_that_is_wrong_is_answered(
    typed: list[str], said: str, signed_in: Emulator, call: Call
) -> None:
    """A word that is no command, or no option, is answered with what is usually meant."""
    assert signed_in
    ended = await call(*typed)
    assert ended.code == 2
    assert said in ended.errors


@pytest.mark.parametrize(
    ("guessed", "meant"),
    [
        (["features"], ["features", "list"]),
        (["runs"], ["runs", "list"]),
        (["files"], ["files", "list"]),
        (["features", "ls"], ["features", "list"]),
        (["runs", "214"], ["runs", "show", "214"]),
        (["run", "view", "214"], ["runs", "show", "214"]),
        (["run", "watch", "214", "--quiet"], ["wait", "214", "--quiet"]),
        (["watch", "214", "--quiet"], ["wait", "214", "--quiet"]),
        (["auth", "login", "--help"], ["login", "--help"]),
        (["version"], ["--version"]),
        (["configs", "list"], ["configs"]),
        (["projects", "list"], ["projects"]),
        (["help", "run"], ["run", "--help"]),
        (["help", "features", "show"], ["features", "show", "--help"]),
        (["run", "Checkout", "--watch", "--quiet"], ["run", "Checkout", "--wait", "--quiet"]),
    ],
)
async def test_first_guess_that_is_right(
    guessed: list[str], meant: list[str], signed_in: Emulator, call: Call
) -> None:
    """The shorter ways that people guess first do what they mean."""
    assert signed_in
    await call("run", "Login Functionality", "--wait", "--quiet")
    first, second = await call(*guessed), await call(*meant)
    assert first.code == second.code
    assert "unknown" not in first.errors
    if "run" not in guessed[:1]:
        assert first.output == second.output
