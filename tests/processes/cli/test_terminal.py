"""Commands on a terminal of their own: what is drawn, asked, and left at Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.processes.cli.conftest import environment_of
from tests.support.commands import Terminal
from tests.surfaces.cli.conftest import Service
from tests.surfaces.cli.test_login import keys_in

SPEED = "0.01"  # Runs take longer than any test.
COLOURS = re.compile("\x1b\\[[0-9;]*m")


def shown(*arguments: str, rows: int = 24, **variables: str) -> tuple[str, int]:
    """Return all that a command shows on a terminal, and its exit code."""
    with closing(Terminal(*arguments, rows=rows, **variables)) as terminal:
        code = terminal.read_to_end()
    assert "Traceback" not in terminal.output
    return terminal.output, code


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
def test_live_table_of_the_demo(variables: dict[str, Any]) -> None:
    """No frame is higher than the terminal, colours are as wanted, and the results stay."""
    output, code = shown("demo", rows=12, **variables)
    drawn, _, left = output.rpartition("\x1b[?25h")
    assert code == 0
    assert bool(re.search(r"\x1b\[[\d;]*3[0-7]m", output)) is (not variables)
    assert "\x1b[?25l" in drawn
    assert "… and " in drawn
    runs = drawn.rpartition("$ testvibe-async run")[2]
    assert max(frame.count("\n") for frame in runs.split("\r\x1b[2K")) < 12
    assert "16 in " in left


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_run_leaves_the_terminal_in_order(
    stop: signal.Signals, code: int, slow_service: Service
) -> None:
    """Stopped by Ctrl-C or a signal it shows the cursor again and names what is in flight."""
    variables = environment_of(slow_service)
    with closing(Terminal("run", "Checkout", "Returns", "--wait", **variables)) as terminal:
        terminal.read_until("2 in flight")
        if stop is signal.SIGINT:
            terminal.press_ctrl_c()
        else:
            terminal.process.send_signal(stop)
        assert terminal.read_to_end() == code
    left = terminal.output.rpartition("\x1b[?25h")[2]
    assert "\x1b[?25l" not in left
    assert "Stopped. Batch 1: 2 in " in left
    assert len(re.findall(r"^  run \d+  ", left, re.MULTILINE)) == 2
    assert "any machine:\r\n  testvibe-async wait 2" in left
    assert "Elapsed" not in left
    assert "Traceback" not in terminal.output


@pytest.mark.parametrize(
    ("command", "prompt"),
    [
        ("login", "Server"),
        ("login --server https://testvibe.example", "API key"),
        ("features delete Checkout", "[y/N] "),
        ("generate --all", "Each costs credits"),
        ("doctor --run Checkout", "A run is dispatched and watched"),
    ],
)
def test_ctrl_c_at_a_prompt(command: str, prompt: str, service: Service) -> None:
    """Ctrl-C at a question ends the command at once, with 130, and nothing is done.

    Ctrl-D hands over what was typed so far, which is no answer yet.
    """
    variables = environment_of(service) if not command.startswith("login") else {}
    with closing(Terminal(*command.split(), **variables)) as terminal:
        terminal.read_until(prompt)
        if command.startswith("generate"):
            os.write(terminal.controller, b"y\x04")
        terminal.press_ctrl_c()
        assert terminal.read_to_end() == 130
    assert "Traceback" not in terminal.output
    assert "In flight" not in terminal.output
    assert ("stopped by Ctrl-C" in terminal.output) is command.startswith("doctor")


def test_a_terminal_does_not_show_the_key(service: Service, machine: Path) -> None:
    """What is typed at the prompt for the key is not echoed."""
    with closing(Terminal("login", XDG_CONFIG_HOME=str(machine / "typed"))) as terminal:
        terminal.read_until("Server, such as https://testvibe.example: ")
        terminal.type(service.url)
        terminal.read_until("(it is not shown): ")
        terminal.type(service.api_key)
        assert terminal.read_to_end() == 0
    assert "Logged in to" in terminal.output
    assert service.api_key[8:] not in terminal.output
    assert keys_in(machine / "typed" / "testvibe-async" / "config.toml")
