"""The emulator's API: the key, routes, errors, strictness; features, files, configurations."""

import asyncio
from typing import Any

import pytest

from tests.surfaces.testing.conftest import Caller, Emulate

CONTENT = "/files/content"
WISHLIST = "/features/Wishlist"
CHECKOUT = "/features/Checkout"
ERRORS = {400: "invalid_request", 404: "not_found", 409: "conflict"}
OK = {"ok": True}
NEW: dict[str, Any] = {"name": "New", "gherkin": "Feature: New"}
BODIES: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "/features", NEW, 201),
    ("PATCH", CHECKOUT, NEW, 200),
    ("POST", f"{CHECKOUT}/generate", {"siteUrl": "https://site.example"}, 202),
    ("POST", f"{CHECKOUT}/generation/cancel", {}, 409),
    ("POST", f"{CHECKOUT}/run", {"config": "Mobile", "siteUrl": "https://s.example"}, 202),
    ("PUT", CONTENT, {"path": "Features/x", "content": "x"}, 200),
]
"""Each operation with a body, all members that the contract has, and the status of the answer."""


@pytest.fixture
async def strict(emulate: Emulate) -> Caller:
    """Return a client of a strict emulator."""
    return await emulate(strict=True)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "tvb_" + "k" * 43, "Bearer", "Bearer tvb_" + "k" * 43, "Basic {key}", "Bearer é"],
)
async def test_a_wrong_key_is_refused(call: Caller, authorization: str | None) -> None:
    """Without the valid key, every route is answered with 401, unknown ones too."""
    headers: dict[str, str] = {}
    if authorization is not None:
        headers["Authorization"] = authorization.replace("{key}", call.emulator.api_key)
    for path in ("/api/v1/ops/projects", "/api/v2/ops/projects", "/"):
        assert (await call.send("GET", path, headers=headers)).error == (401, "unauthorized")


NOT_FOUND = [
    *("/", "/nothing", "/features/1/nothing", "/files/nothing", "/files/*"),
    *[
        f"/features/{key}{tail}"
        for key in ("Nowhere", "999", "0", "9" * 30, "", "%FF", "%C2%B9")
        for tail in ("", "/generation")
    ],
    *[
        f"/runs/{key}{tail}"
        for key in ("213", "999999", "x", "", "215x", "-1", "2" * 40)
        for tail in ("", "/diagnosis", "/artifacts", "/nothing")
    ],
    *("/runs?feature=Nowhere", f"{CONTENT}?path=Features/x"),
]
"""Unknown routes, features, runs and files."""

INVALID: list[tuple[str, str, list[Any]]] = [
    *[("GET", CONTENT + query, [None]) for query in ("", "?path=", "?other=x")],
    *[("GET", f"/runs?limit={limit}", [None]) for limit in ("0", "-1", "x", "", "1.5")],
    *[
        (method, path, [b"", b"{", b"[]", b'"x"', b"\xff", b"null", b"[" * 100_000])
        for method, path, _, status in BODIES
        if status != 409
    ],
    ("POST", "/features", [{}, {"name": "x"}, {"gherkin": "x"}, NEW | {"gherkin": ["x"]}]),
    ("POST", "/features", [NEW | {"name": name} for name in (None, 1, " ", "\ud800")]),
    ("PATCH", WISHLIST, [{}, {"name": ""}, {"gherkin": 1}, {"name": None}]),
    ("POST", f"{CHECKOUT}/run", [{"siteUrl": 1}, {"siteUrl": False}, {"config": 1}]),
    ("POST", f"{CHECKOUT}/generate", [{"siteUrl": 1}, {"siteUrl": False}]),
    ("PUT", CONTENT, [{}, {"path": "Features/x"}, {"content": "x"}]),
    ("PUT", CONTENT, [{"path": "Features/x", "content": content} for content in (1, None)]),
    *[
        ("PUT", CONTENT, [{"path": path, "content": "x"}])
        for path in (
            *(1, "", "Features", "Features/", "Features/../x", "Features/a/../../x"),
            *("Features/..", "../Features/x", "/Features/x", "features/x", "FeaturesX/x"),
            *("tests/checkout.spec.ts", "package.json"),
        )
    ],
]
"""Queries, bodies that are no JSON object, members, and paths that can't be written."""


WRONG: dict[int, list[tuple[str, str, Any]]] = {
    404: [("GET", path, None) for path in NOT_FOUND],
    400: [(method, path, body) for method, path, bodies in INVALID for body in bodies],
    409: [
        ("POST", "/features", {"name": "CHECKOUT", "gherkin": "Feature: x"}),
        ("PATCH", WISHLIST, {"name": "checkout"}),
    ],
}


@pytest.mark.parametrize("status", WRONG)
async def test_a_wrong_request_is_refused(call: Caller, status: int) -> None:
    """It is answered with the error of its kind, and nothing is changed or dispatched."""
    await call.run("Returns")
    before = await call.get("/features"), await call.get("/files")
    for request in WRONG[status]:
        assert (await call(*request)).error == (status, ERRORS[status]), request
    assert (await call.get("/features"), await call.get("/files")) == before
    assert len(call.emulator.runs) == 1
    assert not call.emulator.generations


async def test_answers_are_json_dated_by_the_clock_of_the_emulator(call: Caller) -> None:
    """The `Date` header and the timestamps follow the same clock, in whole seconds."""
    assert (await call("GET", "")).headers["Date"] == "Wed, 10 Jun 2026 14:42:11 GMT"
    await asyncio.sleep(3600.7)
    reply = await call("GET", f"/runs/{await call.run()}")
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.headers["Date"] == "Wed, 10 Jun 2026 15:42:11 GMT"
    assert reply.document["createdUtc"] == "2026-06-10T15:42:11Z"


async def test_without_lists_both_list_routes_are_unknown(emulate: Emulate) -> None:
    """`lists=False` removes only `list_runs` and `list_features`."""
    call = await emulate(lists=False)
    for path in ("/runs", "/features"):
        assert (await call("GET", path)).error == (404, "not_found")
        assert call.emulator.requests[-1].operation is None
    assert (await call("POST", "/features", NEW)).status == 201
    assert (await call("GET", f"/runs/{await call.run()}")).status == 200


class TestStrict:
    """The strict emulator refuses what the contract does not have in a request."""

    @pytest.mark.parametrize(("method", "path", "body", "status"), BODIES)
    async def test_an_unknown_member_is_refused_by_name(
        self, strict: Caller, method: str, path: str, body: dict[str, Any], status: int
    ) -> None:
        """One member more, even null or in another case, is answered with 400; nothing is done.

        All members that the contract has may be sent together.
        """
        kind = {"Content-Type": "application/json"}
        for name in ("priority", "SiteUrl"):
            reply = await strict(method, path, {**body, name: None}, **kind)
            assert reply.error == (400, "invalid_request")
            assert f"'{name}'" in reply.document["message"]
        assert not strict.emulator.runs
        assert not strict.emulator.generations
        assert "New" not in strict.emulator.features
        assert (await strict(method, path, body, **kind)).status == status

    @pytest.mark.parametrize(
        ("path", "known", "unknown"),
        [
            ("/runs", "feature=Checkout&limit=5", "status=failed"),
            ("/runs", "", "cursor=after-1"),
            (CONTENT, "path=package.json", "raw"),
            ("/features", "", "limit=5"),
            ("/runs/214", "", "limit=5"),
        ],
    )
    async def test_an_unknown_query_parameter_is_refused_by_name(
        self, strict: Caller, path: str, known: str, unknown: str
    ) -> None:
        """One parameter more is answered with 400, also one without a value."""
        await strict("POST", f"{CHECKOUT}/run", {}, **{"Content-Type": "application/json"})
        assert (await strict("GET", f"{path}?{known}")).status == 200
        reply = await strict("GET", f"{path}?{known}&{unknown}")
        assert reply.error == (400, "invalid_request")
        assert f"'{unknown.partition('=')[0]}'" in reply.document["message"]


class TestFeatures:
    async def test_a_change_keeps_the_tests_and_frees_the_name(self, call: Caller) -> None:
        """The feature stays generated, with its old tests; its old name can be used again."""
        await asyncio.sleep(60)
        spec = await call.get(f"{CONTENT}?path=tests/wishlist.spec.ts")
        text = "Feature: Wishlist\n  Scenario: Other\n"
        for body in ({"gherkin": text}, {"name": "WishList"}):
            reply = await call("PATCH", WISHLIST, body)
            assert (reply.status, reply.document) == (200, OK)
        feature = await call.get("/features/WISHLIST")
        expected = {"name": "WishList", "gherkin": text, "status": "generated"}
        assert feature | expected | {"updatedUtc": "2026-06-10T14:43:11Z"} == feature
        renamed = await call.get(f"{CONTENT}?path=tests/wishlist.spec.ts")
        assert renamed["content"] == spec["content"].replace("'Wishlist'", "'WishList'")
        assert (await call("PATCH", WISHLIST, {"name": "Hearts"})).status == 200
        assert (await call("GET", WISHLIST)).status == 404
        assert (await call("POST", "/features", NEW | {"name": "Wishlist"})).status == 201


class TestFiles:
    @pytest.mark.parametrize("character", ["x", "ü", '"'])
    async def test_a_file_has_256_kilobytes_at_most(self, call: Caller, character: str) -> None:
        """The limit counts bytes of UTF-8, not characters, nor their escapes."""
        fits = character * (256 * 1024 // len(character.encode()))
        body = {"path": "Features/x", "content": fits}
        assert (await call("PUT", CONTENT, body)).status == 200
        reply = await call("PUT", CONTENT, body | {"content": fits + "x"})
        assert reply.error == (400, "invalid_request")
        assert "too large" in reply.document["message"]
