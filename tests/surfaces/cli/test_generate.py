"""`generate` and `generation`: dispatch, watch, ask first, and show a generation."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.surfaces.cli.conftest import Call, Give

GIFT_CARD = "Checkout with gift card"

HOSTILE = "Pay \x1b]0;owned\x07[red]now[/red]"

SCENARIO = Scenario(
    generation_warm_up=5,
    generation_section=20,
    verification=5,
    failing_generations=0,
    outcomes={
        "Broken": Outcome(generation_status="failed"),
        HOSTILE: Outcome(generation_status="failed"),
    },
)


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    async with Emulator(scenario=SCENARIO) as emulator:
        emulator.add_feature("Broken", status="draft")
        yield emulator


async def test_without_watch_it_dispatches_and_ends(emulator: Emulator, call: Call) -> None:
    """The generation is named, with the command that waits for it."""
    ended = await call("generate", GIFT_CARD)
    assert ended.code == 0
    (generation,) = emulator.active_generations()
    assert ended.output.startswith(f"{GIFT_CARD}\t\tgeneration {generation.request_id} of feature ")
    words = shlex.split(ended.errors.splitlines()[-1])
    ended = await call(*words[1:])
    assert ended.code == 0
    assert ended.output.endswith(": 1 generated\n")


async def test_watch_shows_each_change(call: Call) -> None:
    """With --watch each change is a line; all that were generated make the exit code 0."""
    ended = await call("generate", GIFT_CARD, "--watch")
    assert (ended.code, ended.errors) == (0, "")
    words = re.findall(r"1  generation  (\w+) ", ended.output)
    assert list(dict.fromkeys(words)) == ["queued", "generating", "generated"]
    assert re.search(r"\nBatch 1: 1 in 1:\d\d: 1 generated\n$", ended.output)


async def test_failed_generation_says_why(call: Call) -> None:
    """A generation that failed makes the exit code 1, with its reason and the end of its log."""
    ended = await call("generate", "Broken", GIFT_CARD, "--watch")
    assert ended.code == 1
    assert "\nBroken, generation: failed\n" in ended.output
    assert "Tests did not pass verification" in ended.output
    assert ended.output.endswith(": 1 generated, 1 failed\n")


async def test_log_that_can_not_be_read_is_left_out(emulator: Emulator, call: Call) -> None:
    """A missing log does not change the verdict."""
    emulator.fail("get_generation_log", Fault.status(404))
    ended = await call("generate", "Broken", "--watch")
    assert ended.code == 1
    assert ended.output.endswith(
        "\nBroken, generation: failed\n\n" + ended.output.splitlines()[-1] + "\n"
    )


async def test_watch_as_json_is_one_object_a_line(call: Call) -> None:
    """Programs get each change as it comes, and the sum as the last line."""
    ended = await call("generate", "Broken", "--watch", "--json=lines")
    assert (ended.code, ended.errors) == (1, "")
    *changes, end = [json.loads(line) for line in ended.output.splitlines()]
    words = [change["status"] for change in changes]
    assert list(dict.fromkeys(words)) == ["queued", "generating", "failed"]
    assert {change["event"] for change in changes} == {"change"}
    assert changes[0]["ref"]["testvibe"] == "generation"
    assert [change["status"] for change in changes if change["outcome"]] == ["failed"]
    assert (end["event"], end["exitCode"], end["summary"]["failed"]) == ("end", 1, 1)


async def test_stopped_watch_as_json_ends_with_the_sum(call: Call) -> None:
    """Stopped in the middle the last line is still the sum, and standard error names the others."""
    asyncio.get_running_loop().call_later(10, signal.raise_signal, signal.SIGINT)
    ended = await call("generate", GIFT_CARD, "--watch", "--json=lines")
    assert ended.code == 130
    end = json.loads(ended.output.splitlines()[-1])
    assert (end["event"], end["exitCode"], end["summary"]["inFlight"]) == ("end", 130, 1)
    assert "testvibe-async wait '{" in ended.errors


async def test_time_that_is_over(emulator: Emulator, call: Call) -> None:
    """After --timeout the generation goes on, and the exit code is 4."""
    ended = await call("generate", GIFT_CARD, "--watch", "--timeout", "10")
    assert ended.code == 4
    assert len(emulator.active_generations()) == 1
    assert "Still running at the service:\n  generation " in ended.errors


@pytest.mark.parametrize("arguments", [[], ["--watch"]])
async def test_feature_that_is_generating(
    arguments: list[str], emulator: Emulator, call: Call
) -> None:
    """A conflict is printed with the option that helps, and that joins the generation in flight."""
    await call("generate", GIFT_CARD)
    assert "1 refused, being generated" in (await call("generate", GIFT_CARD, "--dry-run")).errors
    ended = await call("generate", GIFT_CARD, *arguments)
    assert ended.code == 3
    assert "--on-conflict attach" in ended.output + ended.errors
    assert (await call("generate", GIFT_CARD, "--on-conflict", "attach", *arguments)).code == 0
    assert len(emulator.generations) == 1


async def test_generating_once_more_without_watch(emulator: Emulator, call: Call) -> None:
    """The command says that it waits for the generation in flight, then dispatches another."""
    await call("generate", GIFT_CARD)
    ended = await call("generate", GIFT_CARD, "--on-conflict", "wait")
    assert ended.code == 0
    assert ended.errors.startswith("What is generating is waited for first: minutes each.\n")
    assert len(emulator.generations) == 2


async def test_credits_that_are_used_up(emulator: Emulator, call: Call) -> None:
    """A refusal for lack of credits is printed in the service's words."""
    emulator.fail("generate_feature", Fault.status(403))
    ended = await call("generate", GIFT_CARD)
    assert (ended.code, ended.output) == (3, "")
    assert "The emulator was told to answer 403." in ended.errors


@pytest.mark.parametrize("typed", ["--all", "Checkout*"])
async def test_more_than_was_typed_needs_a_yes_in_a_pipe(
    emulator: Emulator, call: Call, typed: str
) -> None:
    """Without a terminal, --all and globs spend nothing unless --yes is given."""
    ended = await call("generate", typed)
    assert (ended.code, ended.output) == (2, "")
    assert "'Generate 2 features? Each costs credits.'" in ended.errors
    assert "--yes" in ended.errors
    assert emulator.count("generate_feature") == 0


async def test_as_many_as_were_typed_need_no_yes(emulator: Emulator, call: Call) -> None:
    """A glob that matches one feature is not asked about."""
    assert (await call("generate", "*gift*")).code == 0
    assert emulator.count("generate_feature") == 1


async def test_a_glob_beside_names_is_asked_about(emulator: Emulator, call: Call) -> None:
    """A word that matches two features is asked about, also beside other words."""
    emulator.add_feature("Checkout twice")
    ended = await call("generate", "Returns", "Checkout", "Check*", GIFT_CARD)
    assert ended.code == 2
    assert "--yes" in ended.errors
    assert emulator.count("generate_feature") == 0


async def test_all_generates_what_has_no_tests(emulator: Emulator, call: Call) -> None:
    """With --yes all features without tests are generated, and no others."""
    emulator.add_feature("Proposed", kind="suggestion", status="draft")
    emulator.add_feature("Busy", status="generating")
    ended = await call("generate", "--all", "--yes", "--watch", "--max-in-flight", "1")
    assert ended.code == 1
    generated = {each.feature_id for each in emulator.generations.values()}
    assert generated == {emulator.features[each].id for each in (GIFT_CARD, "Broken", "Busy")}
    assert "2 in " in ended.output


async def test_all_where_all_have_tests(emulator: Emulator, call: Call) -> None:
    """Having nothing to generate is no failure, and nothing is asked."""

    def without_drafts(rows: list[dict[str, Any]]) -> object:
        return [row for row in rows if row["status"] == "generated"]

    emulator.fail("list_features", Fault.edit(without_drafts))
    ended = await call("generate", "--all")
    assert (ended.code, ended.output) == (0, "")
    assert ended.errors == "Nothing to generate. All have tests.\n"


async def test_help_says_that_it_costs(call: Call) -> None:
    """The first line of the help says that it costs credits."""
    ended = await call("generate", "--help")
    assert "Each generation takes minutes and costs credits." in ended.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which features?"),
        (["x*"], "no feature matches 'x*'"),
        (["Login", "--timeout", "5"], "--timeout means nothing without --watch: add --watch"),
        (["Login", "--max-in-flight", "5"], "--max-in-flight means nothing without --watch"),
        (["Login", "--on-conflict", "generate"], "--on-conflict"),
        (["Login", "--waiting"], "--waiting"),
    ],
)
async def test_wrong_call_is_one_sentence(
    arguments: list[str], said: str, emulator: Emulator, call: Call
) -> None:
    """A wrong call says what is wrong in one line, and spends nothing."""
    ended = await call("generate", *arguments)
    assert (ended.code, ended.output) == (2, "")
    assert said in ended.errors
    assert ended.errors.count("\n") == 1
    assert len(emulator.generations) == 0


async def test_status_of_a_generation(call: Call) -> None:
    """The status has the feature's latest generation with its sections, as text and as JSON."""
    await call("generate", GIFT_CARD, "--watch")
    ended = await call("generation", "status", GIFT_CARD.upper())
    assert ended.code == 0
    assert ended.output.startswith(f"Generation of {GIFT_CARD}: generated\n")
    assert "\n  success       " in ended.output
    document = json.loads((await call("generation", "status", GIFT_CARD, "--json")).output)
    assert document["featureStatus"] == "generated"


async def test_feature_that_was_never_generated(call: Call) -> None:
    """For such a feature there is no status and no log, and both say so."""
    ended = await call("generation", "status", GIFT_CARD)
    assert (ended.code, ended.output) == (0, f"{GIFT_CARD} was never generated.\n")
    ended = await call("generation", "log", GIFT_CARD)
    assert (ended.code, ended.output) == (0, f"{GIFT_CARD} has no generation log.\n")


async def test_log_of_a_generation(call: Call) -> None:
    """The log has each section's reason and lines; --lines takes the last of them."""
    await call("generate", "Broken", "--watch")
    whole = await call("generation", "log", "Broken")
    short = await call("generation", "log", "Broken", "--lines", "1")
    assert whole.code == short.code == 0
    assert "Tests did not pass verification" in short.output
    assert len(short.output.splitlines()) < len(whole.output.splitlines())
    document = json.loads((await call("generation", "log", "Broken", "--json")).output)
    assert document["sections"][0]["statusReason"]


async def test_cancelled_generation(emulator: Emulator, call: Call) -> None:
    """Cancelling ends the generation; where none is in flight it is refused."""
    await call("generate", GIFT_CARD)
    ended = await call("generation", "cancel", GIFT_CARD)
    assert (ended.code, ended.output) == (0, f"The generation of {GIFT_CARD} is cancelled.\n")
    assert emulator.active_generations() == []
    ended = await call("generation", "cancel", GIFT_CARD)
    assert (ended.code, ended.output) == (3, "")
    assert ended.errors.count("\n") == 1


@pytest.mark.parametrize("command", ["status", "log", "cancel"])
async def test_unknown_feature_is_refused(command: str, call: Call) -> None:
    """A feature that the service does not know is a refusal, in one sentence."""
    ended = await call("generation", command, "nosuch")
    assert (ended.code, ended.output) == (3, "")
    assert ended.errors.count("\n") == 1


async def test_hostile_words_are_only_text(emulator: Emulator, call: Call) -> None:
    """No byte of a name, a reason or a log reaches the terminal as a command to it."""
    emulator.add_feature(
        HOSTILE, "Feature: x\n\n  Scenario: \x1b[2J\x07\n    Given x\n", status="draft"
    )
    for arguments in (
        ("generate", "Pay*", "--watch"),
        ("generate", "Pay*", "--watch", "--json"),
        ("generation", "status", HOSTILE),
        ("generation", "log", HOSTILE),
    ):
        ended = await call(*arguments)
        assert not set(ended.output + ended.errors) & set("\x1b\x07")
        assert "\\x1b" in ended.output or "\\u001b" in ended.output


@pytest.mark.parametrize(("answer", "number"), [(b"y\n", 2), (b"n\n", 0)])
async def test_answer_decides(
    answer: bytes, number: int, emulator: Emulator, call: Call, give: Give
) -> None:
    """Nothing is dispatched before a yes."""
    give(answer, on_terminal=True)
    ended = await call("generate", "--all")
    assert ended.code == (0 if number else 2)
    assert len(emulator.generations) == number


async def test_nothing_to_do_is_one_line(emulator: Emulator, call: Call) -> None:
    """Where all features have tests there is one line, and with --json an empty document."""
    for name, feature in emulator.features.items():
        if feature.status != "generated":
            await call("features", "delete", name, "--yes")
    ended = await call("generate", "--all", "--watch")
    assert (ended.code, ended.output) == (0, "")
    assert ended.errors == "Nothing to generate. All have tests.\n"
    ended = await call("generate", "--all", "--json")
    assert json.loads(ended.output)["items"] == []


async def test_nothing_to_do_with_suggestions_is_one_line(emulator: Emulator, call: Call) -> None:
    """What was left out then stands in the same line."""
    emulator.add_feature("Proposed", kind="suggestion")

    def without_drafts(rows: list[dict[str, Any]]) -> object:
        return [r for r in rows if r["status"] == "generated" or r["kind"] == "suggestion"]

    emulator.fail("list_features", Fault.edit(without_drafts))
    ended = await call("generate", "--all")
    assert ended.code == 0
    assert re.fullmatch(r"Nothing to generate\. Left out: suggested only: .*\n", ended.errors)
