"""Rows: what they hold, and how they are stored and read."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from testvibe_async import ConfigError, GenerationRef, NotSentError, RunRef
from testvibe_async.ledger import Row, RowState

PLACE: dict[str, Any] = {"server": "https://testvibe.example", "project": "p", "key": "pr-1"}
ROW = Row(
    **PLACE,
    kind="generation",
    feature="Checkout",
    intended_at=datetime(2026, 11, 26, 9, 30, tzinfo=UTC),
    expires_after=65.0,
    before="r7",
    is_before_known=True,
)
ERROR = NotSentError("no connection", method="POST", url="https://testvibe.example/x")
REF = GenerationRef(
    server=PLACE["server"],
    project="p",
    request_id="r8",
    feature_id=7,
    dispatched_at=ROW.intended_at,
)
DOCUMENT = json.loads(ROW.to_json())

ROWS = {
    "intended": ROW,
    "dispatched": Row(
        **PLACE, kind="generation", feature=7, state=RowState.DISPATCHED, ref=REF, adopted=True
    ),
    "not started": Row(
        **PLACE,
        item="x",
        number=2,
        kind="run",
        feature="A",
        config="Mobile",
        site_url="https://x",
        state=RowState.NOT_STARTED,
        error=ERROR,
        before=213,
        boot="boot",
        boot_seconds=1.5,
    ),
    "planned": Row(**PLACE, kind="run", state=RowState.PLANNED, plan={"jobs": None, "options": {}}),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_is_read_as_it_was_written(row: Row) -> None:
    """JSON and back gives the same row, on one line."""
    text = row.to_json()
    assert "\n" not in text
    read = Row.from_json(text)
    assert read.to_json() == text
    assert (read.identity, read.ref, read.state) == (row.identity, row.ref, row.state)
    assert str(read.error) == str(row.error)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "is of version 2"),
        ({"state": "gone"}, "damaged"),
        ({"intendedUtc": "yesterday"}, "damaged"),
        ({"intendedUtc": None}, "damaged"),
        ({"ref": {"testvibe": "run"}}, "ref"),
    ],
)
def test_what_is_no_row_is_refused(change: dict[str, object], problem: str) -> None:
    """One sentence says what is wrong."""
    with pytest.raises(ConfigError, match=problem):
        Row.from_json(json.dumps(DOCUMENT | change))


def test_what_a_later_release_adds_is_ignored() -> None:
    """Unknown members are ignored."""
    assert Row.from_json(json.dumps(DOCUMENT | {"colour": "blue"})).identity == ROW.identity


@pytest.mark.parametrize("name", ["version", "kind", "server", "project", "key"])
def test_a_row_that_lacks_a_field_is_refused(name: str) -> None:
    """The missing field is named."""
    with pytest.raises(ConfigError, match=name):
        Row.from_json(json.dumps({key: DOCUMENT[key] for key in DOCUMENT if key != name}))


@pytest.mark.parametrize("text", ["", "[]", "7", "{"])
def test_a_row_is_json(text: str) -> None:
    """A text that is no document is no row."""
    with pytest.raises(ConfigError, match="damaged"):
        Row.from_json(text)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (RunRef(server="s", project="p", run_id=1, feature_id=7), None),
        (RunRef(server="s", project="p", run_id=1), None),
        (RunRef(server="s", project="p", run_id=1, feature_id=8), "feature 8, and 7 was requested"),
        (RunRef(server="s", project="p", run_id=0, feature_id=7), "run 0, and ids begin with 1"),
        (RunRef(server="s", project="p", run_id=-1, feature_id=7), "run -1"),
    ],
)
def test_an_answer_may_contradict_the_request(answer: RunRef, problem: str | None) -> None:
    """An answer of another feature, or with an id that is none, is not that of the request."""
    said = Row(**PLACE, kind="run", feature="007").contradiction(answer)
    assert (said is None) if problem is None else problem in str(said)
