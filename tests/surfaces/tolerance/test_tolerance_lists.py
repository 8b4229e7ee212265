"""Lists in pages and lists that are cut, of a project with 42 features: all are run, or none."""

import shlex
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.amounts import by_turns
from tests.support.dialects import Dialect
from tests.support.mcp_connection import connected
from tests.support.timing import STEADY
from tests.surfaces.tolerance.tolerance_stage import Seen, type_command
from testvibe_async import ConfigError, IncompleteListError
from testvibe_async.testing import Emulator, Fault

COUNT = 42

FOLLOWED = {
    "link": Dialect(paging="link"),
    "cursor": Dialect(paging="cursor"),
    "next link": Dialect(paging="next_link"),
}
CUT = {
    "has more": (Dialect(paging="has_more"), "there are more rows than the 20 that it sent"),
    "total": (Dialect(paging="total"), "there are 42 rows, and sent 20"),
}


def emulator_with(dialect: Dialect, *, status: str = "generated", **options: Any) -> Emulator:
    """Make a service with 42 features."""
    emulator = Emulator(**dialect.options, shop=False, scenario=STEADY, **options)
    for number in range(COUNT):
        emulator.add_feature(f"Feature {number:03}", status=status)
    return emulator


async def typed(emulator: Emulator, *words: str) -> Seen:
    """Perform a command."""
    seen = Seen(emulator)
    async with emulator:
        await type_command(seen, *words)
    return seen


@pytest.mark.parametrize(("pages", "what"), by_turns([*FOLLOWED], ["--all", "feature*"]))
async def test_all_pages_are_run(pages: str, what: str) -> None:
    """Pages are put together: `run --all` and a glob dispatch each of 42 features once."""
    emulator = emulator_with(FOLLOWED[pages])
    seen = await typed(emulator, "run", what)

    assert seen.code == 0
    assert {run.feature_name for run in emulator.runs.values()} == {*emulator.features}
    assert len(emulator.runs) == COUNT
    assert emulator.count("list_features") == 3


@pytest.mark.parametrize(
    "dialect", [FOLLOWED["cursor"], Dialect(case="upper")], ids=["pages", "capitals"]
)
async def test_all_are_generated(dialect: Dialect) -> None:
    """`generate --all` costs 42 credits, no more and no fewer, also for `DRAFT` in capitals."""
    emulator = emulator_with(dialect, status="draft", credits=COUNT)
    seen = await typed(emulator, "generate", "--all", "--yes")

    assert (seen.code, emulator.credits_left) == (0, 0)
    assert "undocumented" not in seen.text


@pytest.mark.parametrize(
    ("cut", "typing"),
    by_turns(
        [*CUT],
        [
            "run --all",
            "run --all --wait",
            "run Feature*",
            "run 'Feature 001' 'Feature 0?1' --wait",
            "generate --all --yes",
            "generate Feature* --yes --watch",
        ],
    ),
)
async def test_nothing_of_a_cut_list_is_dispatched(cut: str, typing: str) -> None:
    """Commands for all say how many rows are missing and what to do; no credit is spent."""
    dialect, why = CUT[cut]
    words = shlex.split(typing)
    status = "draft" if words[0] == "generate" else "generated"
    emulator = emulator_with(dialect, status=status, credits=COUNT)
    seen = await typed(emulator, *words)

    assert (len(emulator.runs), emulator.credits_left) == (0, COUNT)
    assert seen.code == 5
    assert why in seen.text
    assert "name the features, and it is not needed" in seen.text


@pytest.mark.parametrize(("dialect", "why"), CUT.values(), ids=CUT)
class TestCutLists:
    """A list whose next page nobody can ask for is refused, wherever all of it is needed."""

    @pytest.mark.parametrize(
        ("typing", "shown", "times"),
        [
            ("run 'Feature 041' 'feature 002' --wait", "2 passed", 1),
            ("features list", "\tgenerated\t", 20),
        ],
    )
    async def test_what_needs_no_whole_list_is_done(
        self, dialect: Dialect, why: str, typing: str, shown: str, times: int
    ) -> None:
        """Names are run, also one that is not on the page that came; a list warns once."""
        seen = await typed(emulator_with(dialect), *shlex.split(typing))

        assert (seen.code, seen.text.count(why), seen.text.count(shown)) == (0, 1, times)

    async def test_a_batch_refuses(self, dialect: Dialect, why: str) -> None:
        """A batch without names raises before it dispatches anything."""
        async with emulator_with(dialect) as emulator, client_of(emulator) as client:
            for batch in (client.project().run_features(), client.project().generate_features()):
                with pytest.raises(IncompleteListError, match=why):
                    await batch

        assert (emulator.runs, emulator.generations) == ({}, {})

    async def test_tools_refuse(self, dialect: Dialect, why: str) -> None:
        """The tool that runs all says why not, and how it can; the one that lists says so too."""
        async with emulator_with(dialect) as emulator, connected(emulator) as mcp:
            text = await mcp.refused("run_features", all=True)
            assert why in text
            assert text.endswith("run_features takes their names as `features`.")
            rows = await mcp.result("list_features")

        assert (len(rows["features"]), len(emulator.runs)) == (20, 0)


@pytest.mark.parametrize("word", ["ready", "GENERATED"])
async def test_an_unknown_status_of_all_features_runs_nothing(word: str) -> None:
    """Where nobody can say which features have tests, a batch for all is refused, not empty."""
    dialect = Dialect(words={"generated": word})
    async with emulator_with(dialect) as emulator, client_of(emulator) as client:
        batch = client.project().run_features()
        if word == "GENERATED":
            assert len(await batch) == COUNT
            return
        with pytest.raises(ConfigError, match=r"undocumented status \('ready'\).* name the feat"):
            await batch

    assert emulator.runs == {}


async def test_a_glob_needs_names() -> None:
    """Where the list has no names, a glob says so; ids do."""
    emulator = emulator_with(Dialect())
    edited = Fault.edit(lambda rows: [{**row, "name": None} for row in rows])
    emulator.fail("list_features", edited)
    seen = await typed(emulator, "run", "Feature*")

    assert seen.code == 2
    assert "lists its features without names, so give ids" in seen.text
