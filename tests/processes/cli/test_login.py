"""`login` on a terminal and in a process of its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Terminal, finished
from tests.surfaces.cli.test_login import keys_in

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Service


def test_a_terminal_does_not_show_the_key(service: Service, machine: Path) -> None:
    """What is typed at the prompt for the key is not echoed."""
    with closing(Terminal("login", XDG_CONFIG_HOME=str(machine / "typed"))) as terminal:
        terminal.read_until("Server, such as https://testvibe.example: ")
        terminal.type(service.url)
        terminal.read_until("(it is not shown): ")
        terminal.type(service.api_key)
        terminal.read_until("Use Acme Shop in this folder? [Y/n] ")
        terminal.type("")
        assert terminal.read_to_end() == 0
    assert "Logged in to" in terminal.output
    assert service.project_id in Path(".testvibe-async.toml").read_text(encoding="utf-8")
    assert service.api_key[8:] not in terminal.output
    assert keys_in(machine / "typed" / "testvibe-async" / "config.toml")


@pytest.mark.parametrize("prompt", ["Server", "API key"])
def test_ctrl_c_at_a_prompt(prompt: str) -> None:
    """Ctrl-C at a prompt ends the command at once, with 130 and without a traceback."""
    arguments = () if prompt == "Server" else ("--server", "https://testvibe.example")
    with closing(Terminal("login", *arguments)) as terminal:
        terminal.read_until(prompt)
        terminal.press_ctrl_c()
        assert terminal.read_to_end() == 130
    assert "Traceback" not in terminal.output


def test_in_a_process_of_its_own(service: Service, machine: Path) -> None:
    """Piped into another process, the key is stored, and the next command has it."""
    place = str(machine / "piped")
    (_, errors), code = finished(
        "login", "--server", service.url, stdin=service.api_key, XDG_CONFIG_HOME=place
    )
    assert (code, errors) == (0, "")
    (output, errors), code = finished("projects", XDG_CONFIG_HOME=place)
    assert (code, errors) == (0, "")
    assert output.startswith(service.project_id)
