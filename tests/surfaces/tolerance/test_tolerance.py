"""Plays every cell of the table of tolerance, and checks what is said against the service."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from tests.support.amounts import FULL, by_turns, some
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
    Surface.NAMED: (None, {"passed": 2, "failed": 1}),
    Surface.RUN_ALL: (1, ALL),
    Surface.RUN: (1, {"failed": 1}),
    Surface.GENERATE: (0, {"generated": 1}),
    Surface.FEATURES: (0, {}),
    Surface.PYTEST: (1, {**ALL, "skipped": 1}),
    Surface.TOOLS_ALL: (None, ALL),
    Surface.TOOLS_ONE: (None, {"failed": 1, "generated": 1}),
}
"""By surface, the exit code and the verdicts that are right."""

TOOLS = {Surface.TOOLS_ALL, Surface.TOOLS_ONE}
OF_ALL = {Surface.BATCH, Surface.RUN_ALL, Surface.PYTEST, Surface.TOOLS_ALL}
"""The surfaces that run all features without being told their names."""

GENERATING = {Surface.HANDLES, Surface.GENERATE, Surface.TOOLS_ONE}
"""The surfaces that ask for one generation."""

NO_LIST_OF_RUNS = (
    r"this service has nothing at GET /projects/\{project\}/runs, .*"
    r"put list_runs = 'GET /…' under \[endpoints\] in \.testvibe-async\.toml"
)
MAX_POLLS_AFTER_END = 3
SLACK_SECONDS = 15.0
"""Longest time that a surface takes beyond that of its operations: a few polls, or retries."""

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


@pytest.mark.parametrize(
    ("name", "code", "says", "typing"),
    [
        ("documented-routes-404", 3, NO_LIST_OF_RUNS, "runs list"),
        ("names-missing", 2, "lists its features without names, so give ids", "run Check*"),
        *[
            (name, 5, f"{MORE} {rows}.*; name the features, and it is not needed", typing)
            for (name, rows), typing in by_turns(
                [
                    ("cut-with-has-more", r"more rows than the \d"),
                    ("cut-with-total", r"\d rows, and sent \d"),
                ],
                [
                    *("run --all", "run --all --wait", "run Check*", "run Login 'Check?ut' --wait"),
                    *("generate --all --yes", "generate G* --yes --watch"),
                ],
            )
        ],
    ],
)
async def test_what_a_command_needs_is_named(name: str, code: int, says: str, typing: str) -> None:
    """A command that needs a list says what it lacks and what to do, and dispatches nothing."""
    seen = Seen(emulator_named(name))
    async with seen.emulator:
        await stage.type_command(seen, *shlex.split(typing))
    assert (seen.code, seen.begun, unfit_words(seen.text)) == (code, set(), []), seen.text
    assert re.search(says, seen.text), seen.text


@pytest.mark.parametrize("name", ["paged-by-cursor", "title-case"])
async def test_all_are_generated(name: str) -> None:
    """`generate --all` costs as many credits as there are drafts, on all pages, `DRAFT` as well."""
    seen = Seen(emulator_named(name, credits=4))
    async with seen.emulator:
        for number in range(3):
            seen.emulator.add_feature(f"Draft {number}", status="draft")
        await stage.type_command(seen, "generate", "--all", "--yes")
    assert (seen.code, seen.emulator.credits_left) == (0, 0)


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
    check_bounds(seen, surface)
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


def check_bounds(seen: Seen, surface: Surface) -> None:
    """Nobody waits long for nothing, and no answer is asked for over and over."""
    operations: list[Any] = [*seen.emulator.runs.values(), *seen.emulator.generations.values()]
    if surface is not Surface.PYTEST:  # its time is the machine's
        seconds = sum({each.finished_at - each.created_at for each in operations})
        in_turn = sum(each.finished_at - each.created_at for each in operations)
        longest = in_turn if surface in GENERATING else seconds
        waits = max(1, len(operations)) if surface in GENERATING else 1
        assert seen.seconds <= longest + SLACK_SECONDS * waits
    for run in seen.emulator.runs.values():
        assert _polls(seen, "get_run", since=run.finished_at, run_id=run.id) <= MAX_POLLS_AFTER_END
    for generation in seen.emulator.generations.values():
        polls = _polls(seen, "get_generation_status", since=generation.finished_at)
        assert polls <= MAX_POLLS_AFTER_END
    if not operations:
        # Once before the first run, and once before or after each dispatch.
        assert seen.polls <= 1 + sum(each.method == "POST" for each in seen.requests)


def _polls(seen: Seen, operation: str, *, since: float, run_id: int | None = None) -> int:
    return sum(
        (each.operation, each.run_id) == (operation, run_id) and each.at >= since
        for each in seen.requests
    )


def check_words(seen: Seen, surface: Surface) -> None:
    """A user of commands or of pytest is told nothing of calls and classes, nor is a model."""
    if surface in COMMANDS | {Surface.PYTEST}:
        assert unfit_words(seen.text) == [], seen.text
    if surface in TOOLS:
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
