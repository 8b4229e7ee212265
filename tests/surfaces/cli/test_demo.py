"""The demo: on virtual time in this process, where it takes none; on real time in another."""

from __future__ import annotations

import asyncio
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.surfaces.cli.conftest import later
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call

LINE = re.compile(r" *[\d.]+ s +\d+/\d+  (run \d+|generation) +(\w+) +(.*)")


@pytest.fixture
def emulators(monkeypatch: pytest.MonkeyPatch) -> list[Emulator]:
    """The emulators that were made."""
    made: list[Emulator] = []

    class Kept(Emulator):
        def __init__(self, **options: object) -> None:
            super().__init__(**options)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr("testvibe_async.cli.emulator.Emulator", Kept)
    return made


async def test_what_has_no_tests_is_generated_and_all_run(
    call: Call, emulators: list[Emulator]
) -> None:
    """Each operation is shown from the queue to its end, as by the commands that are named."""
    ended = await call("demo")
    assert ended.code == 0
    assert 10 < asyncio.get_running_loop().time() < 20
    (emulator,) = emulators
    words: dict[str, list[str]] = {}
    for line in ended.lines:
        if match := LINE.fullmatch(line):
            words.setdefault(match[1], []).append(match[2])
    assert words.pop("generation")[-1] == "generated"
    assert {name: seen[-1] for name, seen in words.items()} == {
        f"run {run.id}": run.verdict for run in emulator.runs.values()
    }
    assert emulator.max_active_runs == len(words) == 16
    assert re.search(r"16 in [\d.]+ s: \d+ passed, [3-9] failed", ended.output)
    for command in re.findall(r"^\$ testvibe-async (.*)", ended.output, re.MULTILINE):
        assert command in {"generate --all -w", "run --all --wait"}


@pytest.mark.parametrize(("seconds", "left"), [(1.0, "generation"), (10.0, "run")])
async def test_a_stopped_demo_names_what_is_in_flight(
    seconds: float, left: str, call: Call
) -> None:
    """Ctrl-C ends it with 130 and the operations in flight; no further command begins."""
    later(seconds, signal.raise_signal, signal.SIGINT)
    ended = await call("demo")
    assert ended.code == 130
    assert ended.output.count("$ testvibe-async") == (1 if left == "generation" else 2)
    stopped = (ended.output + ended.errors).partition("Stopped: ")[2]
    assert re.search(rf"^  {left} ", stopped, re.MULTILINE)
    assert "the service that they ran at has ended" in ended.output


async def test_a_failed_command_ends_the_demo(call: Call, emulators: list[Emulator]) -> None:
    """Where the service refuses, the exit code is that of the command, and nothing more begins."""
    asyncio.get_running_loop().call_soon(
        lambda: emulators[0].fail("generate_feature", Fault.status(403))
    )
    ended = await call("demo")
    assert ended.code == 3
    assert ended.output.count("$ testvibe-async") == 1


async def test_folder_of_features_takes_the_shops_place(call: Call, tmp_path: Path) -> None:
    """The features of a folder run instead; the emulator has tests of them."""
    for name in ("Apples", "Pears [bold]ripe[/bold]"):
        feature = f"Feature: {name}\n  Scenario: Peel\n    Given one\n"
        (tmp_path / f"{name[:5]}.feature").write_text(feature)
    ended = await call("demo --features", str(tmp_path))
    assert ended.code == 0
    assert "\n2 in " in ended.output
    assert "  Pears [bold]ripe[/bold]: " in ended.output
