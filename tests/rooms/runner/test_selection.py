"""Which features and configurations words mean: names, ids, globs, exclusions, all."""

from typing import Any

import pytest

from testvibe_async import ConfigError, Feature, IncompleteListError, Project, ServerError
from testvibe_async.runner.selection import Selection, select
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.testing import Emulator, Fault


async def selected(project: Project, *words: str, **options: Any) -> Selection:
    members: dict[str, Any] = {"kind": "run", "features": words, **options}
    return await select(project, BatchSpec(**members))


async def chosen(project: Project, *words: str, **options: Any) -> list[str]:
    found = await selected(project, *words, **options)
    return [each.name if isinstance(each, Feature) else each for each in found.features]


async def test_mistyped_name(emulator: Emulator, project: Project) -> None:
    """It is refused before anything is dispatched, with the name that may have been meant."""
    for word, meant in (("Retruns", "did you mean 'Returns'"), ("9999", "there are ")):
        with pytest.raises(ConfigError, match=f"there is no feature '{word}': {meant}"):
            await chosen(project, "Checkout", word)
        with pytest.raises(ConfigError, match=f"there is no feature '{word}'"):
            await select(project, BatchSpec(kind="run", features=[word]), checks_names=True)
    nameless = Fault.edit(lambda rows: [row | {"name": ""} for row in rows])
    for fault in (nameless, Fault.status(404)):  # Then only the service can say.
        rule = emulator.fail("list_features", fault)
        assert await chosen(project, "Checkout", "Retruns") == ["Checkout", "Retruns"]
        rule.remove()
    emulator.requests.clear()
    assert await chosen(project, "Retruns", "retruns") == ["retruns"]
    assert emulator.requests == []


async def test_name_beyond_the_end_of_a_list(emulator: Emulator, project: Project) -> None:
    """A list that is not whole refuses no name; a glob needs a whole one."""
    emulator.fail("list_features", Fault.edit(lambda rows: {"items": rows[:2], "hasMore": True}))
    assert "Wishlist" in await chosen(project, "Wishlist", "Returns")
    with pytest.raises(IncompleteListError):
        await chosen(project, "W*")


async def test_a_name_and_its_id_are_one_feature(emulator: Emulator, project: Project) -> None:
    """The list says which are the same; a note says so."""
    number = emulator.features["Returns"].id
    found = await selected(project, "Returns", str(number))
    assert [each.name for each in found.features if isinstance(each, Feature)] == ["Returns"]
    assert found.notes == ["Named twice, and meant once: Returns."]
    emulator.fail("list_features", Fault.status(404))
    assert await chosen(project, "Returns", str(number)) == ["Returns", str(number)]


async def test_what_all_leaves_out_is_told(emulator: Emulator, project: Project) -> None:
    """With all it says what was left out, and why."""
    emulator.add_feature("Proposed", kind="suggestion")
    odd = {"id": 999, "name": "Odd", "status": "archived"}
    emulator.fail("list_features", Fault.edit(lambda rows: [*rows, odd]))
    (note,) = (await selected(project, is_all=True)).notes
    assert note.startswith("Left out: ")
    assert "suggested only: " in note
    assert "Proposed" in note
    assert "status 'archived', which is not documented: Odd" in note
    assert "without tests (draft): Checkout with gift card" in note


async def test_draft_of_a_glob_is_left_out(emulator: Emulator, project: Project) -> None:
    """A run of what a glob matches leaves out what has no tests, with a note; a name does not."""
    found = await selected(project, "Check*")
    assert [each.name for each in found.features if isinstance(each, Feature)] == ["Checkout"]
    assert found.notes == ["Left out: without tests (draft): Checkout with gift card."]
    assert await chosen(project, "checkout WITH gift card", "Returns") == [
        "Checkout with gift card",
        "Returns",
    ]
    both = ["Checkout", "Checkout with gift card"]
    assert await chosen(project, "Check*", on_conflict="generate") == both
    assert await chosen(project, "Check*", kind="generation") == both
    emulator.fail(
        "list_features", Fault.edit(lambda rows: [row | {"status": "ready"} for row in rows])
    )
    assert await chosen(project, "Check*") == both  # Nobody can say what the word means.


async def test_exclusions(emulator: Emulator, project: Project) -> None:
    """`!` before a word takes away what it matches, wherever it stands, also of all."""
    assert await chosen(project, "!wish*", "W*", "Return*") == ["Returns"]
    every = await chosen(project, is_all=True)
    assert await chosen(project, "!Log*", "!returns", is_all=True) == [
        name for name in every if not name.startswith("Log") and name != "Returns"
    ]
    emulator.add_feature("!Important")
    assert await chosen(project, "!Important") == ["!Important"]
    with pytest.raises(ConfigError, match=r"no feature matches 'x\*'"):
        await chosen(project, "Returns", "!x*")
    for words, said in {
        ("!Log*",): "exclusions alone choose nothing",
        ("!Returns", "Returns"): "the exclusions leave no feature: '!Returns'",
        ("Returns", "!Ret*", "!Log*"): "the exclusions leave no feature: '!Ret\\*', '!Log\\*'",
    }.items():
        with pytest.raises(ConfigError, match=said):
            await chosen(project, *words)
    with pytest.raises(ConfigError, match="the exclusions leave no feature"):
        await chosen(project, "!*", is_all=True)
    assert await chosen(project, "!Log*", "*gift*") == []  # It is left out, with a note.


async def test_configurations_as_the_service_spells_them(
    emulator: Emulator, project: Project
) -> None:
    """Case does not matter; an unknown one is refused, unless the service lists none."""
    assert (await selected(project, "Returns")).configs == (None,)
    found = await selected(project, "Returns", configs=("mobile", "DEFAULT", "Mobile"))
    assert found.configs == ["Mobile", "Default"]
    assert "Mobile" in found.config_names
    with pytest.raises(ConfigError, match="there is no configuration 'Mobil': did you mean"):
        await selected(project, "Returns", configs=("Mobil",))
    emulator.fail("list_configs", Fault.status(404))
    assert (await selected(project, "Returns", configs=("mobil",))).configs == ("mobil",)


@pytest.mark.parametrize(("words", "is_wider"), [("Log*", False), ("W* R*", False), ("*", True)])
async def test_whether_there_may_be_more_than_was_typed(
    words: str,
    is_wider: bool,  # noqa: FBT001 - a parameter of the test
    project: Project,
) -> None:
    """All are more, and so are several of one glob: a person is to be asked before it costs."""
    found = await selected(project, *words.split(), kind="generation")
    assert found.is_wider is is_wider
    assert (await selected(project, kind="generation", is_all=True)).is_wider


async def test_list_that_is_refused(emulator: Emulator, project: Project) -> None:
    """Where words need the list, its error is raised; several names are then as typed."""
    emulator.fail("list_features", Fault.status(503))
    for options in ({"features": ("W*",)}, {"features": ("!a", "b")}, {"is_all": True}):
        with pytest.raises(ServerError):
            await selected(project, **options)
    assert await chosen(project, "a", "b") == ["a", "b"]


def test_spec_outlives_its_process() -> None:
    """What is stored is what is read; members of another release are left out."""
    spec = BatchSpec(kind="run", features=["a", "!b"], configs=["Mobile"], attempts=2)
    assert BatchSpec.from_dict({**spec.to_dict(), "more": 1}) == spec


async def test_glob_is_matched_in_any_case(emulator: Emulator, project: Project) -> None:
    """A glob matches features by their names, suggestions excluded."""
    emulator.add_feature("Login as somebody else")
    emulator.add_feature("Login that is proposed", kind="suggestion")
    names = await chosen(project, "LOG*")
    assert names == ["Login Functionality", "Login as somebody else"]


async def test_globs_and_names_together(project: Project) -> None:
    """Each feature is taken once, in the order typed."""
    names = await chosen(project, "wishlist", "W*", "Return?")
    assert names == ["Wishlist", "Returns"]


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
    """All are those with tests for runs, and those without for generations; no suggestions."""
    emulator.add_feature("Proposed", kind="suggestion")
    emulator.add_feature("Draft", status="draft")
    emulator.add_feature("Broken", status="failed")
    emulator.add_feature("Busy", status="generating")
    features = emulator.features.values()
    ready = [
        each.name for each in features if each.status == "generated" and each.kind != "suggestion"
    ]
    assert await chosen(project, is_all=True) == ready
    assert (await chosen(project, is_all=True, kind="generation"))[-2:] == ["Draft", "Broken"]


async def test_nothing_or_both_is_a_wrong_call(emulator: Emulator, project: Project) -> None:
    """Neither names nor all, or both, is refused without a request."""
    with pytest.raises(ConfigError, match="which features"):
        await chosen(project)
    with pytest.raises(
        ConfigError, match="all takes no names but exclusions: leave out all, or 'Login'"
    ):
        await chosen(project, "Login", is_all=True)
    assert emulator.requests == []
