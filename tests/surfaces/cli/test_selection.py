"""Features and configurations that words mean: names, ids, globs, exclusions, all.

A tool of the MCP server that takes the same words refuses the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.mcp_connection import connected
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.surfaces.cli.conftest import Call

SCENARIO = Scenario()
ADDED = {
    "Totals [EU]?": "generated",
    "Totals EX": "generated",
    "!Important": "generated",
    "Draft": "draft",
    "Broken": "failed",
    "Busy": "generating",
    "Login again": "generated",
}


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    async with Emulator(scenario=SCENARIO) as emulator:
        for name, status in ADDED.items():
            emulator.add_feature(name, status=status)
        emulator.add_feature("Login that is proposed", kind="suggestion")
        yield emulator


async def chosen(call: Call, typed: str) -> list[str]:
    """Return the names of the features that a command dispatches."""
    items = (await call(f"{typed} --json")).json["items"]
    return [item["feature"] for item in items if item["ref"]]


WORDS = {
    "wishlist W* Return?": ["Wishlist", "Returns"],
    "LOG*": ["Login Functionality", "Login again"],
    "'totals [eu]?'": ["Totals [EU]?"],
    "Return* {Wishlist} wishlist": ["Returns", "Wishlist"],
    "!wish* W* Return*": ["Returns"],
    "!Important": ["!Important"],
    "Check*": ["Checkout"],
    "'checkout WITH gift card' Returns": ["Returns"],  # The other one is refused.
}


@pytest.mark.parametrize("words", WORDS)
async def test_words(words: str, emulator: Emulator, call: Call) -> None:
    """A name comes before a glob; each feature is taken once, in the order typed."""
    expected = WORDS[words]
    for name in ("Wishlist", "Returns"):
        words = words.replace(f"{{{name}}}", str(emulator.features[name].id))
    assert await chosen(call, f"run {words}") == expected


REFUSED = {
    "Chekout": "there is no feature 'Chekout': did you mean 'Checkout'?",
    "999": "there is no feature '999': there are ",
    "!x* Returns": "no feature matches 'x*': there are 'Address book', ",
    "Returns !return?": "the exclusions leave no feature: '!return?'",
    "!return?": "exclusions alone choose nothing: give names too, or ",
    "Returns --config Moblie": "there is no configuration 'Moblie': did you mean 'Mobile'?",
}


@pytest.mark.parametrize("typed", REFUSED)
async def test_words_without_a_meaning(typed: str, emulator: Emulator, call: Call) -> None:
    """They are refused in the same words, before anything is dispatched."""
    (await call(f"run {typed}")).refuses(REFUSED[typed])
    words, _, config = typed.partition(" --config ")
    arguments = {"features": words.split(), "config": config or None}
    async with connected(emulator) as mcp:
        said = await mcp.refused("run_features", **arguments)
    assert said.startswith(f"Nothing was started: {REFUSED[typed]}")
    assert not emulator.count("run_feature")


async def test_all(emulator: Emulator, call: Call) -> None:
    """All are those with tests for runs, those without for generations; the rest is told."""
    ready = [
        each.name
        for each in emulator.features.values()
        if each.status == "generated" and each.kind != "suggestion"
    ]
    assert await chosen(call, "run --all") == ready
    rest = [name for name in ready if not name.startswith("Log") and name != "Returns"]
    assert await chosen(call, "run --all !Log* !returns") == rest
    said = (await call("run Check*")).errors
    assert said.startswith("Left out without tests (draft): Checkout with gift card.\n")
    odd = {"id": 999, "name": "Odd", "status": "archived"}
    emulator.fail("list_features", Fault.edit(lambda rows: [*rows, odd]))
    said = (await call("run --all")).errors
    assert "suggestions: Abandoned cart reminder, Login that is proposed" in said
    assert "status 'archived', which is not documented: Odd" in said
    assert (await chosen(call, "generate --all --yes"))[-2:] == ["Draft", "Broken"]
    assert "without tests (draft): Checkout with gift card, Draft" in said


async def test_list_that_is_not_whole(emulator: Emulator, call: Call) -> None:
    """A list that has not all rows, or no names, refuses no name; a glob needs a whole one."""
    await call("run Checkout")
    rule = emulator.fail(
        "list_features", Fault.edit(lambda rows: {"items": rows[:2], "hasMore": True})
    )
    assert "Wishlist" in await chosen(call, "run Wishlist Returns")
    ended = await call("run W*")
    assert (ended.code, ended.errors.count("incomplete")) == (5, 1)
    rule.remove()

    def nameless(rows: list[dict[str, Any]]) -> object:
        return [row | {"name": ""} for row in rows]

    for fault in (Fault.edit(nameless), Fault.status(404), Fault.status(503)):
        rule = emulator.fail("list_features", fault)
        await call("run Checkout Retruns")
        assert emulator.requests[-1].status == 404, "what is not known is asked for"
        rule.remove()
    emulator.fail("list_features", Fault.body(b"[]"))
    (await call("run --all")).refuses(
        "no feature has tests to run: generate them first, with testvibe-async generate --all"
    )
    (await call("run x*")).refuses("the project has none")
