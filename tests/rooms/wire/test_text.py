"""Large documents: read part by part, to the same values, and within bounds."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rooms.wire.documents import encode, json_values, problems
from testvibe_async import Feature, Listing, ProjectFile, Run
from testvibe_async._wire import text
from testvibe_async._wire.convert import read
from testvibe_async._wire.json import Rows, UnreadableError, envelope_in, parse, read_rows
from testvibe_async._wire.text import AT_ONCE, Text

MEBIBYTE = 2**20


def value_of(body: bytes, *, at_once: int, piece: int) -> object:
    """Return a document's value, where so few characters are parsed and decoded at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "AT_ONCE", at_once)
        patch.setattr(text, "PIECE_BYTES", piece)
        whole = Text(body)
        value = whole.value()
        whole.require_end()
        return value


@given(
    document=json_values,
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
    at_once=st.integers(8, 40),
    piece=st.integers(1, 9),
)
def test_a_value_is_the_same_in_whatever_parts_it_is_parsed(
    document: Any, indent: int | None, *, is_ascii: bool, at_once: int, piece: int
) -> None:
    """Objects, lists, strings and escapes may be taken apart anywhere."""
    body = json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode()
    try:
        assert value_of(body, at_once=at_once, piece=piece) == document
    except (ValueError, RecursionError):
        # A number that is longer than what is parsed at once, or too many values in each other.
        assert len(body) > at_once


@given(words=st.lists(st.text(), max_size=30), piece=st.integers(1, 9))
def test_a_long_string_is_the_same_in_whatever_parts_it_is_parsed(
    words: list[str], piece: int
) -> None:
    """Half a character, of two escapes, is put together with the other half."""
    string = "\U0001f600".join(words)
    for is_ascii in (True, False):
        body = json.dumps(string, ensure_ascii=is_ascii).encode()
        assert value_of(body, at_once=12, piece=piece) == string


@pytest.mark.parametrize("piece", range(1, 15))
@pytest.mark.parametrize(
    "escaped",
    [
        r"\ud83d\ude00",
        r"\ud83d",
        r"\ude00",
        r"\ud83d\ud83d\ude00",
        r"\\ud83d\\",
        r"\"\\\"",
        r"\ud83dx",
    ],
)
def test_escapes_mean_the_same_wherever_they_are_cut(escaped: str, piece: int) -> None:
    """Pairs of surrogates, lone ones, and what only looks like one."""
    body = f'"{escaped * 5}{"x" * 20}{escaped}"'.encode()
    assert value_of(body, at_once=8, piece=piece) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b"x" * 50,
        b'"' + b"x" * 50 + b"\\",
        b'"' + b"x" * 50 + b'\\u12G4xxxxxx"',
        b'"' + b"x" * 50 + b'\x01"',
        b"[" + b"1," * 50,
        b"[" + b"1," * 50 + b"]",
        b"[" + b"1," * 50 + b"1}",
        b"[" + b'{"a":1},' * 50 + b'{"a"}]',
        b'{"a": "' + b"x" * 50 + b'" "b": 1}',
        b"{1: " + b'"' + b"x" * 50 + b'"}',
        b'{"a" "' + b"x" * 50 + b'"}',
        b'{"a": [' + b"1," * 50 + b"1]",
        b"[" + b"1," * 50 + b"1] x",
        b"tru" + b" " * 50,
    ],
)
@pytest.mark.parametrize("piece", [1, 5, 64])
def test_a_long_value_that_is_no_json_is_a_fault(body: bytes, piece: int) -> None:
    """What breaks off or is wrong somewhere in a long value is refused as in a short one."""
    with pytest.raises(ValueError, match=r"."):
        json.loads(body)
    with pytest.raises(ValueError, match=r"."):
        value_of(body, at_once=16, piece=piece)


@pytest.mark.parametrize("name", ["{}", "[]"])
def test_a_long_empty_value_is_read(name: str) -> None:
    """Space may be what makes a value long."""
    body = f"{name[0]}{' ' * 100}{name[1]}".encode()
    assert value_of(body, at_once=16, piece=8) == json.loads(name)


def test_values_that_are_long_in_each_other_are_bounded() -> None:
    """Each is tried as a whole first, so that no more than so many may be."""
    body = b"[" * 40 + b'"' + b"x" * 100 + b'"' + b"]" * 40
    with pytest.raises(RecursionError):
        value_of(body, at_once=64, piece=8)


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many characters were parsed each time, from then on."""
    lengths: list[int] = []

    class Spy(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            lengths.append(len(s) - idx)
            return super().raw_decode(s, idx)

    monkeypatch.setattr(text, "decoder", Spy())
    return lengths


def rows_of(size: int) -> bytes:
    """Return a list of so many bytes, of runs."""
    row = b'{"runId": 214, "status": "passed", "featureName": "Login", "config": "Default"},'
    return b"[" + row * (size // len(row)) + row[:-1] + b"]"


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (rows_of(MEBIBYTE), Listing[Run]),
        (b'{"items": ' + rows_of(MEBIBYTE) + b"}", Listing[Run]),
        (encode({"path": "a", "content": "x\n" * MEBIBYTE}), ProjectFile),
        (encode({"id": 1, "gherkin": "Feature: \u201c" * 99_999}), Feature),
    ],
    ids=["list", "enveloped list", "file", "feature"],
)
def test_little_is_parsed_at_once(body: bytes, shape: Any, spied: list[int]) -> None:
    """No step holds the interpreter's lock for longer than 256 KiB and a piece take."""
    assert read(body, shape)
    assert max(spied) <= 2 * AT_ONCE


@pytest.mark.parametrize("around", [b"%s", b'{"total": 1, "rows": %s, "page": {}}'])
def test_a_long_list_takes_no_more_memory_than_its_models(around: bytes) -> None:
    """The rows are made into models one by one, and thrown away."""
    body = around % rows_of(MEBIBYTE)
    tracemalloc.start()
    listing = read(body, Listing[Run])
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listing) > 10_000
    assert peak < current + MEBIBYTE
    assert peak < 4 * len(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"path": "a", "kind": [' + b"{}," * 140_000 + b"{}]}",
        b'{"path": "a", "kind": {' + b'"a":0,' * 70_000 + b'"b": 0}}',
        b'{"path": "a", "kind": [' + b"[[],[[],[]]]," * 40_000 + b"0]}",
    ],
    ids=["objects", "members", "lists"],
)
def test_too_many_values_are_refused(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would take a hundred times what they are on the wire."""
    monkeypatch.setattr(text, "MAX_VALUES", 100_000)
    tracemalloc.start()
    assert problems(body, ProjectFile) == (
        "it holds more than 100,000 values, and not so many are read at once",
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * MEBIBYTE


def test_signs_in_strings_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file may be of any text."""
    monkeypatch.setattr(text, "MAX_VALUES", 100_000)
    content = '{"a": [1, 2], \\ "b"}:\n' * 100_000
    assert read(encode({"path": "a", "content": content}), ProjectFile).content == content
    lines = [content[:2000]] * 1000
    assert parse(encode({"lines": lines})) == {"lines": lines}


def test_too_many_values_in_a_row_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is of each row, and starts anew with the next."""
    monkeypatch.setattr(text, "MAX_VALUES", 100_000)
    large = b'{"runId": 1, "status": "x", "new": [' + b"0.000001," * 40_000 + b"0]},"
    rows = read(b"[" + large * 3 + large[:-1] + b"]", Listing[Run])
    assert [row.run_id for row in rows] == [1, 1, 1, 1]
    larger = b'{"runId": 1, "status": "x", "new": [' + b"0.000001," * 100_000 + b"0]}"
    (problem,) = problems(b"[" + larger + b"]", Listing[Run])
    assert "more than 100,000 values" in problem


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a small row is larger than the row."""
    monkeypatch.setattr("testvibe_async._wire.json.MAX_ROWS", 5000)
    row = b'{"runId": 1, "status": "' + b"x" * 50 + b'"},'
    body = b"[" + row * 4999 + row[:-1] + b"]"
    assert len(body) > AT_ONCE
    assert len(read(body, Listing[Run])) == 5000
    assert problems(body[:-1] + b"," + row[:-1] + b"]", Listing[Run]) == (
        "it has more than 5,000 rows, and not so many are read",
    )


SPACE = b" " * AT_ONCE


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"a": [], "b": []}', "an object with two: 'a', 'b'"),
        (b'{"a": 1}', "{'a': 1}"),
        (b"{}", "{}"),
        (b"7", "7"),
        (b'"x"', "'x'"),
    ],
)
def test_what_holds_no_one_list_is_a_fault_where_it_is_large_too(body: bytes, found: str) -> None:
    """The same is said as of a small answer."""
    assert problems(SPACE + body, Listing[Run]) == (f"expected a list, got {found} at $",)


@pytest.mark.parametrize("end", [b"", b" x", b",", b"}"])
def test_a_large_list_that_does_not_end_well_is_a_fault(end: bytes) -> None:
    """A list is taken for whole only if it is."""
    body = rows_of(AT_ONCE)
    with pytest.raises(UnreadableError, match="expected JSON"):
        read((body if end else body[:-1]) + end, Listing[Run])


def test_a_long_row_is_not_read_in_turns() -> None:
    """Who goes through rows on the event loop is not held up by one of them."""
    rows = read_rows(b'[{"runId": 1}, {"runId": 2, "log": "' + b"x" * 2 * AT_ONCE + b'"}]')
    assert next(rows) == {"runId": 1}
    with pytest.raises(UnreadableError, match="a row is longer than 256 KiB"):
        next(rows)


@pytest.mark.parametrize("around", [b'{"next": "x", "rows": %s, "total": 3}', b"  %s"])
def test_what_stands_around_rows_is_found(around: bytes) -> None:
    """Before them and behind them."""
    body = around % rows_of(AT_ONCE)
    expected = {"next": "x", "total": 3} if around.startswith(b"{") else {}
    rows = Rows(body)
    assert len(list(rows)) > 3000
    assert rows.envelope == envelope_in(body) == expected
    assert read(body, Listing[Run]).extra == expected


@pytest.mark.parametrize("size", [60_000, 70_000])
@pytest.mark.parametrize("rows", [b"[]", rows_of(AT_ONCE)])
def test_a_list_with_much_around_it_is_no_list(size: int, rows: bytes) -> None:
    """Where its next page is could be in what is not kept."""
    body = b'{"a": "' + b"x" * size + b'", "next": 2, "rows": ' + rows + b"}"
    if size < 65_536:
        assert read(body, Listing[Run]).extra["next"] == 2
        return
    assert problems(body, Listing[Run]) == (
        "expected a list, got an object with more than 64 KiB beside it at $",
    )
