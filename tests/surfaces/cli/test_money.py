"""Generations cost credits: each command dispatches those that were asked for, and no other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.surfaces.cli.conftest import interrupted
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.surfaces.cli.conftest import Call, Give

SCENARIO = Scenario(
    run_queue=1,
    run_duration=20,
    failing_runs=0,
    generation_warm_up=5,
    generation_section=20,
    failing_generations=0,
    outcomes={"Draft 0": Outcome(generation_duration=200)},
)

DRAFTS = [f"Draft {number}" for number in range(4)]

CONSENTS = [(), ("--yes",), ("--max-generations", "2"), ("--max-generations", "0")]


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    async with Emulator(scenario=SCENARIO) as emulator:
        for name in DRAFTS:
            emulator.add_feature(name, status="draft")
        yield emulator


def consented(options: tuple[str, ...], *, asked_for: int) -> int:
    """Return how many generations options allow."""
    if not options:
        return 0
    return asked_for if options == ("--yes",) else min(int(options[1]), asked_for)


@pytest.mark.parametrize("options", CONSENTS)
async def test_bare_resume_pays_for_nothing_unasked(
    options: tuple[str, ...], emulator: Emulator, call: Call
) -> None:
    """`resume` dispatches the generations that are left with `--yes` or below a ceiling only."""
    await interrupted(call, "generate", *DRAFTS, "--watch", "--yes", "--max-in-flight", "1", at=10)
    assert len(emulator.generations) == 1
    ended = await call("resume", *options)
    assert len(emulator.generations) == 1 + consented(options, asked_for=3)
    if not options:
        assert (ended.code, ended.errors.count("\n")) == (2, 1)
        assert "--yes" in ended.errors
        assert "--max-generations" in ended.errors


async def test_resume_without_generations_asks_nothing(emulator: Emulator, call: Call) -> None:
    """Where all generations were dispatched a bare `resume` waits for them."""
    await interrupted(call, "generate", "Draft 1", "--watch", at=10)
    ended = await call("resume")
    assert (ended.code, len(emulator.generations)) == (0, 1)


@pytest.mark.parametrize("options", CONSENTS)
async def test_resumed_runs_pay_for_no_missing_tests_unasked(
    options: tuple[str, ...], emulator: Emulator, call: Call
) -> None:
    """A batch of runs that was to generate what is missing asks again when it is resumed."""
    typed = ("--on-conflict", "generate", "--max-in-flight", "1", "--yes")
    await interrupted(call, "run", *DRAFTS, "--wait", *typed, at=10)
    assert len(emulator.generations) == 1
    ended = await call("resume", *options)
    assert len(emulator.generations) == 1 + consented(options, asked_for=3)
    assert (ended.code == 2) is (not options)


@pytest.mark.parametrize("wait", [(), ("--wait",)])
@pytest.mark.parametrize("options", CONSENTS)
async def test_run_generates_nothing_unasked(
    options: tuple[str, ...], wait: tuple[str, ...], emulator: Emulator, call: Call
) -> None:
    """`run --on-conflict generate` is refused without `--yes` and ceiling where nobody answers."""
    names = ("Draft 1", "Draft 2", "Draft 3", "Checkout")
    ended = await call("run", *names, "--on-conflict", "generate", *wait, *options)
    assert len(emulator.generations) == consented(options, asked_for=3)
    if not options:
        assert (ended.code, ended.output, len(emulator.runs)) == (2, "", 0)
        assert ended.errors.count("\n") == 1
        assert "--yes" in ended.errors
        assert "--max-generations" in ended.errors


@pytest.mark.parametrize("options", CONSENTS)
async def test_all_is_generated_below_a_ceiling(
    options: tuple[str, ...], emulator: Emulator, call: Call
) -> None:
    """`generate --all` takes a ceiling in place of an answer, and says what it left."""
    ended = await call("generate", "--all", "--watch", *options)
    assert len(emulator.generations) == consented(options, asked_for=5)
    if options == ("--max-generations", "2"):
        assert ended.code == 4
        assert ended.output.endswith(": 2 generated, 3 stopped at the limit\n")


async def test_all_that_was_left_and_generated_since_costs_nothing(
    emulator: Emulator, call: Call
) -> None:
    """`resume` of `generate --all` asks the service which features still have no tests."""
    await call("generate", "--all", "--watch", "--max-generations", "1")
    await call("generate", *DRAFTS, "Checkout with gift card", "--watch", "--yes")
    paid = len(emulator.generations)
    ended = await call("resume", "1", "--max-generations", "9")
    assert (ended.code, len(emulator.generations)) == (0, paid)
    assert ended.output.endswith(": 5 generated\n")


async def test_limit_is_a_verdict_of_its_own(emulator: Emulator, call: Call) -> None:
    """What the ceiling stopped is no error of the service, in JSON and in a later report."""
    ended = await call(
        "run", "Draft 1", "--wait", "--json", "--on-conflict", "generate", "--max-generations", "0"
    )
    document = json.loads(ended.output)
    assert [item["verdict"] for item in document["items"]] == ["stopped at the limit"]
    assert (ended.code, document["exitCode"]) == (4, 4)
    ended = await call("report")
    assert ended.code == 4
    assert ended.output.endswith("1: 1 stopped at the limit\n")
    assert not emulator.generations


@pytest.mark.parametrize(
    ("typed", "expected", "said"),
    [
        (
            "run Draft~1",
            (3, 0),
            "0 runs would be dispatched.\n1 refused, without tests: Draft 1.\n",
        ),
        ("run Draft~1 Checkout", (3, 1), "1 refused, without tests: Draft 1.\n"),
        (
            "run Draft* Checkout --on-conflict generate",
            (0, 5),
            "after 4 generations at most, which",
        ),
        ("run Checkout --on-conflict generate", (0, 1), "1 run would be dispatched.\n"),
        (
            *("run Draft* Checkout --on-conflict generate --max-generations 3", (4, 4)),
            "after 3 generations at most, which cost credits.\n1 stopped at the limit: Draft 3.\n",
        ),
        (
            "generate Draft* --max-generations 1",
            (4, 1),
            "\n3 stopped at the limit: Draft 1, Draft 2",
        ),
        ("generate Draft*", (0, 4), "4 generations would be dispatched, and each costs credits.\n"),
    ],
)
async def test_dry_run_is_what_would_happen(
    typed: str, expected: tuple[int, int], said: str, emulator: Emulator, call: Call
) -> None:
    """Its exit code, its rows and its price are those of the command without it."""
    words = [word.replace("~", " ") for word in typed.split()]
    ended = await call(*words, "--dry-run")
    assert (ended.code, len(ended.output.splitlines())) == expected
    assert said in ended.errors
    assert not emulator.runs
    assert not emulator.generations
    consent = [] if "generat" not in typed or "--max-generations" in typed else ["--yes"]
    ended = await call(*words, *consent)
    assert (ended.code, len(ended.output.splitlines())) == expected


@pytest.mark.parametrize(
    ("typed", "question"),
    [
        ("run Draft* Checkout --on-conflict generate", "Generate first the tests of 4 features?"),
        ("run Checkout Draft~1 --on-conflict generate", "Generate first the tests of 1 feature?"),
        ("generate Draft*", "Generate 4 features?"),
        ("run Checkout --on-conflict generate", ""),
    ],
)
async def test_question_names_the_number_of_generations(
    typed: str, question: str, call: Call
) -> None:
    """Features that have tests cost nothing, and where all have some, there is no question."""
    ended = await call(*(word.replace("~", " ") for word in typed.split()))
    assert question in ended.errors
    assert ended.code == (2 if question else 0)


@pytest.mark.parametrize(("answer", "paid"), [(b"y\n", 1), (b"n\n", 0), (b"\n", 0)])
async def test_person_is_asked(
    answer: bytes, paid: int, emulator: Emulator, call: Call, give: Give
) -> None:
    """At a terminal `run --on-conflict generate` asks, and does nothing without a yes."""
    give(answer, on_terminal=True)
    await call("run", "Draft 1", "--on-conflict", "generate")
    assert (len(emulator.generations), len(emulator.runs)) == (paid, paid)


async def test_nobody_answers_in_a_ci_system(
    emulator: Emulator, call: Call, give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CI system with a terminal is not asked, where the job would hang."""
    monkeypatch.setenv("CI", "true")
    give(b"y\n", on_terminal=True)
    ended = await call("run", "Draft 1", "--on-conflict", "generate")
    assert (ended.code, len(emulator.generations)) == (2, 0)


async def test_feature_that_is_named_is_not_asked_about(emulator: Emulator, call: Call) -> None:
    """`generate NAME` says itself what is wanted; a ceiling holds for it too."""
    await call("generate", "Draft 1")
    assert len(emulator.generations) == 1
    ended = await call("generate", "Draft 2", "Draft 3", "--max-generations", "1")
    assert (ended.code, len(emulator.generations)) == (4, 2)


@pytest.mark.parametrize("option", [("--yes",), ("--max-generations", "3")])
async def test_consent_to_nothing(option: tuple[str, ...], call: Call) -> None:
    """Options that allow generations are refused where none can be dispatched."""
    ended = await call("run", "Checkout", *option)
    assert ended.code == 2
    assert f"{option[0]} means nothing without --on-conflict generate" in ended.errors


async def test_a_decision_is_not_kept_where_its_price_is_refused(
    emulator: Emulator, call: Call
) -> None:
    """What is unknown stays so, and the next `resume` asks again, or is told again."""
    emulator.fail("generate_feature", Fault.lost(), times=1)
    hidden = emulator.fail("get_generation_status", Fault.status(503), skip=1)
    await call("generate", "Draft 1", "--watch", "--yes")
    hidden.remove()
    assert (await call("report")).code == 5
    ended = await call("resume", "--unknown", "resend")
    assert (ended.code, emulator.count("generate_feature")) == (2, 1)
    reported = await call("report")
    assert reported.code == 5
    assert "generation status" in reported.output + reported.errors
