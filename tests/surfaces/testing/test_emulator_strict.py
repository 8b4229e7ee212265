"""The strict emulator: it refuses what the contract does not have in a request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller

JSON = "application/json"
BODIES: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "/features", {"name": "New", "gherkin": "Feature: New"}, 201),
    ("PATCH", "/features/Checkout", {"name": "New", "gherkin": "Feature: New"}, 200),
    ("POST", "/features/Checkout/generate", {"siteUrl": "https://site.example"}, 202),
    ("POST", "/features/Checkout/generation/cancel", {}, 409),
    ("POST", "/features/Checkout/run", {"config": "Mobile", "siteUrl": "https://s.example"}, 202),
    ("PUT", "/files/content", {"path": "Features/x", "content": "x"}, 200),
]


async def send(
    call: Caller, method: str, path: str, body: bytes | None, content_type: str = JSON
) -> tuple[int, str]:
    """Send a body, and return the status and the message; the message is empty on success."""
    reply = await call.send(
        method,
        f"/api/v1/ops/projects/{call.emulator.project_id}{path}",
        body=body,
        headers={"Authorization": f"Bearer {call.emulator.api_key}", "Content-Type": content_type},
    )
    if reply.status < 400:
        return reply.status, ""
    return reply.error[0], reply.document["message"]


@pytest.fixture
async def call(emulate: Callable[..., Awaitable[Caller]]) -> Caller:
    """Return a client of a strict emulator."""
    return await emulate(strict=True)


@pytest.mark.parametrize(("method", "path", "body", "status"), BODIES)
async def test_what_the_contract_has_is_taken(
    call: Caller, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    """All members that the contract has may be sent together."""
    assert (await send(call, method, path, as_json(body)))[0] == status


@pytest.mark.parametrize(("method", "path", "body", "_status"), BODIES)
async def test_an_unknown_member_is_refused_by_name(
    call: Caller, method: str, path: str, body: dict[str, Any], _status: int
) -> None:
    """One member more, even null or in another case, is answered with 400; nothing is done."""
    for name in ("priority", "SiteUrl"):
        status, message = await send(call, method, path, as_json({**body, name: None}))
        assert status == 400
        assert f"'{name}'" in message
    assert not call.emulator.runs
    assert not call.emulator.generations
    assert "New" not in call.emulator.features


@pytest.mark.parametrize(
    ("path", "known", "unknown"),
    [
        ("/runs", "feature=Checkout&limit=5", "status=failed"),
        ("/runs", "", "cursor=after-1"),
        ("/files/content", "path=package.json", "raw"),
        ("/features", "", "limit=5"),
        ("/runs/214", "", "limit=5"),
    ],
)
async def test_an_unknown_query_parameter_is_refused_by_name(
    call: Caller, path: str, known: str, unknown: str
) -> None:
    """One parameter more is answered with 400, also one without a value."""
    assert (await send(call, "POST", "/features/Checkout/run", b"{}"))[0] == 202
    assert (await send(call, "GET", f"{path}?{known}", None))[0] == 200
    status, message = await send(call, "GET", f"{path}?{known}&{unknown}", None)
    assert status == 400
    assert f"'{unknown.partition('=')[0]}'" in message


@pytest.mark.parametrize(
    ("body", "content_type"), [(b"", JSON), (b"{}", "text/plain"), (b"[]", JSON), (b"{", JSON)]
)
async def test_a_post_needs_a_json_object(call: Caller, body: bytes, content_type: str) -> None:
    """Also the cancellation of a generation, which has nothing to say, is refused without one."""
    assert (await send(call, "POST", "/features/Checkout/generate", b"{}"))[0] == 202
    for tail in ("/run", "/generation/cancel"):
        path = f"/features/Checkout{tail}"
        assert (await send(call, "POST", path, body, content_type))[0] == 400
    assert call.emulator.features["Checkout"].status == "generating"
    assert (await send(call, "POST", "/features/Checkout/generation/cancel", b"{}"))[0] == 200


async def test_a_delete_needs_no_body(call: Caller) -> None:
    """Without a body there is nothing to refuse."""
    assert (await call("DELETE", "/features/Checkout")).status == 200


def as_json(document: object) -> bytes:
    """Encode a document."""
    return json.dumps(document).encode()
