"""The demo: on virtual time in this process, where it takes none; on real time in another."""

from __future__ import annotations

import asyncio
import re
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from rich.console import Console

from testvibe_async import GenerationFailedError
from testvibe_async.cli.closing import NAMED_IN_FLIGHT
from testvibe_async.cli.demo import demo, perform
from testvibe_async.cli.output import Output
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from pathlib import Path

QUICK = Scenario(
    generation_warm_up=(1, 1),
    generation_section=(1, 1),
    verification=(1, 1),
    failing_generations=0,
    run_queue=(1, 1),
    run_duration=(2, 6),
    failing_runs=0.3,
)
"""Generates three scenarios in 5 s, runs in 3 to 7 s."""

LINE = re.compile(r" *[\d.]+ s +\d+/17  (run \d+|generation) +(\w+) +(.*)")

ENDED_ROW = re.compile(r"\S +run \d+ +\S*(?:passed|failed)")


class ConsoleOutput(Output):
    """An output to a console in memory."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    @property
    def is_live(self) -> bool:
        return self.console.is_terminal


async def play(emulator: Emulator, *, live: bool = False, stop_at: float | None = None) -> str:
    """Play the demo and return what it showed; stop it after some seconds as Ctrl-C does."""
    written = StringIO()
    output = ConsoleOutput(Console(file=written, width=80, height=24, force_terminal=live))
    playing = asyncio.create_task(perform(output, emulator, poll_interval=0.3))
    if stop_at is not None:
        asyncio.get_running_loop().call_later(stop_at, playing.cancel)
        with pytest.raises(asyncio.CancelledError):
            await playing
    await asyncio.wait([playing])
    if not playing.cancelled() and (error := playing.exception()):
        error.add_note(written.getvalue())
        raise error
    return written.getvalue()


async def test_each_operation_goes_from_the_queue_to_its_end() -> None:
    """Every operation has a line for each of its phases, and ends as it did at the service."""
    emulator = Emulator(scenario=QUICK)
    words: dict[str, list[str]] = {}
    for line in (await play(emulator)).splitlines():
        if match := LINE.fullmatch(line):
            words.setdefault(match[1], []).append(match[2])
    assert words.pop("generation") == ["queued", "generating", "generated"]
    assert words == {
        f"run {run.id}": ["queued", "running", run.verdict] for run in emulator.runs.values()
    }
    assert len(words) == 16


async def test_all_features_run_at_once() -> None:
    """All features except suggestions are run together, the one just generated among them."""
    emulator = Emulator(scenario=QUICK)
    await play(emulator)
    assert emulator.max_active_runs == len(emulator.runs) == 16
    names = {run.feature_name for run in emulator.runs.values()}
    assert names == {name for name, each in emulator.features.items() if each.kind == "feature"}
    assert [each.feature_id for each in emulator.generations.values()] == [
        emulator.features["Checkout with gift card"].id
    ]


async def test_results_are_printed_at_the_end() -> None:
    """The failed tests with their errors come last, then the counts and what it took."""
    emulator = Emulator(scenario=QUICK)
    text = (await play(emulator)).rpartition("passed      ")[2]
    failed = [run for run in emulator.runs.values() if run.verdict == "failed"]
    assert 3 <= len(failed) < 16
    for run in failed:
        for case in run.cases():
            line = f"{run.feature_name}, run {run.id}: {case.name}\n"
            assert (line in text) == (case.status == "failed")
            assert case.error is None or case.error.splitlines()[0] in text
    passed = 16 - len(failed)
    assert f"16 runs at once: {passed} passed, {len(failed)} failed; failing tests are" in text
    assert f"1 generation and 16 runs took {emulator.count()} requests and " in text


async def test_outcome_without_failures_excuses_nothing() -> None:
    """Where all passed, failures are not mentioned."""
    text = await play(Emulator(scenario=evolve(QUICK, failing_runs=0)))
    assert "16 runs at once: 16 passed.\n" in text


async def test_demo_takes_about_fifteen_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """With its own scenario the demo is over in 10 to 16 s, and some tests fail."""
    await demo()
    took = asyncio.get_running_loop().time()
    assert 10 < took < 16
    output = capsys.readouterr().out
    assert re.search(r"16 runs at once: \d+ passed, [3-9] failed", output)
    assert "\x1b" not in output


async def test_live_demo_leaves_the_table_and_the_cursor() -> None:
    """On a terminal the whole table stays at the end, with the cursor shown."""
    text = await play(Emulator(scenario=QUICK), live=True)
    left = text.rpartition("\x1b[?25h")[2]
    assert len(ENDED_ROW.findall(left)) == 16
    assert "16 runs at once" in left


@pytest.mark.parametrize("live", [False, True])
async def test_stopped_demo_names_what_is_in_flight(live: bool) -> None:  # noqa: FBT001 - a case
    """Stopped in the middle it leaves no table, and names each operation that is not over."""
    emulator = Emulator(scenario=QUICK)
    text = await play(emulator, live=live, stop_at=10.0)
    left = text.rpartition("\x1b[?25h")[2]
    named = re.findall(r"^  run (\d+)  ", left, flags=re.MULTILINE)
    active = {run.id for run in emulator.active_runs()}
    assert {int(number) for number in named} <= active
    assert len(named) == NAMED_IN_FLIGHT < len(active)
    assert f"  and {len(active) - NAMED_IN_FLIGHT} more\n" in left
    assert "Elapsed" not in left


async def test_demo_stopped_at_once_has_nothing_in_flight() -> None:
    """Stopped before the first dispatch it says so."""
    emulator = Emulator(scenario=QUICK)
    emulator.fail("list_features", Fault.hang())
    assert "Stopped after 1.0 s, with nothing in flight.\n" in await play(emulator, stop_at=1.0)


async def test_failed_generation_ends_the_demo() -> None:
    """A generation that failed is raised as an error."""
    with pytest.raises(GenerationFailedError, match="Checkout with gift card"):
        await play(Emulator(scenario=Scenario(failing_generations=1)))


async def test_failed_dispatch_is_printed_at_the_end() -> None:
    """Where one dispatch fails, the others run all the same, and the reason is printed."""
    emulator = Emulator(scenario=evolve(QUICK, failing_runs=0))
    emulator.fail("run_feature", Fault.status(403), times=1)
    text = await play(emulator)
    assert "\n1 error: The emulator was told to answer 403.\n" in text
    assert "16 runs at once: 15 passed, 1 error.\n" in text


async def test_folder_of_features_takes_the_shops_place(tmp_path: Path) -> None:
    """The first feature of a folder is generated, and then all are run."""
    for name in ("Apples", "Pears [bold]ripe[/bold]"):
        feature = f"Feature: {name}\n  Scenario: Peel\n    Given one\n"
        (tmp_path / f"{name[:5]}.feature").write_text(feature)
    text = await play(Emulator(scenario=QUICK, features=tmp_path))
    assert text.count("generating") == text.count("generating  Apples") == 1
    assert "2 runs at once" in text
    assert "  Pears [bold]ripe[/bold]\n" in text
