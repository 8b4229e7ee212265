"""Documents as the service sends them, what is wrong with others, and requests for them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st

from testvibe_async._core.wire.convert import read
from testvibe_async._core.wire.endpoints import ENDPOINTS, Request
from testvibe_async._core.wire.extra import UnreadableField
from testvibe_async._core.wire.protocol import Response
from testvibe_async._core.wire.values import UnreadableError

URL = "https://testvibe.example/api/v1/ops/projects/p"

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def encode(document: object) -> bytes:
    """Return a document as it travels."""
    return json.dumps(document).encode()


def left_out(body: bytes, shape: Any) -> tuple[Any, list[str]]:
    """Return what a document holds, and what of it could not be read."""
    fields: list[UnreadableField] = []
    value = read(body, shape, unreadable=fields)
    return value, [f"{field.model}: {field.problem}" for field in fields]


def problems(body: bytes, shape: Any) -> tuple[str, ...]:
    """Return what is wrong with a document."""
    with pytest.raises(UnreadableError) as caught:
        read(body, shape)
    return caught.value.problems


def places_of(operation: str) -> list[str]:
    """Return the names of what is filled in in the path of an operation."""
    return [part.split("}")[0] for part in ENDPOINTS[operation].path.split("{")[1:]]


def request_for(operation: str) -> Request[Any]:
    """Return a request for an operation, with any names in its path."""
    names: dict[str, Any] = dict.fromkeys(places_of(operation), "x")
    return ENDPOINTS[operation].request(**names)


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    """Return a response."""
    return Response(
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
        url=URL,
        received_at=datetime(2026, 6, 10, 14, tzinfo=UTC),
    )
