"""Commands on a terminal of their own: what is drawn, asked, and left at Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes.cli.conftest import environment_of
from tests.support.commands import Terminal
from tests.surfaces.cli.conftest import Service
from tests.surfaces.cli.test_login import keys_in

SPEED = "0.01"  # Runs take longer than any test.


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
def test_live_table(variables: dict[str, str], service: Service) -> None:
    """No frame is higher than the terminal, colours are as wanted, and the results stay."""
    environment = {**environment_of(service), **variables}
    with closing(Terminal("run", "--all", "--wait", rows=12, **environment)) as terminal:
        assert terminal.read_to_end() in {0, 1}
    drawn, _, left = terminal.output.rpartition("\x1b[?25h")
    drawn = drawn.partition("\x1b[?25l")[2]
    assert bool(re.search(r"\x1b\[[\d;]*3[0-7]m", drawn)) is (not variables)
    assert "… and " in drawn
    assert max(frame.count("\n") for frame in drawn.split("\r\x1b[2K")) < 12
    assert "Batch 1: 15 in " in left
    assert "Traceback" not in terminal.output


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_run_leaves_the_terminal_in_order(
    stop: signal.Signals, code: int, slow_service: Service
) -> None:
    """Stopped by Ctrl-C or a signal it shows the cursor again and names what is in flight."""
    variables = environment_of(slow_service)
    with closing(Terminal("run", "Checkout", "Returns", "--wait", **variables)) as terminal:
        terminal.read_until("2 (in flight|queued)")  # Queued from the first poll on.
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
        terminal.read_until(re.escape(prompt))
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
        terminal.read_until(r"\(it is not shown\): ")
        terminal.type(service.api_key)
        assert terminal.read_to_end() == 0
    assert "Logged in to" in terminal.output
    assert service.api_key[8:] not in terminal.output
    assert keys_in(machine / "typed" / "testvibe-async" / "config.toml")
