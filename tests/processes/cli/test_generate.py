"""`generate` asks on a terminal."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Terminal
from tests.surfaces.cli.conftest import environment_of

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Service


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [("n", 2, "nothing was dispatched"), ("", 2, "nothing")],
)
def test_asks_on_a_terminal_before_it_spends(
    answer: str, code: int, said: str, service: Service
) -> None:
    """On a terminal --all asks, and anything but a yes spends nothing."""
    with closing(Terminal("generate", "--all", **environment_of(service))) as terminal:
        terminal.read_until("Generate 1 feature? Each costs credits")
        os.write(terminal.controller, f"{answer}\n".encode())
        assert terminal.read_to_end() == code
    assert said in terminal.output


@pytest.mark.parametrize("typed", [b"", b"y\x04"])
def test_ctrl_c_at_the_question(typed: bytes, service: Service) -> None:
    """Ctrl-C at the question ends the command at once, and spends nothing.

    Ctrl-D hands over what was typed so far, which is no answer yet.
    """
    with closing(Terminal("generate", "--all", **environment_of(service))) as terminal:
        terminal.read_until("Each costs credits")
        os.write(terminal.controller, typed)
        terminal.press_ctrl_c()
        assert terminal.read_to_end() == 130
    assert "Traceback" not in terminal.output
    assert "In flight" not in terminal.output
