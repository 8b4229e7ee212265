"""Intents as stored values."""

import json
from datetime import UTC, datetime

import pytest
from attrs import evolve

from testvibe_async import ConfigError
from testvibe_async.intents import Intent

INTENT = Intent(
    id="a1",
    kind="generation",
    server="https://testvibe.example",
    project="p",
    feature="Checkout",
    intended_at=datetime(2026, 11, 26, 9, 30, tzinfo=UTC),
    service_at=datetime(2026, 11, 26, 9, 31, tzinfo=UTC),
    timeout=30.0,
    previous_id="r7",
    is_previous_known=True,
)


@pytest.mark.parametrize(
    "intent", [INTENT, evolve(INTENT, kind="run", feature=7, service_at=None, highest_run_id=213)]
)
def test_it_is_read_as_it_was_written(intent: Intent) -> None:
    """JSON and back gives an equal intent, on one line."""
    text = intent.to_json()
    assert Intent.from_json(text) == intent
    assert Intent.from_json(text.encode()) == intent
    assert "\n" not in text
    assert json.loads(text)["testvibe"] == "intent"


def test_fields_of_a_later_release_are_ignored() -> None:
    """What this release does not know changes nothing."""
    document = INTENT.to_dict() | {"colour": "blue"}
    assert Intent.from_json(json.dumps(document)) == INTENT


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 1}, "this intent is of version 1"),
        ({"testvibe": "run"}, "does not say"),
        ({"kind": "walk"}, "damaged"),
        ({"intendedUtc": "yesterday"}, "damaged"),
        ({"intendedUtc": "2026-11-26T09:30:00"}, "damaged"),
        ({"timeout": "30"}, "damaged"),
        ({"feature": None}, "damaged"),
    ],
)
def test_what_is_no_intent_is_refused(change: dict[str, object], problem: str) -> None:
    """One sentence says what is wrong."""
    with pytest.raises(ConfigError, match=problem):
        Intent.from_json(json.dumps(INTENT.to_dict() | change))


@pytest.mark.parametrize("name", ["id", "kind", "server", "project", "feature", "intendedUtc"])
def test_what_lacks_a_field_is_refused(name: str) -> None:
    """The missing field is named."""
    document = INTENT.to_dict()
    del document[name]
    with pytest.raises(ConfigError, match=f"lacks {name}"):
        Intent.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "7", "{", b"\xff"])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    """A text that is no document is no intent."""
    with pytest.raises(ConfigError, match="not an intent"):
        Intent.from_json(text)


def test_its_name() -> None:
    """Messages name what was to be dispatched."""
    assert str(INTENT) == "the dispatch of a generation of feature 'Checkout'"
