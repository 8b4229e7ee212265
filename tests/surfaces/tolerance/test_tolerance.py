"""Plays every cell of the table of tolerance, and checks what is said against the service."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from tests.support.amounts import FULL, some
from tests.support.inner_pytest import SPEED
from tests.support.timing import STEADY
from tests.surfaces.tolerance import tolerance_stage as stage
from tests.surfaces.tolerance.tolerance import COMMANDS, FAULTS, SERVICES, Cell, cell_of
from tests.surfaces.tolerance.tolerance_stage import DRAFT, FAILING, FEATURES, Seen, Surface
from testvibe_async.testing import Emulator, Outcome
from testvibe_async.testing.operations import OPERATIONS

pytest_plugins = ["pytester"]

ALL = {"passed": 6, "failed": 1}

RIGHT: dict[Surface, tuple[int | None, dict[str, int]]] = {
    Surface.HANDLES: (None, {"passed": 1, "failed": 1, "generated": 1}),
    Surface.BATCH: (None, ALL),
    Surface.RUN_ALL: (1, ALL),
    Surface.GENERATE: (0, {"generated": 1}),
    Surface.PYTEST: (1, {**ALL, "skipped": 1}),
    Surface.TOOLS: (None, ALL),
}
"""By surface, the exit code and the verdicts that are right."""

OF_ALL = {Surface.BATCH, Surface.RUN_ALL, Surface.PYTEST, Surface.TOOLS}
"""The surfaces that run all features without being told their names."""

GENERATING = {Surface.HANDLES, Surface.GENERATE}
"""The surfaces that ask for one generation."""

NO_LIST_OF_RUNS = (
    r"this service has nothing at GET /projects/\{project\}/runs, .*"
    r"put list_runs = 'GET /…' under \[endpoints\] in \.testvibe-async\.toml"
)
CALLS = "|".join([*OPERATIONS, "wait_for_[a-z]+", "[a-z]+_features"])
OF_PROGRAMS = re.compile(
    rf"\bClient\b|\b({CALLS})\b(?! = ')|\b\w+Error\b|\b(?!TestVibe)[A-Z][a-z]+[A-Z]\w*"
)
"""What only somebody who programs with the package knows: its calls, and its classes of two words.

A call's name is a key of the settings too, as in `list_runs = 'GET /…'`.
"""


PACED = {name for name, each in SERVICES.items() if each.rate_limit is not None}
"""The services that limit the rate: whether a pause is needed depends on where ticks fall."""

PROGRESS = re.compile(r"^testvibe [.A-Za-z]+ *\[", re.MULTILINE)

# Its words are waited for as long as an outage: tests/promises/polling holds their end.
_WAITED_FOR = "other-end-words-alone"


def emulator_named(name: str, **options: Any) -> Emulator:
    """Make the emulator of a row of the table, with a few features."""
    outcome = Outcome(failing=(f"{FAILING} works",), error="no refund")
    scenario = evolve(STEADY, outcomes={FAILING: outcome})
    emulator = Emulator(**SERVICES[name].options, shop=False, scenario=scenario, **options)
    for feature in FEATURES:
        emulator.add_feature(feature)
    emulator.add_feature(DRAFT, status="draft")
    for operation, fault in FAULTS.get(name, {}).items():
        emulator.fail(operation, fault)
    return emulator


@pytest.mark.parametrize(
    ("text", "is_unfit"),
    [
        *[(text, True) for text in ("pass Client(…)", "see list_runs", "DispatchUnknown: x")],
        *[(text, False) for text in ("put list_runs = 'GET /…'", "Run.log", "Feature: Login")],
        ("KeyError", True),
    ],
)
def test_words_for_programmers_are_found(text: str, *, is_unfit: bool) -> None:
    """The check of words is no empty one; the service's own and keys of settings are fit."""
    assert bool(unfit_words(text)) is is_unfit


MORE = "the list of features is incomplete: the service says that there are"
NAME_THEM = "; name the features, and it is not needed"


@pytest.mark.parametrize(
    ("name", "code", "says", "typing"),
    [
        ("documented-routes-404", 3, NO_LIST_OF_RUNS, "runs list"),
        ("names-missing", 2, "lists its features without names, so give ids", "run Check*"),
        ("cut-with-has-more", 5, rf"{MORE} more rows than the \d.*{NAME_THEM}", "run --all"),
        ("cut-with-total", 5, rf"{MORE} \d rows, and sent \d.*{NAME_THEM}", "generate G* --yes"),
    ],
)
async def test_what_a_command_needs_is_named(name: str, code: int, says: str, typing: str) -> None:
    """A command that needs a list says what it lacks and what to do, and dispatches nothing."""
    seen = Seen(emulator_named(name))
    async with seen.emulator:
        await stage.type_command(seen, *shlex.split(typing))
    assert (seen.code, seen.begun, unfit_words(seen.text)) == (code, set(), []), seen.text
    assert re.search(says, seen.text), seen.text


def cells() -> Iterator[tuple[str, Surface]]:
    """Yield the cells to play: all, or of each row each sight once, on surfaces by turns.

    What another row shows in the same words is played there.
    """
    surfaces = list(Surface)
    sights: set[Cell] = set()
    for number, name in enumerate(SERVICES):
        if name == _WAITED_FOR:
            continue
        turned = surfaces if FULL else surfaces[number % len(surfaces) :] + surfaces
        sights.discard(Cell())
        for surface in turned[: len(surfaces)]:
            cell = cell_of(name, surface)
            if FULL or cell not in sights:
                sights.add(cell)
                yield name, surface


@pytest.mark.parametrize(("name", "surface"), some(cells(), few=3))
def test_a_cell(name: str, surface: Surface, request: pytest.FixtureRequest) -> None:
    """A user gets right results, a warning, or a clear error soon; never a wrong verdict."""
    if surface is Surface.PYTEST:
        pytester: pytest.Pytester = request.getfixturevalue("pytester")
        seen = stage.play_pytest(emulator_named(name, speed=SPEED), pytester)
    else:
        seen = stage.play(surface, emulator_named(name))
    check_truth(seen, surface)
    check_words(seen, surface)
    check_cell(seen, surface, cell_of(name, surface), is_paced=name in PACED)


def check_truth(seen: Seen, surface: Surface) -> None:
    """Nothing is said that the service did not do, and nothing that it began is lost."""
    emulator = seen.emulator
    truth = Counter[str](run.verdict for run in emulator.runs.values())
    truth.update(generation.outcome for generation in emulator.generations.values())
    for verdict in ("passed", "failed", "generated"):
        assert seen.verdicts[verdict] <= truth[verdict], seen.text

    lost = seen.begun - seen.ids
    told = max(seen.unknown, seen.verdicts["unknown"]) + seen.counted
    assert len(lost) <= told, seen.text

    began = Counter(run.feature_name for run in emulator.runs.values())
    assert max(began.values(), default=0) <= 1
    assert len(emulator.generations) <= (surface in GENERATING)
    if surface in OF_ALL:
        told = seen.verdicts["error"] + seen.verdicts["unknown"]
        assert not began or len(set(began) | set(FEATURES)) <= len(began) + told, "a silent cut"
        assert began or (seen.text.strip() and seen.code != 0)


def check_words(seen: Seen, surface: Surface) -> None:
    """A user of commands or of pytest is told nothing of calls and classes, nor is a model."""
    if surface in COMMANDS | {Surface.PYTEST}:
        assert unfit_words(seen.text) == [], seen.text
    if surface is Surface.TOOLS:
        assert "Client(" not in seen.text
        assert "Traceback" not in seen.text


def unfit_words(text: str) -> list[str]:
    """Return the words that are only for programmers; pytest's letters of progress are no word."""
    return [found[0] for found in OF_PROGRAMS.finditer(PROGRESS.sub("", text))]


def check_cell(seen: Seen, surface: Surface, cell: Cell, *, is_paced: bool) -> None:
    """The table says what is seen; where the rate is limited, pauses of a second may come too."""
    code, verdicts = RIGHT[surface]
    if cell.is_right:
        assert (seen.code, dict(seen.verdicts)) == (code, verdicts), seen.text
    else:
        assert seen.code == cell.code, seen.text
    if cell.says:
        assert re.search(cell.says, seen.text), seen.text
    else:
        pauses = [each for each in seen.warnings if re.match(r"Paused seconds=1(\.0)? ", each)]
        assert seen.warnings == (pauses if is_paced else []), seen.text
