"""What `--json` prints: names, forms, and nothing that a terminal obeys."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from testvibe_async._wire.convert import read
from testvibe_async._wire.documents import serialize
from testvibe_async.cli.documents import json_of

RUN = {
    "runId": 214,
    "status": "failed",
    "featureId": 12,
    "featureName": "Login Functionality",
    "config": "Default",
    "siteUrl": "https://shop.acme.example",
    "createdUtc": "2026-06-10T16:02:11Z",
    "startedUtc": "2026-06-10T16:02:19Z",
    "finishedUtc": "2026-06-10T16:02:54Z",
    "summary": {"total": 3, "passed": 2, "failed": 1, "other": 0},
    "tests": [{"name": "A", "status": "passed", "durationMs": 4210, "error": None}],
    "artifacts": [{"kind": "trace", "path": "trace/a.zip", "size": 482133, "url": None}],
    "log": "…",
    "newField": {"some_name": [1, None]},
}
OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
REF = RunRef(server="https://h.example", project="p", run_id=214)


def test_what_the_service_sent_comes_out_as_it_came_in() -> None:
    """A run's document has the service's names and forms, unknown fields included."""
    assert serialize(read(json.dumps(RUN).encode(), Run)) == RUN


def test_a_ref_can_be_read_back() -> None:
    """A ref is what `Ref.from_json` reads."""
    assert Ref.from_json(json_of(REF)) == REF


def test_values_of_ours_have_names_of_the_same_kind() -> None:
    """What the service does not know is named as it would name it."""
    item: BatchItem[Run] = BatchItem(
        feature="Login", ref=REF, error=WaitTimeoutError(ref=REF, status="running", elapsed=5.0)
    )
    document = serialize(item)
    assert document["feature"] == "Login"
    assert document["outcome"] is None
    assert document["ref"]["run_id"] == 214
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
    """A value that means nothing to others is a defect, not a string of some kind."""
    with pytest.raises(TypeError, match="object has no form in JSON"):
        serialize({"a": [object()]})


def test_numbers_that_json_lacks_are_refused() -> None:
    """What other programs could not read is not written."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_of(RunSummary(total=1, extra={"x": float("nan")}))


@given(st.text())
def test_any_text_is_harmless_and_comes_back(text: str) -> None:
    """Whatever a name holds, its document holds no control character, and reads the same again."""
    for ascii_only in (True, False):
        written = json_of(Feature(id=1, name=text), ascii_only=ascii_only)
        assert not re.search(
            r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", written
        )
        assert json.loads(written)["name"] == text


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b2J", "\u202egnp.exe", "\ud800", "grüße"])
def test_what_a_terminal_would_obey_is_escaped(text: str) -> None:
    """Escapes of terminals, marks that turn text around, and half characters are escaped."""
    written = json_of({"name": text})
    assert written.isprintable()
    assert json.loads(written) == {"name": text}


def test_text_of_people_stays_readable() -> None:
    """Letters beyond ASCII are themselves, unless the output can't show them."""
    value: dict[str, Any] = {"name": "grüße ✓"}
    assert json_of(value) == '{"name": "grüße ✓"}'
    assert json_of(value, ascii_only=True) == '{"name": "gr\\u00fc\\u00dfe \\u2713"}'
