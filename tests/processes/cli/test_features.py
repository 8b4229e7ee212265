"""`features` on a terminal and through pipes."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tests.support.commands import Terminal, finished
from tests.surfaces.cli.conftest import environment_of

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Service


def test_a_question_on_a_terminal(service: Service) -> None:
    """The question waits for its answer, and Enter alone means no."""
    arguments = ("features", "delete", "Checkout")
    with closing(Terminal(*arguments, **environment_of(service))) as terminal:
        terminal.read_until("[y/N] ")
        terminal.type("")
        assert terminal.read_to_end() == 2
    assert "nothing was deleted" in terminal.output


def test_gherkin_through_pipes_of_processes(service: Service) -> None:
    """Gherkin from a pipe comes out of another pipe byte for byte."""
    gherkin = "Feature: Piped\n\n  Scenario: Ünïcode\n    Given a pipe\n"
    variables = environment_of(service)
    arguments = ("features", "create", "Piped", "--file", "-", "--quiet")
    assert finished(*arguments, stdin=gherkin, **variables) == (("", ""), 0)
    assert finished("features", "show", "Piped", "--gherkin", **variables) == ((gherkin, ""), 0)
    # The emulator is shared: others count its features.
    assert finished("features", "delete", "Piped", "--yes", "-q", **variables) == (("", ""), 0)


def test_ctrl_c_at_a_question(service: Service) -> None:
    """Ctrl-C at the question ends the command at once, and deletes nothing."""
    variables = environment_of(service)
    with closing(Terminal("features", "delete", "Checkout", **variables)) as terminal:
        terminal.read_until("[y/N] ")
        terminal.press_ctrl_c()
        assert terminal.read_to_end() == 130
    assert "Traceback" not in terminal.output
    assert finished("features", "show", "Checkout", "-q", "--gherkin", **variables)[1] == 0
