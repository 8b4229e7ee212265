"""Names that are nearly right: of features, configurations, projects and operations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from testvibe_async.runner.names import did_you_mean
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call


SCENARIO = Scenario(run_duration=20, failing_runs=0)


def test_the_most_similar_name_is_asked_for() -> None:
    """Case does not matter; a part of names finds them; else the first are given, escaped."""
    assert did_you_mean("check", ["Checkout", "a check", "Sth"]) == (
        "did you mean 'Checkout' or 'a check'?"
    )
    flows = ["Cart flow 1", "Cart flow 2", "Cart flow 3", "Bad login", "Login flow 1"]
    assert did_you_mean("lo", flows) == (
        "did you mean 'Login flow 1' or 'Bad login' or 'Cart flow 1'?"
    )
    assert did_you_mean("", ["A"]) == "there is only 'A'"
    assert did_you_mean("chekout", ["Returns", "Checkout"]) == "did you mean 'Checkout'?"
    assert did_you_mean("x", ["A", "B"]) == "there are 'A', 'B'"
    assert did_you_mean("x", "ABCDEFG") == "there are 'A', 'B', 'C', 'D', 'E' and 2 more"
    assert did_you_mean("x", ["\x1b[2J"]) == r"there is only '\\x1b[2J'"
    assert did_you_mean("x", []) == ""


@pytest.mark.parametrize("more", [[], ["--wait"]])
async def test_misspelt_feature(more: list[str], emulator: Emulator, call: Call) -> None:
    """The name that may have been meant is asked for, and nothing runs."""
    ended = await call("run", "Chekout", "Returns", *more)
    assert (ended.code, len(emulator.runs)) == (2, 0)
    assert "there is no feature 'Chekout': did you mean 'Checkout'?" in ended.errors
    ended = await call("run", "Chekout", *more)
    assert (ended.code, emulator.count("run_feature")) == (2, 0)
    assert "there is no feature 'Chekout': did you mean 'Checkout'?" in ended.errors
    ended = await call("report")
    assert "there is no batch " in ended.errors


@pytest.mark.parametrize(
    "command",
    [
        ("features", "show", "Chekout"),
        ("generation", "status", "Chekout"),
        ("generation", "log", "Chekout"),
        ("wait", "Chekout"),
    ],
)
async def test_misspelt_feature_of_other_commands(command: tuple[str, ...], call: Call) -> None:
    """Other commands ask the same."""
    ended = await call(*command)
    assert ended.code == 3
    assert ended.errors.endswith("; did you mean 'Checkout'?\n")


async def test_without_the_list_nothing_is_suggested(emulator: Emulator, call: Call) -> None:
    """Where the service lists no features, the refusal is all there is."""
    emulator.fail("list_features", Fault.status(404))
    ended = await call("run", "Chekout", "--wait")
    assert ended.code == 3
    assert "did you mean" not in ended.output


async def test_misspelt_configuration(emulator: Emulator, call: Call) -> None:
    """A configuration that is not listed is refused before anything runs."""
    ended = await call("run", "Checkout", "-c", "Moblie")
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors == (
        "testvibe-async: there is no configuration 'Moblie': did you mean 'Mobile'?\n"
    )
    assert not emulator.runs
    assert (await call("run", "Checkout", "-c", "mobile", "-c", "Default")).code == 0


async def test_configuration_in_other_letters(emulator: Emulator, call: Call) -> None:
    """It is the one that the service lists, under that name, and runs once."""
    ended = await call("run", "Checkout", "--wait", "-c", "mobile", "-c", "MOBILE", "--json")
    (item,) = json.loads(ended.output)["items"]
    assert item["config"] == "Mobile"
    assert [run.config for run in emulator.runs.values()] == ["Mobile"]


async def test_configuration_that_no_list_knows(emulator: Emulator, call: Call) -> None:
    """Where the service lists none, a configuration is left to it."""
    emulator.fail("list_configs", Fault.status(404))
    assert (await call("run", "Checkout", "-c", "Mobile")).code == 0


async def test_project_by_its_name(emulator: Emulator, call: Call) -> None:
    """`--project` takes a name in any case; an unknown one is answered with a similar one."""
    ended = await call("run", "Checkout", "-p", "acme shop")
    assert (ended.code, len(emulator.runs)) == (0, 1)
    ended = await call("features", "list", "-p", "Acme Shp")
    assert ended.code == 2
    assert ended.errors == (
        "testvibe-async: there is no project 'Acme Shp': did you mean 'Acme Shop'?\n"
    )


async def test_project_without_a_list(emulator: Emulator, call: Call) -> None:
    """Where projects can't be listed, what was typed is taken for an id."""
    emulator.fail("list_projects", Fault.status(403))
    assert (await call("features", "list", "-p", "Acme Shop")).code == 3


async def test_wait_for_what_a_feature_has_in_flight(call: Call) -> None:
    """A name means the runs and the generation of the feature that go on."""
    await call("run", "Checkout", "Returns")
    await call("generate", "Checkout with gift card")
    ended = await call("wait", "checkout")
    assert (ended.code, ended.output.count("1/1")) == (0, 1)
    ended = await call("wait", "Checkout with gift card")
    assert ended.output.endswith(": 1 generated\n")
    ended = await call("wait", "Checkout")
    assert ended.code == 2
    assert ended.errors == "testvibe-async: nothing of 'Checkout' is in flight\n"


async def test_wait_by_name_where_runs_are_not_listed(emulator: Emulator, call: Call) -> None:
    """Where runs can't be listed, it says what to give instead."""
    emulator.fail("list_runs", Fault.status(404))
    await call("run", "Checkout")
    ended = await call("wait", "Checkout")
    assert ended.code == 2
    assert ended.errors.endswith("(this service lists no runs: give the id of one)\n")


async def test_wait_for_one_operation_by_two_names(emulator: Emulator, call: Call) -> None:
    """An operation that is named twice is waited for once."""
    await call("run", "Checkout")
    (run,) = emulator.runs
    ended = await call("wait", str(run), "Checkout")
    assert ended.output.endswith(": 1 passed\n")
    assert "1/1" in ended.output
