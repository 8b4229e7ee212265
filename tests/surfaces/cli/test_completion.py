"""The completion of commands and options by the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cyclopts.completion.detect import ShellDetectionError

from testvibe_async.cli import app, completion

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call, Run
    from testvibe_async.testing import Emulator


SCRIPTS: dict[str, str] = {}
"""By shell; to make one takes a while."""


def script_for(shell: str, run: Run) -> str:
    if shell not in SCRIPTS:
        ended = run("--install-completion", "--shell", shell, "--output", "-")
        assert (ended.code, ended.errors) == (0, "")
        SCRIPTS[shell] = ended.output
    return SCRIPTS[shell]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_script_knows_every_command(shell: str, run: Run) -> None:
    """For each shell there is a script, with every command and the options of each."""
    script = script_for(shell, run)
    for name in app.NAMES:
        assert name.removeprefix("--") in script
    for option in ("gherkin", "server", "no-color", "stdin"):
        assert option in script


PLACES = {
    "bash": ".local/share/bash-completion/completions/testvibe-async",
    "zsh": ".zsh/completions/_cyclopts_testvibe-async",
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_script_is_installed(
    shell: str, run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script is put where the shell searches for it, and the shell loads it at its start."""
    place = PLACES[shell]
    for name in ("ZSH", "ZSH_CUSTOM"):
        monkeypatch.delenv(name, raising=False)
    ended = run("--install-completion", "--shell", shell)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output == (
        f"The completion for {shell} is in {machine / place}. It works in the next shell.\n"
    )
    assert (machine / place).read_text() == script_for(shell, run)
    assert place.rpartition("/")[0] in (machine / f".{shell}rc").read_text()


def test_a_script_is_written_to_a_place_of_ones_own(run: Run, machine: Path) -> None:
    """With --output no other file is written."""
    place = machine / "completion.bash"
    assert run("--install-completion", "--shell", "bash", "-o", str(place)).code == 0
    assert place.read_text() == script_for("bash", run)
    assert not (machine / ".bashrc").exists()


def test_the_shell_is_seen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --shell it is the shell from which it was called."""
    monkeypatch.setattr(completion, "detect_shell", lambda: "zsh")
    ended = run("--install-completion", "--output", "-")
    assert ended.output == script_for("zsh", run)


def test_a_shell_that_cant_be_seen_must_be_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the shell can't be detected, the error names those that there are."""

    def fail() -> str:
        raise ShellDetectionError

    monkeypatch.setattr(completion, "detect_shell", fail)
    ended = run("--install-completion")
    assert (ended.code, ended.output) == (2, "")
    assert "pass --shell bash, zsh, fish or powershell" in ended.errors


async def test_names_that_were_listed_are_completed(
    signed_in: Emulator,
    call: Call,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tab offers features, configurations and runs as the service listed them last."""
    monkeypatch.setenv("TESTVIBE_PROJECT", "Acme Shop")
    await call("run", "Checkout", "-c", "Mobile")
    await call("features", "list")
    await call("runs", "list")

    async def offered(*words: str) -> list[str]:
        ended = await call("__complete", *words)
        assert ended.code == 0
        return [line.partition("\t")[0] for line in ended.output.splitlines()]

    assert "Login Functionality" in await offered("run", "Log")
    assert "Mobile" in await offered("run", "Checkout", "--config", "")
    (run,) = signed_in.runs
    assert str(run) in await offered("runs", "show", "")
    assert str(run) in await offered("wait", "")
    assert "nothing" not in capsys.readouterr().out


async def test_a_damaged_cache_offers_nothing(
    call: Call, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that can't be read, or not be written, is none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine))
    path = machine / "testvibe-async" / "features.txt"
    completion.keep(features=["A", "B"])
    assert completion.names("features") == ["A", "B"]
    path.write_bytes(b"\xff")
    assert completion.names("features") == []
    path.unlink()
    path.mkdir()
    completion.keep(features=["A"])
    assert (await call("__complete", "run", "")).code == 0
