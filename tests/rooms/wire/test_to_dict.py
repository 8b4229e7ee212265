"""What is read and made a dict is what the service sent."""

import json
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints

import pytest
from attrs import NOTHING, fields, has
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promises.test_errors import is_plain
from tests.promises.test_models import OWN_VALUES
from tests.rooms.wire.documents import encode, json_values
from tests.support.amounts import amount
from testvibe_async import Run, RunStatus, models
from testvibe_async._core.util.serialization import serialize, wire_name
from testvibe_async._core.wire.convert import read

LOCAL = {"Transition", "DownloadProgress", "DispatchedRun", "DispatchedGeneration"}
MODELS = [
    each
    for name, each in vars(models).items()
    if isinstance(each, type) and has(each) and each.__module__ == models.__name__
    if not name.startswith("_") and name not in LOCAL
]
"""What the service's answers are read into."""

UNKNOWN = "x "
"""The beginning of the names that no release knows."""

plain_values: dict[type[Any], st.SearchStrategy[Any]] = {
    str: st.text(),
    int: st.integers(-(2**63), 2**63),
    float: st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    # The first year stands for no time.
    datetime: st.datetimes(datetime(2, 1, 1)).map(lambda at: f"{at.isoformat()}Z"),  # noqa: DTZ001
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Return the strategy of what the service may send for a field of this type."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    words: list[str] = [
        word.value
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, StrEnum)
        for word in kind
    ]
    if get_origin(hint) is tuple:
        return st.lists(values_of(kinds[0]), max_size=2)
    if words:
        return st.sampled_from(words) | st.text()
    if kinds:
        return values_of(kinds[0])
    return documents_of(hint) if has(hint) else plain_values[hint]


@cache  # Hypothesis is quick with a strategy that it knows
def documents_of(model: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return the strategy of a model's documents, with missing, null and unknown fields."""
    hints = get_type_hints(model)
    known = [field for field in fields(model) if field.name != "extra"]
    needed = {wire_name(field.name) for field in known if field.default is NOTHING}
    values = {wire_name(field.name): values_of(hints[field.name]) for field in known}
    sent = st.fixed_dictionaries(
        {name: value for name, value in values.items() if name in needed},
        optional={name: st.none() | value for name, value in values.items() if name not in needed},
    )
    unknown = st.dictionaries(st.text(max_size=3).map(UNKNOWN.__add__), json_values, max_size=2)
    return st.tuples(sent, unknown).map(lambda parts: parts[0] | parts[1])


def without_nothing(value: Any) -> Any:
    """Return a document without the known fields that are null or an empty list."""
    if isinstance(value, list):
        return [without_nothing(member) for member in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    return {
        name: member if name.startswith(UNKNOWN) else without_nothing(member)
        for name, member in cast("dict[str, object]", value).items()
        if name.startswith(UNKNOWN) or member not in (None, [])
    }


def text_of(document: Any) -> str:
    """Return a document's JSON, in which 1, 1.0 and true differ."""
    return json.dumps(document, sort_keys=True, allow_nan=False)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=amount(60, few=12))  # of each model
@given(data=st.data())
def test_it_is_what_the_service_sent(model: Any, data: st.DataObject) -> None:
    """A document that is read and made a dict is the same, without nulls and empty lists.

    A null end alone stays where it decides whether a run is in flight. Read again, it is equal.
    """
    document = data.draw(documents_of(model))
    value = read(encode(document), model)
    made = value.to_dict()
    expected = without_nothing(document)
    is_known = model is not Run or document["status"].casefold() in {*RunStatus}
    if not is_known and document.get("finishedUtc", ...) is None:
        expected = {**expected, "finishedUtc": None}
    assert text_of(made) == text_of(expected)
    assert is_plain(made)
    same = read(encode(made), model)
    assert same == value
    assert same.extra == value.extra


def test_what_has_no_form_is_refused() -> None:
    """A value that JSON can't hold is named by its class."""
    with pytest.raises(TypeError, match="object has no form in JSON"):
        serialize(object())


@pytest.mark.parametrize("value", OWN_VALUES, ids=lambda value: type(value).__name__)
def test_serialize_has_the_same_with_nulls(value: Any) -> None:
    """`serialize` writes all that `to_dict` has, and null or nothing for the rest."""
    document = serialize(value)
    made = value.to_dict()
    assert made.keys() <= document.keys()
    assert all(document[name] in (None, []) for name in document.keys() - made.keys())
    assert all(serialize(value, nulls=False)[name] == made[name] for name in made)
