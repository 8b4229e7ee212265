"""The help: one screen for what most people need, and examples that work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testvibe_async.cli import app
from testvibe_async.reports import FORMATS, Format
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

MAIN = {"run", "generate", "wait", "resume"}

PROJECT = "7f3c9a4e-1f4b-4c53-9d0e-2b6a7c1d8e90"

ELSEWHERE = {"work", "cancel", "emulator", "mcp", "login", "logout", "demo", "doctor"}
"""Commands that go on until Ctrl-C, or read and write what these tests do not have."""


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    scenario = Scenario(run_queue=1, run_duration=2, failing_runs=1, generation_warm_up=1)
    async with Emulator(scenario=scenario, project_id=PROJECT) as emulator:
        yield emulator


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_on_one_screen(
    words: tuple[str, ...], width: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as wide as the terminal, and of 80 columns it has at most 24 lines."""
    monkeypatch.setenv("COLUMNS", str(width))
    ended = run(*words, "--help")
    assert ended.code == 0
    lines = [line for line in ended.output.splitlines() if not line.startswith("  testvibe")]
    assert max(map(len, lines)) <= width
    assert width < 80 or words[0] not in MAIN or ended.output.count("\n") <= 24


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_whole_help_has_all_options(words: tuple[str, ...], run: Run) -> None:
    """It names each option of the short one, and those of every command that has a service."""
    short, whole = run(*words, "-h").output, run(*words, "--help-all").output
    assert whole.startswith(f"Usage: testvibe-async {' '.join(words)}")
    named = re.findall(r"^  (?:-\w, )?(--[\w-]+)", short, re.MULTILINE)
    assert all(f" {option}" in whole for option in named)
    assert ("--no-color" in whole) is (words[0] not in {"emulator", "demo", "mcp"})
    assert "--no-color" not in short


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_help_names_each_format_of_reports(form: Format, run: Run) -> None:
    """The endings of all formats are in the short help."""
    assert form.suffixes[0] in run("wait", "--help").output


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
    found = examples(words, (await call(*words, "--help-all")).output)
    assert found or words[0] in ELSEWHERE
    for example in dict.fromkeys(found):
        typed = shlex.split(re.split(r" [|<>] ", example)[0])[1:]
        # There is one batch, where the examples have a dozen.
        typed = ["1" if each in {"11", "12"} else each for each in typed]
        if words[0] in ELSEWHERE or "-" in typed[1:]:
            continue
        await call("run", "Checkout", *(["--wait"] if "--failed" in typed else []))
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
    ref = f'{{"testvibe": "run", "version": 2, "server": "{emulator.url}", "project": '
    Path("runs.json").write_text(f'{ref}"{emulator.project_id}", "runId": 214}}', encoding="utf-8")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["cancel", "Checkout"], "testvibe-async generation cancel Checkout"),
        (["auth"], 'Did you mean "login"?'),
        (["watch", "214"], 'Did you mean "wait"?'),
        (["features", "ls"], 'Did you mean "list"?'),
        (["configs", "ls"], "'ls' is more than testvibe-async configs takes"),
        (["config", "set", "server", "x"], 'Did you mean "settings"?'),
        (["logs"], '"runs" or "generation"?'),
        (["test", "Checkout"], 'Did you mean "run"?'),
        (["runs", "logs", "214"], 'Did you mean "diagnose"?'),
        (["features", "add"], 'Did you mean "create"?'),
        (["run", "--feature", "x"], "Did you mean the name without an option: run Checkout?"),
        (["run", "-k", "Log"], "Did you mean a name or a glob without an option: run 'Log*'?"),
        (["run", "--lf"], "Did you mean --failed?"),
        (["run", "x", "--junitxml=out.xml"], "Did you mean --report junit.xml?"),
        (["run", "x", "--maxfail", "1"], "Did you mean --max-failures N?"),
        (["run", "x", "--reruns", "2"], "Did you mean --attempts N, which counts the first one"),
        (["run", "x", "--zzz"], "--zzz; see testvibe-async run --help"),
        (["run", "--waite", "x"], "Did you mean --wait?"),
        (["login", "--token", "x"], "Did you mean testvibe-async login, which asks for the key"),
        (["runs", "show", "last"], 'invalid value for RUN: unable to convert "last"'),
        (["run", "x", "--attempts", "a"], 'invalid value for --attempts: unable to convert "a"'),
        (["wait"], "testvibe-async resume "),
        (["report", "out.xml"], "to write it, testvibe-async report --report out.xml"),
        (["run", "Checkout", "-w", "--junit", "out.xml"], "Did you mean --report junit.xml?"),
        (["report", "214"], "for a run of that id, testvibe-async open 214"),
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
        (["help", "run"], ["run", "--help"]),
        (["features", "--quiet"], ["features", "list", "--quiet"]),
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
    assert guessed[0] == "run" or first.output == second.output
