"""The completion of commands and options by the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.surfaces.cli.conftest import returning, text_of, write
from testvibe_async.cli import app

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call, Run
    from testvibe_async.testing import Emulator


PLACE = ".local/share/bash-completion/completions/testvibe-async"


def test_a_script_is_installed(run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script knows each command, and is put where the shell loads it, or where one says."""
    ended = run("--install-completion --shell bash -o mine")
    script = text_of("mine")
    assert (ended.code, ended.errors) == (0, "")
    assert not (machine / ".bashrc").exists()
    assert all(name.removeprefix("--") in script for name in app.NAMES)
    assert all(option in script for option in ("gherkin", "server", "no-color", "stdin"))
    for name in ("ZSH", "ZSH_CUSTOM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("cyclopts.App.generate_completion", returning(script))
    ended = run("--install-completion --shell bash")
    assert ended.output == (
        f"The completion for bash is in {machine / PLACE}. It works in the next shell.\n"
    )
    assert text_of(machine / PLACE) == script
    assert PLACE.rpartition("/")[0] in text_of(machine / ".bashrc")


def test_the_shell_is_seen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --shell it is the shell from which it was called, or must be named."""
    asked: list[str] = []

    def generate(_app: object, **options: str) -> str:
        asked.append(options["shell"])
        return "script"

    def ps(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("cyclopts.App.generate_completion", generate)
    monkeypatch.setenv("ZSH_VERSION", "5")
    ended = run("--install-completion --output -")
    assert (ended.output, asked) == ("script", ["zsh"])
    monkeypatch.setattr("subprocess.run", ps)
    for name in ("ZSH_VERSION", "BASH_VERSION", "FISH_VERSION", "SHELL"):
        monkeypatch.delenv(name, raising=False)
    said = "pass --shell bash, zsh, fish or powershell"
    run("--install-completion").refuses(said)


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
    await call("run Checkout -c Mobile")
    await call("features list")
    await call("runs list")
    assert "Login Functionality" in await offered("run Log")
    assert "Mobile" in await offered("run Checkout --config ''")
    assert "214" in await offered("runs show ''")
    assert "214" in await offered("wait ''")
    path = machine / "cache" / "testvibe-async" / "features.txt"
    write(path, b"\xff")
    assert "Login Functionality" not in await offered("run Log")
    path.unlink()
    path.mkdir()
    assert (await call("features list")).code == 0
    assert "Login Functionality" not in await offered("run Log")
