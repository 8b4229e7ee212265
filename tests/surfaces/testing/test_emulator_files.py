"""Files: lists, contents, writes, and configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Caller

CONTENT = "/files/content"


async def test_a_project_has_features_settings_tests_and_scaffolding(call: Caller) -> None:
    """The list shows path, kind and source of each file; features and tests are stored."""
    rows = await call.get("/files")
    assert all(set(row) == {"path", "kind", "source"} for row in rows)
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    kinds = {row["path"]: (row["kind"], row["source"]) for row in rows}
    assert kinds["Features/Checkout.feature"] == ("feature", "stored")
    assert kinds["Configurations/Default.config.js"] == ("config", "template")
    assert kinds["tests/checkout.spec.ts"] == ("spec", "stored")
    assert kinds["playwright.config.ts"] == ("scaffold", "template")
    assert "tests/checkout-with-gift-card.spec.ts" not in kinds


async def test_every_listed_file_can_be_read(call: Caller) -> None:
    """A file has the fields of its row, and its content."""
    for row in await call.get("/files"):
        file = await call.get(f"{CONTENT}?path={row['path'].replace(' ', '%20')}")
        assert set(file) == {"path", "kind", "source", "content"}
        assert file | row == file
        assert file["content"].endswith("\n")


async def test_a_spec_has_a_test_for_each_scenario(call: Caller) -> None:
    """Generated tests have the scenarios' names, with quotes escaped; skipped ones are skipped."""
    text = "Feature: It's\n  Scenario: It's \\ \"it\"\n    Given a\n  @skip\n  Scenario: Not\n"
    call.emulator.add_feature("It's", text)
    content = (await call.get(f"{CONTENT}?path=tests/it-s.spec.ts"))["content"]
    assert "test.describe('It\\'s'" in content
    assert "  test('It\\'s \\\\ \\\"it\\\"'," in content
    assert "test.step('Given a'" in content
    assert "  test.skip('Not'," in content


async def test_features_of_one_slug_have_files_of_their_own(call: Caller) -> None:
    """Two names that differ only in punctuation have two generated files."""
    call.emulator.add_feature("a/b")
    second = call.emulator.add_feature("a b")
    paths = {row["path"] for row in await call.get("/files")}
    assert {"tests/a-b.spec.ts", f"tests/a-b-{second.id}.spec.ts"} <= paths


@pytest.mark.parametrize(
    "path", ["Features/New.feature", "Configurations/a/b.config.js", "Features/x"]
)
async def test_a_written_file_is_stored(call: Caller, path: str) -> None:
    """The whole new content is read back, and listed as stored."""
    for content in ("first, and longer", "", "zweite, mit Ümlaut"):
        reply = await call("PUT", CONTENT, {"path": path, "content": content})
        assert (reply.status, reply.document) == (200, {"ok": True})
        file = await call.get(f"{CONTENT}?path={path}")
        assert (file["content"], file["source"]) == (content, "stored")
    assert path in [row["path"] for row in await call.get("/files")]


async def test_stored_content_wins_over_a_template(call: Caller) -> None:
    """A template is the fallback for a file that was not written."""
    path = "Configurations/Default.config.js"
    assert (await call.get(f"{CONTENT}?path={path}"))["source"] == "template"
    await call("PUT", CONTENT, {"path": path, "content": "module.exports = {};"})
    file = await call.get(f"{CONTENT}?path={path}")
    assert (file["content"], file["source"], file["kind"]) == (
        "module.exports = {};",
        "stored",
        "config",
    )


@pytest.mark.parametrize(
    "path",
    [
        "",
        "Features",
        "Features/",
        "Features/../x",
        "Features/a/../../x",
        "Features/..",
        "../Features/x",
        "/Features/x",
        "features/x",
        "tests/checkout.spec.ts",
        "playwright.config.ts",
        "FeaturesX/x",
    ],
)
async def test_only_two_folders_can_be_written(call: Caller, path: str) -> None:
    """A path outside of both, or with a segment `..`, is answered with 400, and nothing changes."""
    before = await call.get("/files")
    reply = await call("PUT", CONTENT, {"path": path, "content": "x"})
    assert reply.error == (400, "invalid_request")
    assert await call.get("/files") == before


@pytest.mark.parametrize("character", ["x", "ü", '"'])
async def test_a_file_has_256_kilobytes_at_most(call: Caller, character: str) -> None:
    """The limit counts bytes of UTF-8, not characters, nor their escapes."""
    fits = character * (256 * 1024 // len(character.encode()))
    body = {"path": "Features/x", "content": fits}
    assert (await call("PUT", CONTENT, body)).status == 200
    reply = await call("PUT", CONTENT, body | {"content": fits + "x"})
    assert reply.error == (400, "invalid_request")
    assert "too large" in reply.document["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"path": "Features/x"},
        {"content": "x"},
        {"path": 1, "content": "x"},
        {"path": "Features/x", "content": {}},
        {"path": "Features/x", "content": None},
    ],
)
async def test_a_write_needs_a_path_and_a_content(call: Caller, body: dict[str, Any]) -> None:
    """A missing field, or one of another type, is answered with 400."""
    assert (await call("PUT", CONTENT, body)).error == (400, "invalid_request")


@pytest.mark.parametrize("query", ["", "?path=", "?other=x"])
async def test_a_read_needs_a_path(call: Caller, query: str) -> None:
    """Without a path a read is answered with 400."""
    assert (await call("GET", CONTENT + query)).error == (400, "invalid_request")


async def test_an_unknown_file_is_not_found(call: Caller) -> None:
    """An unknown path is answered with 404."""
    assert (await call("GET", CONTENT + "?path=Features/x")).error == (404, "not_found")


async def test_half_a_character_does_no_harm(call: Caller) -> None:
    """A lone surrogate, which JSON can carry and UTF-8 can't, comes back as a question mark."""
    reply = await call("PUT", CONTENT, {"path": "Features/x", "content": "a\ud800b"})
    assert reply.status == 200
    assert (await call.get(CONTENT + "?path=Features/x"))["content"] == "a?b"


async def test_configurations_are_the_config_js_files_of_their_folder(call: Caller) -> None:
    """Three come with each project; a written `<Name>.config.js` is listed as `<Name>`."""
    for path in (
        "Configurations/Night.config.js",
        "Configurations/a/b.config.js",
        "Configurations/.config.js",
        "Configurations/c.json",
        "Configurations/d.js",
        "Features/e.config.js",
    ):
        written = await call("PUT", CONTENT, {"path": path, "content": "module.exports = {};"})
        assert written.status == 200
    rows = await call.get("/configs")
    assert rows == [
        {"name": name, "path": f"Configurations/{name}.config.js"}
        for name in ("Default", "Firefox", "Mobile", "Night")
    ]
