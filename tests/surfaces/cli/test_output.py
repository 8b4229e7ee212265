"""The output for people at a terminal, for pipes, and for programs; and values as JSON."""

from __future__ import annotations

import io
import json
import re
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.text import Text

from testvibe_async import (
    BatchItem,
    Feature,
    NotFoundError,
    Ref,
    Run,
    RunRef,
    RunStatus,
    RunSummary,
    WaitTimeoutError,
)
from testvibe_async._wire import serialize
from testvibe_async.cli.output import Output, escape_lines, json_of

COLUMNS = ("Id", "Name")
WICKED = "a\tb\x1b[2J\nc\u202e"


def test_remarks_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """A remark goes to standard output, a note to standard error."""
    output = Output()
    output.say("said")
    output.note("noted")
    output.document({"a": 1})
    output.event({"a": 1})
    assert capsys.readouterr() == ("said\n", "noted\n")


def test_programs_are_given_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """With JSON, standard output holds documents, and notes still go to standard error."""
    output = Output(json=True)
    output.say("said")
    output.text("text")
    output.table(COLUMNS, [(1, "a")])
    output.note("noted")
    output.document({"a": [1]})
    assert capsys.readouterr() == ('{\n  "a": [\n    1\n  ]\n}\n', "noted\n")
    output.event({"a": [1]})
    assert capsys.readouterr() == ('{"a": [1]}\n', "")
    lines = Output(lines=True)
    lines.document([{"a": 1}, {"a": 2}])
    lines.document({"a": [1]})
    assert capsys.readouterr() == ('{"a": 1}\n{"a": 2}\n{"a": [1]}\n', "")
    assert output.is_json
    assert lines.is_json
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
def test_a_column_without_cells_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal a column that is empty has no head; in a pipe fields keep their places."""
    Output().table(("Id", "Name", "Status"), [(1, None, "ready"), (2, "", "draft")])
    shown = capsys.readouterr().out
    assert "Status" in shown
    assert "Name" not in shown


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
    """A text reaches a file as it is, after earlier output."""
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
    """A closed pipe raises an error, where rich would exit."""

    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        Output().console.print("x")
    with pytest.raises(BrokenPipeError):
        Output().say("x")


def test_lines_and_tabs_stay() -> None:
    """Line ends and tabs of a text with many lines are kept."""
    assert escape_lines("a\tb\n\rc\x1b[31mred\x1b[0m\x07") == "a\tb\n\\rcred\\x07"


REF = RunRef(server="https://h.example", project="p", run_id=214)


def test_a_ref_can_be_read_back() -> None:
    """`Ref.from_json` reads the JSON of a ref."""
    assert Ref.from_json(json_of(REF)) == REF


def test_other_values_have_names_of_the_same_kind() -> None:
    """Names that the service does not have follow its convention."""
    item: BatchItem[Run] = BatchItem(
        feature="Login", ref=REF, error=WaitTimeoutError(ref=REF, status="running", elapsed=5.0)
    )
    document = serialize(item)
    assert document["feature"] == "Login"
    assert document["outcome"] is None
    assert document["ref"]["runId"] == 214
    assert document["error"]["type"] == "WaitTimeoutError"
    assert document["error"]["ref"] == document["ref"]


def test_a_refusal_has_the_services_code() -> None:
    """An error that the service answered carries its status and its code."""
    error = NotFoundError("gone", status=404, code="not_found", method="GET", url="https://h")
    assert serialize(error) == {
        "type": "NotFoundError",
        "message": str(error),
        "ref": None,
        "status": 404,
        "error": "not_found",
        "said": "gone",
    }


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (RunStatus.PASSED, "passed"),
        (Path("a/b"), str(Path("a/b"))),
        ((1, "x"), [1, "x"]),
        ({3: {"a": ()}}, {"3": {"a": []}}),
        ((each for each in "ab"), ["a", "b"]),
        (datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC), "2026-06-10T14:32:07Z"),
        (
            datetime(2026, 6, 10, 14, 32, 7, 250000, tzinfo=timezone(timedelta(hours=2))),
            "2026-06-10T12:32:07.250000Z",
        ),
    ],
)
def test_plain_values(value: object, document: object) -> None:
    """Plain values, collections, paths and instants have the forms of JSON and of the wire."""
    assert serialize(value) == document
    assert type(serialize(value)) is type(document)


def test_what_has_no_form_is_refused() -> None:
    """A value without a form in JSON is a defect, not a string of some kind."""
    with pytest.raises(TypeError, match="object has no form in JSON"):
        serialize({"a": [object()]})


def test_numbers_that_json_lacks_are_refused() -> None:
    """A number that JSON does not have is refused."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_of(RunSummary(total=1, extra={"x": float("nan")}))


@given(st.text())
@example("\x1b[2J \x9b2J \u202egnp.exe \ud800 grüße")
def test_any_text_is_harmless_and_comes_back(text: str) -> None:
    """The document of any name has no control character, and reads the same again."""
    for ascii_only in (True, False):
        written = json_of(Feature(id=1, name=text), ascii_only=ascii_only)
        assert not re.search(
            r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", written
        )
        assert json.loads(written)["name"] == text


def test_text_of_people_stays_readable() -> None:
    """Letters beyond ASCII are themselves, unless the output can't show them."""
    value: dict[str, Any] = {"name": "grüße ✓"}
    assert json_of(value) == '{"name": "grüße ✓"}'
    assert json_of(value, ascii_only=True) == '{"name": "gr\\u00fc\\u00dfe \\u2713"}'


def test_long_remark_is_wrapped_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words and commands that are to be copied stay whole; a pipe gets all as it is."""
    monkeypatch.setenv("COLUMNS", "20")
    text = "It is a sentence of some words.\n  testvibe-async wait 'a b c d e f'"
    Output().note(text)
    assert capsys.readouterr().err == f"{text}\n"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    Output().note(text)
    assert capsys.readouterr().err == (
        "It is a sentence of\nsome words.\n  testvibe-async wait 'a b c d e f'\n"
    )
