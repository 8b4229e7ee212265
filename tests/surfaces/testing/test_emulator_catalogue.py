"""The features at an emulator's start: the shop's, those of a folder, or none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from testvibe_async.testing import Emulator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from .conftest import Caller


def test_the_shop_has_many_features_of_some_scenarios() -> None:
    """All are generated, except one for demonstrations of generating, and one suggestion."""
    features = Emulator().features
    assert len(features) >= 14
    assert list(features) == sorted(features)
    assert [name for name, feature in features.items() if feature.status != "generated"] == [
        "Abandoned cart reminder",
        "Checkout with gift card",
    ]
    assert features["Abandoned cart reminder"].kind == "suggestion"
    for name, feature in features.items():
        assert feature.gherkin.startswith(f"Feature: {name}\n")
        assert 2 <= feature.gherkin.count("Scenario") <= 6
        assert "    Then " in feature.gherkin


def test_a_project_can_start_without_features() -> None:
    """`shop=False` gives an empty project."""
    assert not Emulator(shop=False).features


async def test_a_folder_takes_the_place_of_the_shop(
    emulate: Callable[..., Awaitable[Caller]], tmp_path: Path
) -> None:
    """Feature files at any depth become generated features, whose scenarios are the tests."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b.feature").write_text("Feature: Über\nScenario: Eins\n", "utf-8")
    (tmp_path / "a.feature").write_text("# nothing yet\n")
    (tmp_path / "notes.txt").write_text("Feature: No\n")
    call = await emulate(features=tmp_path)
    assert list(call.emulator.features) == ["a", "Über"]
    assert {feature.status for feature in call.emulator.features.values()} == {"generated"}
    for name, test in (("Über", "Eins"), ("a", "a")):
        run_id = await call.run(name)
        await asyncio.sleep(60)
        assert [test["name"] for test in (await call.get(f"/runs/{run_id}"))["tests"]] == [test]


def test_a_folder_needs_features_with_different_names(tmp_path: Path) -> None:
    """An empty folder, a missing one, a duplicate name and an invalid encoding are refused."""
    with pytest.raises(ValueError, match=r"no folder with \.feature files"):
        Emulator(features=tmp_path / "missing")
    with pytest.raises(ValueError, match=r"no folder with \.feature files"):
        Emulator(features=str(tmp_path))
    (tmp_path / "a.feature").write_text("Feature: Same\n")
    (tmp_path / "b.feature").write_text("Feature: SAME\n")
    with pytest.raises(ValueError, match="two features named 'SAME'"):
        Emulator(features=tmp_path)
    (tmp_path / "a.feature").write_bytes(b"Feature: \xff\n")
    with pytest.raises(ValueError, match=r"a\.feature can't be read"):
        Emulator(features=tmp_path)


GHERKIN = '''\
# language: en
@api
Feature: All of it
  Some text. Scenario: not this one
  Given no step either

  Background:
    Given a background

  Rule: First rule
    Given no step of a rule

    @slow @skip
    Scenario: Skipped
      Given a step
      And another
      But no more
      * a star
      | not | an example |
      """
      Scenario: quoted
      Scenario: and once more
      """

    Background:
      Given a background again

    Example: By its other name
      ```
      Scenario: quoted too
      """
      ```
      When it acts

    Scenario:
      Then it has no name

    Scenario Outline: <who> eats <count> of <what>
      Given <who> has <count>

      @some
      Examples: first
        | who | count |
        | Ann | 1     |

      Examples: second
        | count | who |
        | 2     | Bob | and a cell too many |
        | 3     |

    Scenario Template: Same each time
      Given <n>

      Scenarios:
        | n |
        | 1 |
        | 2 |

    Scenario Outline: Without rows
      Given <n>

      Examples:
        | n |
'''


async def test_gherkin_is_read_as_it_is_written(
    emulate: Callable[..., Awaitable[Caller]], tmp_path: Path
) -> None:
    """Tags, rules, backgrounds, outlines, examples and doc strings are supported."""
    (tmp_path / "a.feature").write_text(GHERKIN, "utf-8")
    call = await emulate(features=tmp_path)
    await call.run("All of it")
    await asyncio.sleep(60)
    tests = (await call.get("/runs/214"))["tests"]
    assert [(test["name"], test["status"]) for test in tests] == [
        ("Skipped", "skipped"),
        ("By its other name", "passed"),
        ("Scenario 3", "passed"),
        ("Ann eats 1 of <what>", "passed"),
        ("Bob eats 2 of <what>", "passed"),
        ("<who> eats 3 of <what>", "passed"),
        ("Same each time (example 1)", "passed"),
        ("Same each time (example 2)", "passed"),
        ("Without rows", "passed"),
    ]
    spec = (await call.get("/files/content?path=tests/all-of-it.spec.ts"))["content"]
    steps = [line for line in spec.splitlines() if "test.step" in line]
    assert len(steps) == 4 + 1 + 1 + 3 + 2 + 1
    assert "test.step('Given Bob has 2'" in spec
    assert "test.step('* a star'" in spec
    assert "background" not in spec


async def test_examples_without_a_scenario_are_skipped(call: Caller) -> None:
    """Examples without an outline are ignored."""
    text = "Feature: Odd\n  Examples:\n    | a |\n    | 1 |\n  Scenario: One\n    Given a\n"
    call.emulator.add_feature("Odd", text)
    await call.run("Odd")
    await asyncio.sleep(60)
    assert [test["name"] for test in (await call.get("/runs/214"))["tests"]] == ["One"]
