"""Features and configurations that words mean: names, ids, globs, exclusions, all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

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
    """Return the names of the features that a command would dispatch."""
    return [line.split("\t")[0] for line in (await call(f"{typed} --dry-run")).lines]


WORDS = {
    "wishlist W* Return?": ["Wishlist", "Returns"],
    "LOG*": ["Login Functionality", "Login again"],
    "'totals [eu]?'": ["Totals [EU]?"],
    "Return* {Wishlist} wishlist": ["Returns", "Wishlist"],
    "Returns {Returns}": ["Returns"],
    "!wish* W* Return*": ["Returns"],
    "!Important": ["!Important"],
    "Check*": ["Checkout"],
    "'checkout WITH gift card' Returns": ["Returns"],  # The other one is refused.
    "Check* --on-conflict generate": ["Checkout", "Checkout with gift card"],
}


@pytest.mark.parametrize("words", WORDS)
async def test_words(words: str, emulator: Emulator, call: Call) -> None:
    """A name comes before a glob; each feature is taken once, in the order typed."""
    ids = {name: each.id for name, each in emulator.features.items()}
    typed = words.replace("{Wishlist}", str(ids["Wishlist"]))
    assert (
        await chosen(call, f"run {typed.replace('{Returns}', str(ids['Returns']))}") == WORDS[words]
    )


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
    assert (await chosen(call, "generate --all"))[-2:] == ["Draft", "Broken"]
    either = await chosen(call, "run --all --on-conflict generate")
    assert sorted(either) == sorted([*ready, "Checkout with gift card", "Draft", "Broken", "Busy"])
    said = (await call("run Check* --dry-run")).errors
    assert said.startswith("Left out: without tests (draft): Checkout with gift card.\n")
    odd = {"id": 999, "name": "Odd", "status": "archived"}
    emulator.fail("list_features", Fault.edit(lambda rows: [*rows, odd]))
    said = (await call("run --all --dry-run")).errors
    assert "suggestions: Abandoned cart reminder, Login that is proposed" in said
    assert "status 'archived', which is not documented: Odd" in said
    assert "without tests (draft): Checkout with gift card, Draft" in said


async def test_list_that_is_not_whole(emulator: Emulator, call: Call) -> None:
    """A list that has not all rows, or no names, refuses no name; a glob needs a whole one."""
    await call("run Checkout")
    rule = emulator.fail(
        "list_features", Fault.edit(lambda rows: {"items": rows[:2], "hasMore": True})
    )
    assert "Wishlist" in await chosen(call, "run Wishlist Returns")
    ended = await call("run W* --dry-run")
    assert (ended.code, ended.errors.count("incomplete")) == (5, 1)
    rule.remove()

    def nameless(rows: list[dict[str, Any]]) -> object:
        return [row | {"name": ""} for row in rows]

    for fault in (Fault.edit(nameless), Fault.status(404), Fault.status(503)):
        rule = emulator.fail("list_features", fault)
        assert await chosen(call, "run Checkout Retruns") == ["Checkout", "Retruns"]
        rule.remove()
    emulator.fail("list_features", Fault.body(b"[]"))
    (await call("run --all")).refuses("no feature has tests to run: generate some first")
    (await call("run x*")).refuses("the project has none")
