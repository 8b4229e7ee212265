"""What is JSON and what is not, and a list that is read row by row."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rooms.wire.documents import encode, json_values, left_out, problems
from testvibe_async import Listing, Run, RunStatus
from testvibe_async._wire.convert import read
from testvibe_async._wire.json import UnreadableError, read_rows


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


@pytest.mark.parametrize("document", [{}, {"a": [], "b": []}, {"items": None}, None, "x", 1, True])
def test_what_holds_no_one_list_is_a_fault(document: object) -> None:
    """An answer in which no single list can be found is named as what it is."""
    (problem,) = problems(encode(document), Listing[Run])
    assert problem.startswith("expected a list, got ")
    assert problem.endswith(" at $")


@given(
    rows=st.lists(json_values, max_size=5),
    indent=st.sampled_from([None, 0, 2, "\t"]),
    around=st.sampled_from([b"", b" \r\n\t"]),
)
def test_rows_one_by_one_are_the_rows_of_the_whole(
    rows: list[object], indent: int | str | None, around: bytes
) -> None:
    """However a list is spaced out, its rows are the same read one by one as all at once."""
    body = around + json.dumps(rows, indent=indent).encode() + around
    assert list(read_rows(body)) == rows == json.loads(body)
    assert list(read_rows(b"\xef\xbb\xbf" + body)) == rows


NO_LISTS = [b"", b" ", b"[", b"[1", b"[1,", b"[1,]", b"[,1]", b"[1 2]", b"[1}", b"7", b"null"]
NO_LISTS += [b'"[1]"', b"{}", b'{"a": [], "b": []}', b'{"a": 1}', b"[NaN]", b"[1e999]", b"[\xff]"]


@pytest.mark.parametrize("body", [*NO_LISTS, b"<html>", pytest.param(b"[" * 100_000, id="deep")])
def test_what_is_no_list_has_no_rows(body: bytes) -> None:
    """Anything else than one list is a fault, whatever it is, and never breaks out."""
    with pytest.raises(UnreadableError) as caught:
        list(read_rows(body))
    assert caught.value.problems
    assert all(problem.isprintable() for problem in caught.value.problems)


@given(body=st.binary(max_size=30) | st.text('[]{},:1 "ae\\', max_size=12).map(str.encode))
def test_any_bytes_are_rows_or_are_unreadable(body: bytes) -> None:
    """Reading row by row ends, with all rows or with a fault; what is JSON throughout agrees."""
    try:
        rows = list(read_rows(body))
    except UnreadableError:
        return
    with suppress(ValueError):
        whole = json.loads(body)
        assert not isinstance(whole, list) or whole == rows


@pytest.mark.parametrize("body", [b"", b"  \r\n "])
def test_an_empty_body_is_named_so(body: bytes) -> None:
    """An empty body has its own message."""
    assert problems(body, Run) == ("expected JSON, got an empty body",)


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


def test_a_large_integer_is_kept_exactly() -> None:
    """An id beyond 64 bits is read to the last digit."""
    assert read(b'{"runId": 123456789012345678901, "status": "x"}', Run).run_id == (
        123456789012345678901
    )


def test_nesting_without_end_is_named_so() -> None:
    """JSON that is nested too deep to be read has its own message."""
    assert problems(b"[" * 1_000_000, Run) == ("the JSON is nested too deep",)


@pytest.mark.parametrize("depth", [65, 100, 400])
def test_an_unknown_field_that_is_too_deep_is_left_out(depth: int) -> None:
    """It could not be written again; the rest of the document can be read."""
    run, faults = left_out(
        b'{"runId": 1, "status": "x", "new": ' + b"[" * depth + b"]" * depth + b"}", Run
    )
    assert (run, run.extra) == (Run(1, "x"), {})
    assert faults == ["Run: nested deeper than 64 times"]
