"""Features: reading, creating, changing, deleting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Caller

DOCUMENTED = {"id", "name", "kind", "status", "gherkin", "rationale", "updatedUtc"}


async def test_a_feature_has_the_documented_fields(call: Caller) -> None:
    """A feature has its text, and a rationale only if it is a suggestion."""
    feature = await call.get("/features/Login%20Functionality")
    assert set(feature) == DOCUMENTED
    assert feature["kind"] == "feature"
    assert feature["status"] == "generated"
    assert feature["gherkin"].startswith("Feature: Login Functionality\n")
    assert feature["rationale"] is None
    assert feature["updatedUtc"] == "2026-06-10T14:42:11Z"


async def test_a_suggestion_has_a_rationale(call: Caller) -> None:
    """The shop's one suggestion has a rationale."""
    rows = await call.get("/features")
    (suggestion,) = [row for row in rows if row["kind"] == "suggestion"]
    assert (await call.get(f"/features/{suggestion['id']}"))["rationale"]


async def test_the_list_shows_rows_without_texts(call: Caller) -> None:
    """A row has the fields of a feature, except the text and the rationale."""
    rows = await call.get("/features")
    assert all(set(row) == DOCUMENTED - {"gherkin", "rationale"} for row in rows)
    assert [row["name"] for row in rows] == list(call.emulator.features)


async def test_a_created_feature_is_not_generated(call: Caller) -> None:
    """Creating answers 201 with the feature, which then is found by name."""
    await asyncio.sleep(60)
    body = {"name": "Search", "gherkin": "Feature: Search\n"}
    reply = await call("POST", "/features", body)
    assert reply.status == 201
    assert set(reply.document) == DOCUMENTED
    assert reply.document | body == reply.document
    assert reply.document["status"] == "draft"
    assert reply.document["updatedUtc"] == "2026-06-10T14:43:11Z"
    assert await call.get("/features/search") == reply.document
    assert (await call("POST", "/features/Search/run", {})).error == (409, "conflict")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"gherkin": "x"},
        {"name": None, "gherkin": "x"},
        {"name": 1, "gherkin": "x"},
        {"name": " ", "gherkin": "x"},
        {"name": "\ud800", "gherkin": "x"},
        {"name": "x", "gherkin": ["x"]},
    ],
)
async def test_a_feature_needs_a_name_and_a_text(call: Caller, body: dict[str, object]) -> None:
    """A missing field, or one of another type, is answered with 400."""
    assert (await call("POST", "/features", body)).error == (400, "invalid_request")


async def test_a_name_is_given_once(call: Caller) -> None:
    """A second feature of one name is a conflict, on creating and on renaming."""
    body = {"name": "CHECKOUT", "gherkin": "Feature: x"}
    assert (await call("POST", "/features", body)).error == (409, "conflict")
    renaming = await call("PATCH", "/features/Wishlist", {"name": "checkout"})
    assert renaming.error == (409, "conflict")
    with pytest.raises(ValueError, match="already has a feature"):
        call.emulator.add_feature("checkout")


async def test_text_and_name_are_changed_apart(call: Caller) -> None:
    """Updating changes the given fields; the feature stays generated, with its old tests."""
    await asyncio.sleep(60)
    spec = await call.get("/files/content?path=tests/wishlist.spec.ts")
    text = "Feature: Wishlist\n  Scenario: Other\n"
    reply = await call("PATCH", "/features/Wishlist", {"gherkin": text})
    assert (reply.status, reply.document) == (200, {"ok": True})
    reply = await call("PATCH", "/features/wishlist", {"name": "WishList"})
    assert (reply.status, reply.document) == (200, {"ok": True})
    feature = await call.get("/features/WISHLIST")
    assert feature["name"] == "WishList"
    assert feature["gherkin"] == text
    assert feature["status"] == "generated"
    assert feature["updatedUtc"] == "2026-06-10T14:43:11Z"
    assert "Other" not in spec["content"]
    renamed = await call.get("/files/content?path=tests/wishlist.spec.ts")
    assert renamed["content"] == spec["content"].replace("'Wishlist'", "'WishList'")


async def test_a_renamed_feature_is_found_by_its_new_name_only(call: Caller) -> None:
    """The old name is free again after a renaming."""
    assert (await call("PATCH", "/features/Wishlist", {"name": "Hearts"})).status == 200
    assert (await call("GET", "/features/Wishlist")).status == 404
    assert (await call.get("/features/hearts"))["name"] == "Hearts"
    body = {"name": "Wishlist", "gherkin": "Feature: Wishlist"}
    assert (await call("POST", "/features", body)).status == 201


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"gherkin": 1}, {"name": None}])
async def test_an_update_needs_something_to_change(call: Caller, body: dict[str, object]) -> None:
    """An update without a valid name or text is answered with 400."""
    assert (await call("PATCH", "/features/Wishlist", body)).error == (400, "invalid_request")


async def test_a_deleted_feature_is_not_found_but_its_runs_stay(call: Caller) -> None:
    """A deleted feature is not found, but its run can still be read."""
    run_id = await call.run("Wishlist")
    reply = await call("DELETE", "/features/Wishlist")
    assert (reply.status, reply.document) == (200, {"ok": True})
    assert (await call("GET", "/features/Wishlist")).error == (404, "not_found")
    await asyncio.sleep(60)
    assert (await call.get(f"/runs/{run_id}"))["featureName"] == "Wishlist"
    assert (await call.get(f"/runs/{run_id}/diagnosis"))["status"] == "passed"


async def test_a_generating_feature_is_neither_changed_nor_deleted(call: Caller) -> None:
    """Updating and deleting are conflicts while the feature is generating, but not afterwards."""
    await call.generate("Wishlist")
    assert (await call("PATCH", "/features/Wishlist", {"name": "x"})).error == (409, "conflict")
    assert (await call("DELETE", "/features/Wishlist")).error == (409, "conflict")
    await asyncio.sleep(600)
    assert (await call("PATCH", "/features/Wishlist", {"name": "x"})).status == 200
    assert (await call("DELETE", "/features/x")).status == 200
