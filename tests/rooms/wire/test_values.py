"""What is JSON and what is not, and lists and large documents that are read part by part."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.rooms.wire.documents import encode, json_values, left_out, problems
from testvibe_async import Listing, Run, RunStatus
from testvibe_async._core.wire import values as wire_values
from testvibe_async._core.wire.convert import read
from testvibe_async._core.wire.values import AT_ONCE, Rows, UnreadableError, parse


@pytest.mark.parametrize(
    "document",
    [
        [{"runId": 1, "status": "passed"}],
        {"runs": [{"runId": 1, "status": "passed"}]},
        {"items": [{"runId": 1, "status": "passed"}], "total": 1, "next": None, "page": {}},
    ],
)
def test_a_list_comes_bare_or_in_an_envelope(document: object) -> None:
    """A list answer is read bare, and as the one list of an object around it."""
    listing = read(encode(document), Listing[Run])
    assert listing == [Run(1, RunStatus.PASSED)]


SPACE = b" " * AT_ONCE


@pytest.mark.parametrize("space", [b"", SPACE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"a": 1}', "{'a': 1}"),
        (b'{"items": null}', "{'items': None}"),
        (b"{}", "{}"),
        (b"null", "None"),
        (b"7", "7"),
        (b"true", "True"),
        (b'"x"', "'x'"),
    ],
)
def test_what_holds_no_one_list_is_a_fault(space: bytes, body: bytes, found: str) -> None:
    """An answer in which no single list can be found is named as what it is."""
    assert problems(space + body, Listing[Run]) == (f"expected a list, got {found} at $",)


@pytest.mark.parametrize("space", [b"", SPACE], ids=["small", "large"])
def test_of_two_lists_none_is_taken(space: bytes) -> None:
    """Which of them is meant is not guessed."""
    (problem,) = problems(space + b'{"a": [], "b": []}', Listing[Run])
    assert problem.startswith("expected a list, got ")


PARTS = st.sampled_from([b"{}", b'{"a":[{},{}]}', b'"},{"', b",", b",", b" "])


@given(
    body=st.binary(max_size=30)
    | st.text('[]{},:1 "ae\\', max_size=12).map(str.encode)
    | st.lists(PARTS).map(lambda parts: b"[%s]" % b"".join(parts)),
    piece=st.sampled_from([1, 2, 2**14]),
)
@example(body=b"[{},]", piece=1)
@example(body=b'[{"a":"},{"},{"a":[{},{}]}]', piece=1)
def test_any_bytes_are_rows_or_are_unreadable(body: bytes, piece: int) -> None:
    """Reading some rows at a time ends, with all rows of what is JSON, or with a fault."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire_values, "PIECE_BYTES", piece)
        try:
            rows = list(Rows(body, in_turns=True))
        except UnreadableError:
            rows = None
    with suppress(UnreadableError):
        whole = parse(body)
        assert not isinstance(whole, list) or whole == rows
        return
    assert rows is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html><h1>502 Bad Gateway</h1>",
        b'{"runId": 1, "status": "x"',
        b'{"runId": 1, "status": "x"} x',
        b'{"runId": NaN, "status": "x"}',
        b'{"runId": 1, "status": "x", "other": Infinity}',
        b'{"runId": 1, "status": "x", "other": -1e400}',
        b'{"runId": 1, "status": "x", "other": [-Infinity]}',
        b'{"runId": 1, "status": "\xff\xfe"}',
        b'{"runId": ' + b"9" * 5000 + b', "status": "x"}',
        b"{'runId': 1}",
        b"\x00",
        b"\xff",
    ],
)
def test_what_is_not_json_is_shown_with_its_beginning(body: bytes) -> None:
    """HTML, cut JSON, NaN, numbers beyond reason and invalid UTF-8 are not JSON, and are shown."""
    (problem,) = problems(body, Run)
    assert problem.startswith("expected JSON, got ")
    assert problem.isprintable()
    assert len(problem) < 300


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "expected JSON, got an empty body"),
        (b"  \r\n ", "expected JSON, got an empty body"),
        pytest.param(b"[" * 1_000_000, "the JSON is nested too deep", id="deep"),
    ],
)
def test_nothing_and_nesting_without_end_are_named_so(body: bytes, problem: str) -> None:
    """An empty body, and JSON that is nested too deep to be read, have their own messages."""
    assert problems(body, Run) == (problem,)


@pytest.mark.parametrize("depth", [65, 100, 400])
def test_an_unknown_field_that_is_too_deep_is_left_out(depth: int) -> None:
    """It could not be written again; the rest of the document can be read."""
    run, faults = left_out(
        b'{"runId": 1, "status": "x", "new": ' + b"[" * depth + b"]" * depth + b"}", Run
    )
    assert (run, run.extra) == (Run(1, "x"), {})
    assert faults == ["Run: nested deeper than 64 times"]


TOO_MANY = "it holds more values than are read at once"


def rows_in(body: bytes) -> list[object]:
    """Read a document as a list, row by row."""
    return list(Rows(body, in_turns=True))


READERS: list[Callable[[bytes], object]] = [parse, rows_in]


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take everything for large, and parse few bytes at once."""
    monkeypatch.setattr(wire_values, "AT_ONCE", 0)
    monkeypatch.setattr(wire_values, "PIECE_BYTES", 5)


@given(
    document=json_values,
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    piece=st.integers(1, 9),
)
def test_a_large_document_is_the_same_as_a_small_one(
    document: Any, indent: int | None, *, is_ascii: bool, mark: bytes, piece: int
) -> None:
    """Objects, lists, strings, numbers and escapes may be cut anywhere."""
    body = mark + json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire_values, "PIECE_BYTES", piece)
        patch.setattr(wire_values, "TEXT_BYTES", 12 + piece)
        patch.setattr(wire_values, "AT_ONCE", 0)
        assert parse(body) == document
        if isinstance(document, list):
            assert list(Rows(body)) == document


BROKEN = [
    *(b"", b'"xxxxxxxxxx', b'"xxxx\\u12G4"', b'"xxxx\x01"', b'"\xff"', b"[1,1,1,1", b"[1,1,1,]"),
    *(b"[1,1,1}", b'[{"a":1},{"a"}]', b'{"a": "xxxx" "b": 1}', b"{1: 2}", b'{"a": [1,1,1]'),
    *(b"[1] x", b"[1] [2]", b"tru", b"[NaN]", b"[01]", b"[1e999]", b"[1e99999999999999999999]"),
]


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("body", [*BROKEN, pytest.param(b"[" + b"9" * 5000 + b"]", id="long")])
@pytest.mark.parametrize("reader", READERS)
def test_a_large_fault_is_named(body: bytes, reader: Callable[[bytes], object]) -> None:
    """What breaks off or is wrong somewhere is refused as in a small document."""
    with pytest.raises(UnreadableError) as caught:
        reader(body)
    (problem,) = caught.value.problems
    assert problem.startswith("expected JSON, got ")
    assert problem.isprintable()


@pytest.mark.parametrize(
    "text", [r"\ud83d", r"\ud83d\ud83d\ude00", r"\\ud83d", r"\n\u2028", "😀\u2028é"]
)
@pytest.mark.parametrize("window", [12, 13, 17])
def test_a_string_is_cut_between_characters(
    monkeypatch: pytest.MonkeyPatch, text: str, window: int
) -> None:
    """Characters that take several bytes, or two escapes, stay whole."""
    monkeypatch.setattr(wire_values, "AT_ONCE", 0)
    monkeypatch.setattr(wire_values, "TEXT_BYTES", window)
    for before in range(13):
        body = '"{}{}"'.format("x" * before, text * 2).encode()
        assert parse(body) == json.loads(body)


def rows_of(size: int) -> bytes:
    """Return a list of so many bytes, of runs."""
    row = b'{"runId": 214, "status": "passed", "featureName": "Login", "config": "Default"},'
    return b"[" + row * (size // len(row)) + row[:-1] + b"]"


def test_too_many_values_in_a_row_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is of each row, and starts anew with the next."""
    monkeypatch.setattr(wire_values, "MAX_VALUES", 100_000)
    large = b'{"runId": 1, "status": "x", "new": [' + b"0.000001," * 40_000 + b"0]},"
    rows = read(b"[" + large * 3 + large[:-1] + b"]", Listing[Run])
    assert [row.run_id for row in rows] == [1, 1, 1, 1]
    larger = b'{"runId": 1, "status": "x", "new": [' + b"0.000001," * 100_000 + b"0]}"
    (problem,) = problems(b"[" + larger + b"]", Listing[Run])
    assert problem == TOO_MANY


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a small row is larger than the row."""
    monkeypatch.setattr("testvibe_async._core.wire.values.MAX_ROWS", 5000)
    row = b'{"runId": 1, "status": "' + b"x" * 50 + b'"},'
    body = b"[" + row * 4999 + row[:-1] + b"]"
    assert len(body) > AT_ONCE
    assert len(read(body, Listing[Run])) == 5000
    assert problems(body[:-1] + b"," + row[:-1] + b"]", Listing[Run]) == (
        "it has more than 5,000 rows, and not so many are read",
    )


@pytest.mark.usefixtures("_small")
def test_a_long_row_is_not_read_in_turns() -> None:
    """The event loop is not held up by one row of many values."""
    row = b'{"runId": 2, "tests": [' + b"0," * 20_000 + b"0]}"
    rows = iter(Rows(b'[{"runId": 1}, ' + row * 1 + b"," + row + b"]", in_turns=True))
    assert next(rows) == {"runId": 1}
    with pytest.raises(UnreadableError, match=TOO_MANY):
        next(rows)


@pytest.mark.parametrize("size", [60_000, 70_000])
@pytest.mark.parametrize("rows", [b"[]", rows_of(AT_ONCE)])
def test_a_list_with_much_around_it_is_no_list(size: int, rows: bytes) -> None:
    """Where its next page is could be in what is not kept."""
    body = b'{"a": "' + b"x" * size + b'", "nextCursor": 2, "rows": ' + rows + b"}"
    if size < 65_536:
        assert read(body, Listing[Run]).extra["nextCursor"] == 2
        return
    assert problems(body, Listing[Run]) == (
        "expected a list, got an object with more than 64 KiB beside it at $",
    )


def test_a_list_of_usual_length_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Value by value takes ten times as long."""
    monkeypatch.setattr("testvibe_async._core.wire.values._Reader.value", None)
    rows = [{"runId": number, "status": "running", "text": "x" * 300} for number in range(1000)]
    body = json.dumps(rows).encode()
    assert len(body) > AT_ONCE
    assert list(Rows(body)) == rows
