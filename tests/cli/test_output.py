"""What is said to whom: people at a terminal, people behind a pipe, programs."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime

import pytest
from rich.text import Text

from testvibe_async.cli.output import Output, clean_lines

COLUMNS = ("Id", "Name")
WICKED = "a\tb\x1b[2J\nc\u202e"


def test_people_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A remark goes to standard output, a note to standard error."""
    output = Output()
    output.say("said")
    output.note("noted")
    output.document({"a": 1})
    output.event({"a": 1})
    assert capsys.readouterr() == ("said\n", "noted\n")


def test_programs_are_given_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """With JSON, standard output holds documents, and notes go on to standard error."""
    output = Output(json=True)
    output.say("said")
    output.text("text")
    output.table(COLUMNS, [(1, "a")])
    output.note("noted")
    output.document({"a": [1]})
    assert capsys.readouterr() == ('{\n  "a": [\n    1\n  ]\n}\n', "noted\n")
    output.event({"a": [1]})
    assert capsys.readouterr() == ('{"a": [1]}\n', "")
    assert output.is_json
    assert not output.is_live


def test_quiet_leaves_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Quiet leaves out remarks and notes, and keeps tables and texts."""
    output = Output(quiet=True)
    output.say("said")
    output.note("noted")
    output.table(COLUMNS, [(1, "a")])
    output.text("text")
    assert capsys.readouterr() == ("1\ta\ntext", "")
    assert output.is_quiet
    assert not output.is_live


def test_a_table_in_a_pipe_is_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Each row is one line with a tab between its cells, whatever the cells hold."""
    instant = datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)
    Output().table(COLUMNS, [(1, WICKED), (None, instant)])
    assert capsys.readouterr().out == ("1\ta\\tb\\x1b[2J\\nc\\u202e\n\t2026-06-10 14:32 UTC\n")


@pytest.mark.usefixtures("on_terminal")
def test_a_table_on_a_terminal_has_a_head(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal the columns have names, and markup and escapes in a cell are plain text."""
    Output().table(COLUMNS, [(1, "[red]a[/red]"), (2, WICKED)])
    shown = capsys.readouterr().out
    assert "\x1b[1mName" in shown
    assert "[red]a[/red]" in shown
    assert "\\x1b[2J\\nc\\u202e" in shown
    assert "\x1b[2J" not in shown


@pytest.mark.usefixtures("on_terminal")
def test_colours_can_be_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No colours by option or by NO_COLOR; else as the terminal has them."""

    def shown(output: Output) -> str:
        output.console.print(Text("x", "red"))
        return capsys.readouterr().out

    assert "\x1b[31m" in shown(Output())
    assert shown(Output(color=False)) == "x\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(Output()) == "x\n"


def test_a_text_in_a_pipe_is_byte_by_byte(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What was asked for reaches a file as it is, after what was said before it."""
    output = Output()
    output.say("said")
    output.text("grüße\r\n\x1b\ud800")
    expected = "said\ngrüße\r\n\x1b\ud800".encode(errors="surrogatepass")
    assert capsysbinary.readouterr().out == expected


@pytest.mark.usefixtures("on_terminal")
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_text_on_a_terminal_is_harmless(capsys: pytest.CaptureFixture[str], end: str) -> None:
    """On a terminal it is lines, with nothing in them that takes effect."""
    Output().text(f"a\tb\n\x1b[2Jc{end}")
    assert capsys.readouterr().out == "a\tb\n\\x1b[2Jc\n"


def test_only_a_terminal_that_can_be_drawn_on_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live is for standard output that is a terminal, with neither JSON nor quiet, and not dumb."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert Output().is_live
    assert not Output(json=True).is_live
    assert not Output(quiet=True).is_live
    monkeypatch.setenv("TERM", "dumb")
    assert not Output().is_live
    monkeypatch.undo()
    assert not Output().is_live


def test_json_is_json_where_the_output_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An output that has no letters beyond ASCII gets escapes of JSON, not of Python."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", narrow)
    Output(json=True).document({"name": "grüße 🦊"})
    Output(json=True).event({"name": "grüße 🦊"})
    first, second = narrow.buffer.getvalue().decode().rsplit("}\n{")
    assert json.loads(first + "}") == json.loads("{" + second) == {"name": "grüße 🦊"}


def test_a_closed_pipe_is_for_the_end_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rich would end the process for is left to whoever runs the command."""

    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        Output().console.print("x")
    with pytest.raises(BrokenPipeError):
        Output().say("x")


def test_lines_and_tabs_stay() -> None:
    """Of a text with many lines only what a terminal obeys is escaped."""
    assert clean_lines("a\tb\n\rc\x1b[31mred\x1b[0m\x07") == "a\tb\n\\rcred\\x07"
