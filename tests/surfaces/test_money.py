"""Generations cost credits: each surface pays for exactly what was asked for.

The table has each command that starts a generation, and each mishap. That of the tools is in
`mcp_server`.
"""

import asyncio
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from attrs import define, field, frozen

from tests.support.amounts import FULL
from tests.support.inner_pytest import inner, service, service_options
from tests.support.timing import STEADY
from tests.surfaces.cli.conftest import Call, call, machine, use
from testvibe_async.testing import Emulator, Fault

__all__ = ["call", "inner", "machine", "service", "service_options"]

pytest_plugins = ["pytester"]

HOUR = 3_600.0

EARLY = 5.0
"""When a caller gives up whose dispatch has no answer."""

LATER = 20.0
"""When one does whose generation is in flight."""

LOST = Fault.lost()
UNREADABLE = Fault.edit(lambda _: b"<!doctype html><title>Accepted</title>")


def paid(emulator: Emulator) -> int:
    """Return how many generations were dispatched and accepted."""
    return sum(made.created_at >= 0 for made in emulator.generations.values())


@define
class Stage:
    """A service, and a machine with a folder of states."""

    emulator: Emulator
    folder: Path
    call: Call
    monkeypatch: pytest.MonkeyPatch
    states: Path = field(init=False)
    """Where the process that runs keeps its state."""

    def __attrs_post_init__(self) -> None:
        self.move_to("first")

    def move_to(self, name: str) -> None:
        """Have the next process keep its state in another folder."""
        self.states = self.folder / name
        self.monkeypatch.setenv("XDG_STATE_HOME", str(self.states))


@frozen
class CommandLine:
    """A command."""

    typed: tuple[str, ...]
    recovery: tuple[str, ...] = ()
    """The command that resumes it; none where there is just the same one."""

    async def start(self, stage: Stage) -> None:
        """Call, and wait for the end as far as the surface does."""
        await stage.call(*self.typed)

    async def again(self, stage: Stage, *, is_in_flight: bool) -> None:
        """Do what a user does who did not see the end."""
        if self.recovery:
            await stage.call(*self.recovery)
        elif is_in_flight or "run" in self.typed:  # Else it asks for a second generation.
            await stage.call(*self.typed)

    def give_up(self, call: asyncio.Task[None]) -> None:
        """Give up a call."""
        assert not call.done()
        signal.raise_signal(signal.SIGINT)


GENERATE = ("generate", "Draft")
RESUME = ("resume", "--yes")

SURFACES: dict[str, CommandLine] = {
    "`generate F`": CommandLine(GENERATE),
    "`generate F --watch`, `resume`": CommandLine((*GENERATE, "--watch"), RESUME),
}

Mishap: TypeAlias = "Callable[[Stage, CommandLine], Awaitable[None]]"


def faulty(fault: Fault) -> Mishap:
    """Return the mishap of one faulty answer to the dispatch."""

    async def happen(stage: Stage, surface: CommandLine) -> None:
        stage.emulator.fail("generate_feature", fault, times=1)
        await surface.start(stage)

    return happen


async def killed(stage: Stage, surface: CommandLine) -> None:
    """End the process while the answer is on its way; what the disk has is left."""
    call = await _without_answer(stage, surface)
    shutil.copytree(stage.states, stage.folder / "left", dirs_exist_ok=True)
    silence = stage.emulator.fail("*", Fault.hang())
    call.cancel()
    await asyncio.wait([call])
    silence.remove()
    stage.move_to("left")


async def given_up_early(stage: Stage, surface: CommandLine) -> None:
    """Give up while the answer is on its way."""
    call = await _without_answer(stage, surface)
    surface.give_up(call)
    await asyncio.wait([call])


async def given_up_later(stage: Stage, surface: CommandLine) -> None:
    """Give up while the generation is in flight."""
    call = asyncio.create_task(surface.start(stage))
    await asyncio.sleep(LATER)
    if not call.done():
        surface.give_up(call)
        await asyncio.wait([call])


async def _without_answer(stage: Stage, surface: CommandLine) -> asyncio.Task[None]:
    """Start; return once the service has acted, and its answer never comes."""
    stage.states.mkdir(exist_ok=True)
    stage.emulator.fail("generate_feature", Fault.unanswered(), times=1)
    call = asyncio.create_task(surface.start(stage))
    await asyncio.sleep(EARLY)
    assert paid(stage.emulator) == 1
    assert not call.done()
    return call


MISHAPS: dict[str, Mishap] = {
    "answer lost": faulty(LOST),
    "a page as the 2xx": faulty(UNREADABLE),
    "killed before the answer": killed,
    "gave up before the answer": given_up_early,
    "gave up in flight": given_up_later,
}


SCENARIO = STEADY


@pytest.fixture
def stage(emulator: Emulator, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A feature without tests."""
    emulator.add_feature("Draft", status="draft")
    use(emulator, monkeypatch)
    return Stage(emulator, tmp_path, call, monkeypatch)


def without_id(status: Any) -> Any:
    return {**status, "requestId": None}


FORGETFUL = {"`generate F`"}
"""What keeps nothing from one call to the next, and so is called again while it is in flight."""

CELLS = [
    (surface, mishap, pause)
    for surface in SURFACES
    for mishap in MISHAPS
    for pause in (HOUR, 0.0)
    if FULL or (pause == 0) is (surface in FORGETFUL)
    if FULL or ([*SURFACES].index(surface) + [*MISHAPS].index(mishap)) % 2 == 0
]


@pytest.mark.parametrize(("surface", "mishap", "pause"), CELLS)
async def test_one_request_is_paid_once(
    stage: Stage, surface: str, mishap: str, pause: float
) -> None:
    """Whatever happens to the answer, the process or the caller, one generation is paid."""
    found = SURFACES[surface]
    if pause and "replace" not in surface:  # What has no id is the harder one to recognize.
        stage.emulator.fail("get_generation_status", Fault.edit(without_id))
    await MISHAPS[mishap](stage, found)
    await asyncio.sleep(pause)
    await found.again(stage, is_in_flight=not pause)
    assert paid(stage.emulator) == 1


@pytest.mark.parametrize(
    ("surface", "expected"),
    [(name, 2 if name.startswith("`generate") else 1) for name in SURFACES],
)
async def test_the_same_call_after_the_end(stage: Stage, surface: str, expected: int) -> None:
    """A command that names the feature asks for a second one; no tool and no run does."""
    for _ in range(2):
        await SURFACES[surface].start(stage)
        await asyncio.sleep(HOUR)
    assert paid(stage.emulator) == expected
