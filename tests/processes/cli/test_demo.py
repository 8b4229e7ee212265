"""`demo` on terminals and in pipes."""

from __future__ import annotations

import io
import re
import signal
import sys
from contextlib import closing

import pytest

from tests.support.commands import Terminal, finished, started
from tests.surfaces.cli.test_app import code_of
from tests.surfaces.cli.test_demo import LINE


def test_demo_in_a_pipe_is_plain_lines() -> None:
    """Into a pipe it writes lines without escape codes, real time included, and exits with 0."""
    (output, errors), code = finished("demo", "--speed", "12")
    assert code == 0
    assert "\x1b" not in output + errors
    lines = [match.groups() for line in output.splitlines() if (match := LINE.fullmatch(line))]
    assert sum(word in {"passed", "failed", "generated"} for _, word, _ in lines) == 17
    assert sum(word == "failed" for _, word, _ in lines) >= 1


def test_demo_whose_reader_went_away_ends_quietly() -> None:
    """A pipe that is closed, as by head, ends the demo without a traceback."""
    with started("demo", "--speed", "4") as process:
        assert process.stdout is not None
        while "run 214" not in process.stdout.readline():
            pass
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        assert process.wait() == 141


def test_demo_on_a_low_terminal_shows_what_fits() -> None:
    """On a terminal of 12 lines no frame is higher, and the results stay at the end."""
    with closing(Terminal("demo", "--speed", "12", rows=12)) as terminal:
        assert terminal.read_to_end() == 0
    drawn, _, left = terminal.output.rpartition("\x1b[?25h")
    assert "\x1b[31m" in drawn
    assert "… and " in drawn
    runs = drawn.rpartition("$ testvibe-async run")[2]
    assert max(frame.count("\n") for frame in runs.split("\r\x1b[2K")) < 12
    assert "16 in " in left


def test_no_color_is_respected() -> None:
    """With NO_COLOR set the live table has no colours."""
    with closing(Terminal("demo", "--speed", "12", NO_COLOR="1")) as terminal:
        assert terminal.read_to_end() == 0
    assert "\x1b[?25l" in terminal.output
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", terminal.output)


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_demo_leaves_the_terminal_in_order(stop: signal.Signals, code: int) -> None:
    """Stopped by Ctrl-C or a signal it shows the cursor again and names what is in flight."""
    with closing(Terminal("demo", "--speed", "4")) as terminal:
        terminal.read_until("run 229")
        if stop is signal.SIGINT:
            terminal.press_ctrl_c()
        else:
            terminal.process.send_signal(stop)
        assert terminal.read_to_end() == code
    left = terminal.output.rpartition("\x1b[?25h")[2]
    assert "\x1b[?25l" not in left
    assert "Still running at the service:" in left
    assert "  run 2" in left
    assert "Elapsed" not in left
    assert "Traceback" not in terminal.output


def test_text_beyond_the_encoding_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters that the terminal's encoding lacks are printed as escapes."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not code_of("demo", "--speed", "400")
    narrow.flush()
    output = narrow.buffer
    assert isinstance(output, io.BytesIO)
    assert b"16 in " in output.getvalue()
    assert b"\\u2026" in output.getvalue()
