"""`doctor` on a terminal, and stopped."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tests.support.commands import Terminal
from tests.surfaces.cli.conftest import environment_of
from tests.surfaces.cli.test_doctor import COLOURS

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Service


def test_ctrl_c_in_a_process_of_its_own(service: Service) -> None:
    """On a terminal Ctrl-C while a run is watched is exit code 130, with the result."""
    arguments = ("doctor", "--run", "Checkout")
    with closing(Terminal(*arguments, **environment_of(service))) as terminal:
        terminal.read_until("A run is dispatched and watched")
        terminal.press_ctrl_c()
        assert terminal.read_to_end() == 130
    assert "stopped by Ctrl-C" in terminal.output
    assert "Traceback" not in terminal.output


def test_on_a_terminal(service: Service) -> None:
    """On a terminal no line is longer than it is wide."""
    with closing(Terminal("doctor", **environment_of(service))) as terminal:
        assert terminal.read_to_end() == 0
    assert "holds" in terminal.output
    lines = COLOURS.sub("", terminal.output).replace("\r", "").split("\n")
    assert max(map(len, lines)) <= 80
