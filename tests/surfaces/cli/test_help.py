"""The help: what each command does, and examples that work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.amounts import some
from tests.surfaces.cli.conftest import Call, Run
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


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("words", some(COMMANDS, few=4), ids=" ".join)
async def test_examples_work(
    words: tuple[str, ...], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of each help can be typed as it stands: it is no wrong call, and no defect."""
    monkeypatch.setenv("COLUMNS", "200")
    prepare()
    await call("run Checkout 'Login Functionality' --wait --quiet --key nightly-1")
    found = examples(words, (await call(*words, "--help")).output)
    assert found or words[0] in ELSEWHERE
    for example in dict.fromkeys(found):
        typed = shlex.split(re.split(r" [|<>] ", example)[0])[1:]
        # There is one batch, where the examples have a dozen.
        typed = ["1" if each in {"11", "12"} else each for each in typed]
        if words[0] in ELSEWHERE or "-" in typed[1:] or "<" in example:
            continue
        await call("run Checkout", *(["--wait"] if "--failed" in typed else []))
        if words == ("resume",):
            await call("run Wishlist --wait --timeout 1")
        ended = await call(*typed)
        if "pass --yes" in ended.errors:
            ended = await call(*typed, "--yes")
        is_known = "is unknown under key" in ended.errors
        assert is_known or ended.code in {0, 1, 3, 4}, (example, ended.errors)


def prepare() -> None:
    """Put in place what the examples name."""
    for name in ("login.feature", "gift-cards.feature", "mobile.config.js"):
        Path(name).write_text("Feature: x\n\n  Scenario: y\n    Given z\n", encoding="utf-8")
