"""`--timeout` bounds all that a waiting command does, however the service hangs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.surfaces.cli import test_journals
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call, Ended

SCENARIO = test_journals.SCENARIO


async def timed(call: Call, *arguments: str) -> tuple[Ended, float]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    ended = await call(*arguments)
    return ended, loop.time() - began


@pytest.mark.parametrize(
    "command",
    ["run --all --wait", "run Check* --wait", "generate --all --watch --yes", "wait Log*"],
)
async def test_list_that_hangs(emulator: Emulator, call: Call, command: str) -> None:
    """No list holds a command up for longer than it has time; a line says why it waits."""
    emulator.fail("*", Fault.hang())
    ended, seconds = await timed(call, *command.split(), "--timeout", "8")
    assert ended.code == 5
    assert seconds == pytest.approx(8, abs=0.1)
    first, last = ended.errors.splitlines()
    assert first.startswith("Still waiting for ")
    assert first.endswith(" has not answered.")
    assert " did not come within 8.0 s" in last


@pytest.mark.parametrize(
    ("typed", "seconds"), [("1m", 60), ("5x", None), ("1m30s", 90), ("40s", 40), ("40", 40)]
)
async def test_times_have_units(typed: str, seconds: float | None, call: Call) -> None:
    """A time is seconds, or hours, minutes and seconds; anything else is refused in a sentence."""
    ended, took = await timed(call, "run", "Wishlist", "--wait", "--timeout", typed)
    if seconds is None:
        assert ended.code == 2
        assert f"'{typed}' is no time such as 90, 20m or 1h30m" in ended.errors
    else:
        assert took == pytest.approx(seconds, abs=1.5)


async def test_project_whose_name_is_not_found_out(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the list of projects, which a project's name needs."""
    monkeypatch.setenv("TESTVIBE_PROJECT", "Acme Shop")
    emulator.fail("list_projects", Fault.hang())
    ended, seconds = await timed(call, "run", "Checkout", "--wait", "--timeout", "3")
    assert ended.code == 5
    assert seconds == pytest.approx(3, abs=0.1)
    assert "the list of projects did not come within 3.0 s" in ended.errors


async def test_time_for_lists_is_no_time_for_runs(emulator: Emulator, call: Call) -> None:
    """What the lists took is not left to the batch."""
    emulator.fail("list_features", Fault.delay(10))
    ended, seconds = await timed(call, "run", "--all", "--wait", "--timeout", "15")
    assert ended.code == 4
    assert seconds == pytest.approx(15, abs=1.5)


async def test_dispatch_that_hangs(emulator: Emulator, call: Call) -> None:
    """A dispatch that is not answered is unknown some seconds after the time is over."""
    emulator.fail("run_feature", Fault.hang())
    emulator.fail("list_runs", Fault.hang())
    ended, seconds = await timed(call, "run", "Checkout", "--wait", "--timeout", "5")
    assert ended.code == 5
    assert ended.output.endswith(": 1 unknown\n")
    assert seconds <= 5 + 30


async def test_files_that_hang(emulator: Emulator, call: Call, tmp_path: Path) -> None:
    """What is asked for at the end is given up; the results are printed, and exit as they are."""
    emulator.fail("get_run_artifacts", Fault.hang())
    ended, seconds = await timed(
        *(call, "run", "Returns", "--wait", "--timeout", "60", "--artifacts", str(tmp_path / "a"))
    )
    assert ended.code == 1
    assert ended.output.endswith(": 1 failed\n")
    assert "Artifacts of 1 run are not there yet" in ended.errors
    assert seconds <= 21 + 30


@pytest.mark.parametrize("status", [503, 429])
@pytest.mark.parametrize(
    "command", ["run Return* --wait", "generate Return* --watch --yes", "run --all"]
)
async def test_service_that_is_busy_at_the_start(
    emulator: Emulator, call: Call, command: str, status: int
) -> None:
    """A list that is refused for a minute is asked for again, and the command says so."""
    rule = emulator.fail("list_features", Fault.status(status))
    asyncio.get_running_loop().call_later(60, rule.remove)
    ended, seconds = await timed(call, *command.split())
    assert ended.code in {0, 1}, ended.errors
    assert emulator.runs or emulator.generations
    assert "trying again" in ended.errors
    assert seconds > 60


@pytest.mark.parametrize("command", ["run Checkout Returns", "run Checkout -c Mobile"])
async def test_list_that_is_not_needed(emulator: Emulator, call: Call, command: str) -> None:
    """Features that are named do not wait for it."""
    for name in ("list_features", "list_configs"):
        emulator.fail(name, Fault.status(503))
    ended, seconds = await timed(call, *command.split(), "--wait", "--timeout", "120")
    assert (ended.code in {0, 1}, seconds < 60) == (True, True), ended.errors


async def test_project_by_name_while_the_service_is_busy(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list is waited for: the name never goes out as an id."""
    monkeypatch.setenv("TESTVIBE_PROJECT", "Acme Shop")
    rule = emulator.fail("list_projects", Fault.status(503))
    asyncio.get_running_loop().call_later(20, rule.remove)
    ended, _ = await timed(call, "run", "Checkout", "--wait")
    assert ended.code == 0, ended.errors


async def test_list_that_is_away_shows_nothing(emulator: Emulator, call: Call) -> None:
    """Where the runs can't be listed it is not said that none is in flight."""
    await call("run", "Checkout")
    emulator.fail("list_runs", Fault.status(503))
    ended = await call("wait", "Checkout")
    assert ended.code == 5
    assert "in flight" not in ended.errors


async def test_service_that_stays_busy_at_the_start(emulator: Emulator, call: Call) -> None:
    """The patience ends with --timeout, else after five minutes, with the last error."""
    emulator.fail("list_features", Fault.status(503))
    for options, expected in ((("--timeout", "40"), 40), ((), 300)):
        ended, seconds = await timed(call, "run", "--all", "--wait", *options)
        assert ended.code == 5
        assert seconds == pytest.approx(expected, rel=0.2)
        assert "503" in ended.errors.splitlines()[-1]


async def test_service_that_goes_away_at_the_start(emulator: Emulator, call: Call) -> None:
    """A service that can't be reached for a minute is waited for too."""
    rule = emulator.fail("list_features", Fault.reset())
    asyncio.get_running_loop().call_later(60, rule.remove)
    ended, seconds = await timed(call, "run", "Return*", "--wait")
    assert (ended.code, seconds > 60) == (1, True)
