"""The features that were chosen: by names, ids, globs, all; and what matches none."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import pytest

from testvibe_async import ConfigError, Feature
from testvibe_async.cli.jobs import choose
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async import Project
    from testvibe_async.testing import Emulator


async def chosen(
    project: Project, *typed: str, everything: Callable[[Feature], bool] | None = None
) -> list[str]:
    features = await choose(project, typed, everything=everything)
    return [each.name if isinstance(each, Feature) else each for each in features]


async def test_plain_names_need_no_list(emulator: Emulator, project: Project) -> None:
    """Names are taken as they are, each once, and nothing is requested."""
    assert await chosen(project, "Returns", "returns", "nosuch") == ["returns", "nosuch"]
    assert emulator.requests == []


async def test_a_name_and_its_id_are_one_feature(emulator: Emulator, project: Project) -> None:
    """Where names and ids are mixed, the list says which are the same; a note says so."""
    number = emulator.features["Returns"].id
    notes: list[str] = []
    features = await choose(
        project, ["Returns", str(number), "nosuch"], everything=None, note=notes.append
    )
    assert [each.name if isinstance(each, Feature) else each for each in features] == [
        "Returns",
        "nosuch",
    ]
    assert notes == ["Named twice, and meant once: Returns."]
    emulator.fail("list_features", Fault.status(404))
    assert await chosen(project, "Returns", str(number)) == ["Returns", str(number)]


async def test_what_all_leaves_out_is_told(emulator: Emulator, project: Project) -> None:
    """With --all it says what was left out, and why."""
    emulator.add_feature("Proposed", kind="suggestion")
    odd = {"id": 999, "name": "Odd", "status": "archived"}
    emulator.fail("list_features", Fault.edit(lambda rows: [*rows, odd]))
    notes: list[str] = []
    await choose(project, [], everything=attrgetter("has_tests"), note=notes.append)
    (note,) = notes
    assert note.startswith("Left out: ")
    assert "suggested only: " in note
    assert "Proposed" in note
    assert "status 'archived', which is not documented: Odd" in note
    assert "without tests (draft): Checkout with gift card" in note


async def test_glob_is_matched_in_any_case(emulator: Emulator, project: Project) -> None:
    """A glob matches features by their names, suggestions excluded."""
    emulator.add_feature("Login as somebody else")
    emulator.add_feature("Login that is proposed", kind="suggestion")
    names = await chosen(project, "LOG*")
    assert names == ["Login Functionality", "Login as somebody else"]


async def test_globs_and_names_together(project: Project) -> None:
    """Each feature is taken once, in the order typed; a name need not be in the list."""
    names = await chosen(project, "nosuch", "wishlist", "W*", "Return?")
    assert names == ["nosuch", "Wishlist", "Returns"]


async def test_name_with_the_signs_of_a_glob(emulator: Emulator, project: Project) -> None:
    """An exact name takes precedence over its meaning as a glob."""
    emulator.add_feature("Totals [EU]?")
    emulator.add_feature("Totals EX")
    assert await chosen(project, "totals [eu]?") == ["Totals [EU]?"]


async def test_id_beside_a_glob(emulator: Emulator, project: Project) -> None:
    """An id chooses its feature also beside a glob."""
    wishlist = emulator.features["Wishlist"].id
    assert await chosen(project, "Return*", str(wishlist), "wishlist") == ["Returns", "Wishlist"]


async def test_glob_that_matches_nothing(emulator: Emulator, project: Project) -> None:
    """A glob without a match is refused with examples of names, or that there are none."""
    with pytest.raises(ConfigError, match=r"no feature matches 'x\*': the project has \d+, such"):
        await chosen(project, "Login*", "x*")
    emulator.features.keys()
    for name in list(emulator.features):
        await project.delete_feature(name)
    with pytest.raises(ConfigError, match="the project has none"):
        await chosen(project, "*")


async def test_all_takes_what_can_be_run_or_generated(emulator: Emulator, project: Project) -> None:
    """With --all the predicate decides; suggestions are never taken."""
    emulator.add_feature("Proposed", kind="suggestion")
    emulator.add_feature("Draft", status="draft")
    emulator.add_feature("Broken", status="failed")
    emulator.add_feature("Busy", status="generating")
    features = emulator.features.values()
    ready = [
        each.name for each in features if each.status == "generated" and each.kind != "suggestion"
    ]
    assert await chosen(project, everything=attrgetter("has_tests")) == ready
    assert (await chosen(project, everything=attrgetter("needs_tests")))[-2:] == ["Draft", "Broken"]


async def test_nothing_or_both_is_a_wrong_call(emulator: Emulator, project: Project) -> None:
    """Neither names nor --all, or both, is refused without a request."""
    with pytest.raises(ConfigError, match="which features"):
        await chosen(project)
    with pytest.raises(ConfigError, match="--all takes no names: leave out --all, or 'Login'"):
        await chosen(project, "Login", everything=attrgetter("has_tests"))
    assert emulator.requests == []
