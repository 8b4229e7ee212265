"""What is JSON and what is not, and lists and large documents that are read part by part."""

import json
from collections.abc import Iterable
from typing import Any, cast

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
        (b'{"a": [], "b": []}', "an object with two: 'a', 'b'"),
    ],
)
def test_what_holds_no_one_list_is_a_fault(body: bytes, found: str) -> None:
    """An answer in which no single list can be found is named as what it is."""
    assert problems(body, Listing[Run]) == (f"expected a list, got {found} at $",)


PARTS = st.sampled_from([b"{}", b'{"a":[{},{}]}', b'"},{"', b",", b",", b" "])


@given(
    body=st.binary(max_size=30)
    | st.text('[]{},:1 "ae\\', max_size=12).map(str.encode)
    | st.lists(PARTS).map(lambda parts: b"[%s]" % b"".join(parts)),
    at_once=st.sampled_from([16, 24, 2**14]),
)
@example(body=b"[{},]", at_once=16)
@example(body=b'[{"a":"},{"},{"a":[{},{}]}]', at_once=16)
def test_any_bytes_are_rows_or_are_unreadable(body: bytes, at_once: int) -> None:
    """Reading some rows at a time ends, with the rows of what is JSON, or with a fault."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire_values, "PIECE_BYTES", 1)
        patch.setattr(wire_values, "AT_ONCE", at_once)
        try:
            rows = list(Rows(body))
        except UnreadableError:
            rows = None
    try:
        whole = parse(body)
    except UnreadableError:
        assert rows is None
        return
    if isinstance(whole, list):
        assert rows == whole or (rows is None and len(body) > at_once)


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


@given(document=json_values, is_ascii=st.booleans(), mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_a_document_is_read_as_it_was_written(
    document: Any, *, is_ascii: bool, mark: bytes
) -> None:
    """Numbers of any length, and characters in any form, are what they were."""
    body = mark + json.dumps(document, ensure_ascii=is_ascii).encode()
    assert parse(body) == document


@pytest.mark.parametrize("text", [r"\ud83d", r"\ud83d\ud83d\ude00", r"\\ud83d", "😀\u2028é"])
def test_half_a_character_is_kept(text: str) -> None:
    """A text that was cut within a character is read all the same."""
    body = f'{{"error": "{text}", "seconds": 1.5}}'.encode()
    assert parse(body) == json.loads(body)


def row_of(size: int, number: int = 214) -> bytes:
    """Return the row of a run with an object inside, of at least so many bytes."""
    inner = b'"summary": {"total": 3}, "tests": [{"name": "a"}, {"name": "},{"}]'
    head = f'{{"runId": {number}, "status": "passed", '.encode() + inner + b', "new": "'
    return head + b"x" * (size - len(head)) + b'"}'


@pytest.mark.parametrize("around", [(b"[", b"]"), (b'{"total": 9, "rows": [', b'], "next": 2}')])
@pytest.mark.parametrize("size", [200, 20_000, 200_000])
def test_a_long_list_is_cut_between_rows(around: tuple[bytes, bytes], size: int) -> None:
    """Rows with lists of their own stay whole, and what is around them all is kept."""
    count = 3 * AT_ONCE // size
    body = b",\n".join(row_of(size, number) for number in range(count)).join(around)
    rows = Rows(body)
    assert [row["runId"] for row in cast("Iterable[Any]", rows)] == [*range(count)]
    assert rows.envelope == ({} if around[0] == b"[" else {"total": 9, "next": 2})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" + b"7," * AT_ONCE + b"7]", id="no objects"),
        pytest.param(b"[" + row_of(2 * AT_ONCE) + b"," + row_of(9) + b"]", id="a huge row"),
        pytest.param(b"[" + (b'{"a": [' + b"{}," * 99 + b"{}]},") * 9999 + b"{}]", id="inside"),
        pytest.param(b" " * AT_ONCE + b"{}", id="no list"),
    ],
)
def test_a_long_list_without_rows_is_refused(body: bytes) -> None:
    """What can't be cut into pieces that take little time is not read."""
    assert problems(body, Listing[Run]) == (
        "it has rows that can't be told apart, or that are too large",
    )


@pytest.mark.parametrize("size", [200, 2 * AT_ONCE])
def test_the_end_of_a_long_list_must_be_there(size: int) -> None:
    """A list that breaks off is not taken for a whole one."""
    body = b"[" + b",".join([row_of(200)] * (size // 200)) + b"]"
    for broken in (body[:-1], body[:-9], body + b"]"):
        (problem,) = problems(broken, Listing[Run])
        assert problem.startswith("expected JSON, got ")


@pytest.mark.parametrize("body", [b"[" + b"{}," * 350_000 + b"{}]", b'{"a": [' + b"0," * 350_000])
def test_too_many_values_are_refused(body: bytes) -> None:
    """They are counted before they are read, and would take many times their size."""
    assert problems(body, Run) == ("it holds more values than are read at once",)


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a small row is larger than the row."""
    monkeypatch.setattr(wire_values, "MAX_ROWS", 20_000)
    row = b'{"runId": 1, "status": "' + b"x" * 50 + b'"},'
    body = b"[" + row * 19_999 + row[:-1] + b"]"
    assert len(body) > AT_ONCE
    assert len(read(body, Listing[Run])) == 20_000
    assert problems(body[:-1] + b"," + row[:-1] + b"]", Listing[Run]) == (
        "it has more than 20,000 rows, and not so many are read",
    )


@pytest.mark.parametrize("size", [60_000, 70_000])
def test_a_list_with_much_around_it_is_no_list(size: int) -> None:
    """Where its next page is could be in what is not kept."""
    body = b'{"a": "' + b"x" * size + b'", "nextCursor": 2, "rows": []}'
    if size < 65_536:
        assert read(body, Listing[Run]).extra["nextCursor"] == 2
        return
    assert problems(body, Listing[Run]) == (
        "expected a list, got an object with more than 64 KiB beside it at $",
    )
