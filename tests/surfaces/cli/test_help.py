"""The help: one screen for what most people need, and examples that work; and completion."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.amounts import some
from tests.surfaces.cli.conftest import Call, Run, write
from testvibe_async.cli import app
from testvibe_async.reports.files import FORMATS
from testvibe_async.testing import Emulator, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


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

ELSEWHERE = {"emulator", "mcp", "worker", "login", "logout", "demo", "doctor"}
"""Commands that go on until Ctrl-C, or read and write what these tests do not have."""


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    scenario = Scenario(run_queue=1, run_duration=2, failing_runs=1, generation_warm_up=1)
    async with Emulator(scenario=scenario, project_id=PROJECT) as emulator:
        yield emulator


def test_help_names_what_people_need(run: Run) -> None:
    """Each command with what it does, the exit codes, the formats of reports, and the price."""
    whole = run("--help").output
    assert all(f" {name} " in whole for name in app.NAMES)
    assert "Run the tests of features" in whole
    assert "Exit codes: 0 passed" in whole
    wait = run("wait --help").output
    assert all(suffix in wait for form in FORMATS for suffix in form.suffixes[:1])
    assert "Each generation takes minutes and costs credits." in run("generate --help").output


def examples(words: tuple[str, ...], text: str) -> list[str]:
    """Return the examples in a help, each on one line."""
    start = f"testvibe-async {' '.join(words)}"
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith(start) and "--help" not in line]


@pytest.mark.parametrize("words", some(COMMANDS, few=4), ids=" ".join)
async def test_examples_work(
    words: tuple[str, ...], signed_in: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of each help can be typed as it stands: it is no wrong call, and no defect."""
    monkeypatch.setenv("COLUMNS", "200")
    prepare(signed_in)
    await call("run Checkout 'Login Functionality' --wait --quiet --key nightly-1")
    found = examples(words, (await call(*words, "--help-all")).output)
    assert found or words[0] in ELSEWHERE
    for example in dict.fromkeys(found):
        typed = shlex.split(re.split(r" [|<>] ", example)[0])[1:]
        # There is one batch, where the examples have a dozen.
        typed = ["1" if each in {"11", "12"} else each for each in typed]
        if words[0] in ELSEWHERE or "-" in typed[1:]:
            continue
        await call("run Checkout", *(["--wait"] if "--failed" in typed else []))
        if words == ("resume",):
            await call("run Wishlist --wait --timeout 1")
        ended = await call(*typed)
        if "pass --yes" in ended.errors:
            ended = await call(*typed, "--yes")
        is_known = "is unknown under key" in ended.errors
        assert is_known or ended.code in {0, 1, 3, 4}, (example, ended.errors)


def prepare(emulator: Emulator) -> None:
    """Put in place what the examples name."""
    for name in ("login.feature", "gift-cards.feature", "mobile.config.js"):
        Path(name).write_text("Feature: x\n\n  Scenario: y\n    Given z\n", encoding="utf-8")
    ref = f'{{"testvibe": "run", "version": 2, "server": "{emulator.url}", "project": '
    Path("runs.json").write_text(f'{ref}"{emulator.project_id}", "runId": 214}}', encoding="utf-8")


def test_the_shell_is_seen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --shell it is the shell from which it was called, or must be named."""

    def script(_app: object, *, shell: str) -> str:
        return f"for {shell}"

    def ps(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("cyclopts.App.generate_completion", script)
    monkeypatch.setenv("ZSH_VERSION", "5")
    assert run("--show-completion").output == "for zsh"
    for name in ("ZSH_VERSION", "BASH_VERSION", "FISH_VERSION", "SHELL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("subprocess.run", ps)
    run("--show-completion").refuses("pass --shell bash, zsh, fish or powershell")


async def test_names_that_were_listed_are_completed(
    signed_in: Emulator, call: Call, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tab offers what the service listed last; a cache that can't be read or written is none."""

    async def offered(typed: str) -> list[str]:
        ended = await call(f"__complete {typed}")
        assert ended.code == 0
        return [line.partition("\t")[0] for line in ended.lines]

    assert signed_in
    monkeypatch.setenv("TESTVIBE_PROJECT", "Acme Shop")
    await call("run Checkout")
    await call("features list")
    await call("runs list")
    assert "Login Functionality" in await offered("run Log")
    assert "214" in await offered("runs show ''")
    assert "214" in await offered("wait ''")
    path = machine / "cache" / "testvibe-async" / "features.txt"
    write(path, b"\xff")
    assert "Login Functionality" not in await offered("run Log")
    path.unlink()
    path.mkdir()
    assert (await call("features list")).code == 0
    assert "Login Functionality" not in await offered("run Log")
