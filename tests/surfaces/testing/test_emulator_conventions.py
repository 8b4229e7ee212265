"""Rules for every operation: the key, the routes, the shape of errors, timestamps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from testvibe_async.testing import Emulator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller

OPS = "/api/v1/ops"


@pytest.mark.parametrize(
    "authorization",
    [None, "", "tvb_" + "k" * 43, "Bearer", "Bearer tvb_" + "k" * 43, "Basic {key}", "Bearer é"],
)
async def test_a_wrong_key_is_refused_in_the_documented_words(
    call: Caller, authorization: str | None
) -> None:
    """Without the valid key, every route answers the documented 401, unknown ones too."""
    headers: dict[str, str] = {}
    if authorization is not None:
        headers["Authorization"] = authorization.replace("{key}", call.emulator.api_key)
    for path in (f"{OPS}/projects", f"{OPS}/nothing", "/"):
        reply = await call.send("GET", path, headers=headers)
        assert reply.status == 401
        assert reply.document == {
            "error": "unauthorized",
            "message": "A valid API key is required (Authorization: Bearer tvb_…).",
        }


async def test_the_scheme_of_the_authorization_is_read_in_any_case(call: Caller) -> None:
    """`bearer` is the same as `Bearer`, as in HTTP."""
    headers = {"Authorization": f"bearer {call.emulator.api_key}"}
    assert (await call.send("GET", f"{OPS}/projects", headers=headers)).status == 200


async def test_a_given_key_and_project_are_used(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """The key and the project's id can be chosen; the id is read in any case."""
    call = await emulate(api_key="tvb_mine", project_id="ABCD-1")
    headers = {"Authorization": "Bearer tvb_mine"}
    reply = await call.send("GET", f"{OPS}/projects/abcd-1", headers=headers)
    assert reply.document["id"] == "ABCD-1"


def test_the_key_looks_like_one_of_the_service() -> None:
    """The default key is `tvb_` and 43 base62 characters."""
    key = Emulator().api_key
    assert key.startswith("tvb_")
    assert len(key) == 47
    assert key[4:].isalnum()


@pytest.mark.parametrize(
    "path",
    ["", "/", "/nothing", "/features/1/nothing", "/files/nothing", "/files/*", "/runs/1/nothing"],
)
async def test_an_unknown_route_is_not_found(call: Caller, path: str) -> None:
    """An unknown path is answered with the documented 404."""
    target = f"{OPS}/projects/{call.emulator.project_id}{path}" if path else "/api/v2/ops/projects"
    headers = {"Authorization": f"Bearer {call.emulator.api_key}"}
    reply = await call.send("GET", target, headers=headers)
    assert reply.error == (404, "not_found")
    assert call.emulator.requests[-1].operation is None


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "", "GET"),
        ("PUT", "/features/1", "GET, PATCH, DELETE"),
        ("GET", "/features/1/run", "POST"),
        ("DELETE", "/files/content", "GET, PUT"),
    ],
)
async def test_a_known_path_with_another_method_is_405(
    call: Caller, method: str, path: str, allowed: str
) -> None:
    """The answer to a wrong method has the shape of every error, and names the allowed ones."""
    reply = await call(method, path)
    assert reply.error == (405, "method_not_allowed")
    assert reply.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/features"),
        ("POST", "/features"),
        ("GET", "/features/Checkout"),
        ("PATCH", "/features/Checkout"),
        ("DELETE", "/features/Checkout"),
        ("POST", "/features/Checkout/generate"),
        ("GET", "/features/Checkout/generation"),
        ("GET", "/features/Checkout/generation/log"),
        ("POST", "/features/Checkout/generation/cancel"),
        ("POST", "/features/Checkout/run"),
        ("GET", "/runs"),
        ("GET", "/runs/214"),
        ("GET", "/runs/214/diagnosis"),
        ("GET", "/runs/214/artifacts"),
        ("GET", "/files"),
        ("GET", "/files/content?path=package.json"),
        ("PUT", "/files/content"),
        ("GET", "/configs"),
    ],
)
async def test_an_unknown_project_is_not_found(call: Caller, method: str, path: str) -> None:
    """Every operation of a project that does not exist is answered with 404."""
    await call.run()
    headers = {"Authorization": f"Bearer {call.emulator.api_key}"}
    reply = await call.send(method, f"{OPS}/projects/other{path}", body=b"{}", headers=headers)
    assert reply.error == (404, "not_found")
    assert "project" in reply.document["message"]


@pytest.mark.parametrize("key", ["Nowhere", "999", "0", "9" * 30, "", "%FF", "%C2%B9"])
async def test_an_unknown_feature_is_not_found(call: Caller, key: str) -> None:
    """An unknown name or number is answered with 404."""
    for path in (f"/features/{key}", f"/features/{key}/generation"):
        assert (await call("GET", path)).error == (404, "not_found")


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".", "50% off?", "#1", "日本語", "a\\b", "x y", "a+b", "%2F", ";=&", "*"]
)
async def test_any_name_is_one_segment_of_a_path(call: Caller, name: str) -> None:
    """Any percent-encoded name is found, and so are the routes below it."""
    feature = call.emulator.add_feature(name)
    segment = quote(name, safe="").replace(".", "%2E")
    assert (await call.get(f"/features/{segment}"))["id"] == feature.id
    assert (await call("POST", f"/features/{segment}/run", {})).status == 202
    assert call.emulator.requests[-1].feature == name


async def test_a_name_is_read_in_any_case_and_digits_are_an_id(call: Caller) -> None:
    """`login FUNCTIONALITY` is found by name; a feature named 404 only by its id."""
    login = await call.get("/features/login%20FUNCTIONALITY")
    assert login["name"] == "Login Functionality"
    assert (await call.get(f"/features/{login['id']}")) == login
    numbered = call.emulator.add_feature("404")
    assert (await call("GET", "/features/404")).status == 404
    assert (await call.get(f"/features/{numbered.id}"))["name"] == "404"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"null", b"[" * 100_000])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/features"),
        ("PATCH", "/features/Checkout"),
        ("POST", "/features/Checkout/generate"),
        ("POST", "/features/Checkout/run"),
        ("PUT", "/files/content"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(
    call: Caller, method: str, path: str, body: bytes
) -> None:
    """Malformed JSON is answered with 400, and nothing happens."""
    reply = await call.send(
        method,
        f"{OPS}/projects/{call.emulator.project_id}{path}",
        body=body,
        headers={"Authorization": f"Bearer {call.emulator.api_key}"},
    )
    assert reply.error == (400, "invalid_request")
    assert not call.emulator.runs
    assert not call.emulator.generations


async def test_unknown_fields_are_ignored(call: Caller) -> None:
    """A body may have unknown fields, and null for optional ones."""
    body = {"config": None, "siteUrl": None, "priority": "high"}
    assert (await call("POST", "/features/Checkout/run", body)).status == 202


async def test_the_project_is_listed_and_shown(call: Caller) -> None:
    """Projects are rows of id, name and base URL; another one can be added."""
    call.emulator.add_project("Second")
    headers = {"Authorization": f"Bearer {call.emulator.api_key}"}
    rows = (await call.send("GET", f"{OPS}/projects", headers=headers)).document
    assert [set(row) for row in rows] == [{"id", "name", "baseUrl"}] * 2
    assert rows[0]["name"] == "Acme Shop"
    assert rows[0] == await call.get("")
    assert rows[0]["id"] != rows[1]["id"]


async def test_answers_are_json_dated_by_the_clock_of_the_emulator(call: Caller) -> None:
    """The `Date` header and the timestamps follow the same clock, in whole seconds."""
    assert (await call("GET", "")).headers["Date"] == "Wed, 10 Jun 2026 14:42:11 GMT"
    await asyncio.sleep(3600.7)
    await call.run()
    reply = await call("GET", "/runs/214")
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.headers["Date"] == "Wed, 10 Jun 2026 15:42:11 GMT"
    assert reply.document["createdUtc"] == "2026-06-10T15:42:11Z"


async def test_without_lists_both_list_routes_are_unknown(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """`lists=False` removes only `list_runs` and `list_features`."""
    call = await emulate(lists=False)
    for path in ("/runs", "/features"):
        assert (await call("GET", path)).error == (404, "not_found")
        assert call.emulator.requests[-1].operation is None
    created = await call("POST", "/features", {"name": "New", "gherkin": "Feature: New"})
    assert created.status == 201
    assert (await call("GET", f"/runs/{await call.run()}")).status == 200
