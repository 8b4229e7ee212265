"""`generate` and `generation`: each command dispatches what was asked for, which costs credits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.surfaces.cli.conftest import Call, Give, interrupted
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


SCENARIO = Scenario(
    run_queue=1,
    run_duration=20,
    failing_runs=0,
    generation_warm_up=5,
    generation_section=20,
    failing_generations=0,
    outcomes={
        "Draft 0": Outcome(generation_duration=200),
        "Doomed": Outcome(generation_status="failed"),
    },
)
DRAFTS = [f"Draft {number}" for number in range(4)]
GIFT_CARD = "'Checkout with gift card'"
CONSENTS = ["", "--yes", "--max-generations 2", "--max-generations 0"]


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    async with Emulator(scenario=SCENARIO) as emulator:
        for name in DRAFTS:
            emulator.add_feature(name, status="draft")
        yield emulator


def consented(options: str, *, asked_for: int) -> int:
    """Return how many generations options allow."""
    if not options:
        return 0
    return asked_for if options == "--yes" else min(int(options[-1]), asked_for)


@pytest.mark.parametrize("watch", ["", "--watch"])
async def test_feature_that_is_generating(watch: str, emulator: Emulator, call: Call) -> None:
    """A conflict is printed with the option that helps, which joins the generation in flight."""
    await call(f"generate {GIFT_CARD}")
    ended = await call(f"generate {GIFT_CARD} {watch}")
    assert ended.code == 3
    assert "--on-conflict attach" in ended.output + ended.errors
    assert (await call(f"generate {GIFT_CARD} --on-conflict attach {watch}")).code == 0
    assert len(emulator.generations) == 1
    if not watch:
        ended = await call(f"generate {GIFT_CARD} --on-conflict wait")
        assert ended.errors.startswith("What is generating is waited for first: minutes each.\n")
        assert (ended.code, len(emulator.generations)) == (0, 2)


@pytest.mark.parametrize("options", CONSENTS)
async def test_all_generates_what_has_no_tests(
    options: str, emulator: Emulator, call: Call
) -> None:
    """With --yes, or below a ceiling, features without tests are generated, and no others."""
    emulator.add_feature("Proposed", kind="suggestion", status="draft")
    emulator.add_feature("Busy", status="generating")
    await call(f"generate --all --watch {options}")
    proposed = emulator.features["Proposed"].id  # "Busy" is being generated already.
    generated = [each.feature_id for each in emulator.generations.values()]
    assert len(generated) == 1 + consented(options, asked_for=5)
    assert proposed not in generated
    if options == "--max-generations 2":
        assert (await call("report")).code == 4


async def test_nothing_to_do_is_one_line(emulator: Emulator, call: Call) -> None:
    """Where all have tests there is one line, with what was left out; JSON is empty."""

    def without_drafts(rows: list[dict[str, Any]]) -> object:
        return [row for row in rows if row["status"] == "generated" or row["kind"] == "suggestion"]

    emulator.fail("list_features", Fault.edit(without_drafts))
    ended = await call("generate --all --watch")
    assert (ended.code, ended.output) == (0, "")
    assert re.fullmatch(r"Nothing to generate\. Left out as suggestions: .*\n", ended.errors)
    assert (await call("generate --all --json")).json["items"] == []
    generated = Fault.edit(lambda rows: [row for row in rows if row["status"] == "generated"])
    emulator.fail("list_features", generated)
    assert (await call("generate --all")).errors == "Nothing to generate. All have tests.\n"


async def test_cancel(emulator: Emulator, call: Call) -> None:
    """A generation is cancelled as long as it is in flight; its status and log are JSON too."""
    await call("generate 'Draft 0'")
    shown = (await call("generation show 'DRAFT 0' --json")).json
    assert shown["generation"]["featureStatus"] == "generating"
    assert shown["log"]["sections"]
    emulator.fail("get_generation_log", Fault.status(404))
    ended = await call("generation show 'Draft 0'")
    assert shown["generation"]["sections"][0]["section"] in ended.output
    ended = await call("generation cancel 'Draft 0'")
    assert (ended.code, ended.output) == (0, "The generation of Draft 0 is cancelled.\n")
    assert emulator.active_generations() == []
    (await call("generation cancel 'Draft 0'")).refuses("(409 conflict)", 3)


@pytest.mark.parametrize("options", CONSENTS)
async def test_bare_resume_pays_for_nothing_unasked(
    options: str, emulator: Emulator, call: Call
) -> None:
    """`resume` dispatches the generations that are left with `--yes` or below a ceiling only."""
    await interrupted(call, "generate --watch --yes --max-in-flight 1", *DRAFTS, at=10)
    assert len(emulator.generations) == 1
    ended = await call(f"resume {options}")
    assert len(emulator.generations) == 1 + consented(options, asked_for=3)
    if not options:
        assert (ended.code, ended.errors.count("\n")) == (2, 1)
        assert "--yes" in ended.errors
        assert "--max-generations" in ended.errors


async def test_resume_asks_what_has_no_tests_by_now(emulator: Emulator, call: Call) -> None:
    """`resume` pays for nothing that was generated since, and asks nothing if nothing is left."""
    await call("generate --all --watch --max-generations 1")
    await call(f"generate {GIFT_CARD} --watch --yes", *DRAFTS)
    paid = len(emulator.generations)
    ended = await call("resume 1 --max-generations 9")
    assert (ended.code, len(emulator.generations)) == (0, paid)
    assert ended.output.endswith(": 5 generated\n")
    await interrupted(call, "generate 'Draft 1' --watch", at=10)
    ended = await call("resume")
    assert (ended.code, len(emulator.generations)) == (0, paid + 1)


async def test_limit_is_a_verdict_of_its_own(emulator: Emulator, call: Call) -> None:
    """What the ceiling stopped is no error of the service, in JSON and in a later report."""
    typed = "generate 'Draft 1' --watch --json --max-generations 0"
    ended = await call(typed)
    assert [item["verdict"] for item in ended.json["items"]] == ["stopped at the limit"]
    assert (ended.code, ended.json["exitCode"]) == (4, 4)
    summary = ended.json["summary"]
    assert (summary["errors"], summary["stoppedAtLimit"]) == (0, 1)
    ended = await call("report")
    assert (ended.code, ended.output[-26:]) == (4, "1: 1 stopped at the limit\n")
    ended = await call("generate 'Draft 2' 'Draft 3' --max-generations 1")
    assert (ended.code, len(emulator.generations)) == (4, 1)
    ended = await call("generate 'Draft 3' --max-generations 0")
    assert ended.errors.endswith(":\n  testvibe-async resume 3\n")  # Nothing is in flight.


@pytest.mark.parametrize(
    ("typed", "question"),
    [
        ("generate --all", "Generate 5 features?"),
        ("generate Draft*", "Generate 4 features?"),
        ("generate Returns Checkout Draft*", "Generate 6 features, replacing the tests of 2?"),
        ("generate *gift*", "Generate 1 feature?"),
        ("generate Wish*", "Generate 1 feature, replacing the tests of 1?"),
        ("generate 'Draft 1'", ""),
        ("generate Checkout", ""),
    ],
)
async def test_more_than_was_typed_needs_a_yes(
    typed: str, question: str, emulator: Emulator, call: Call, give: Give
) -> None:
    """What may generate more than was named asks a person, and spends nothing where none is."""
    ended = await call(typed)
    if not question:
        assert (ended.code, emulator.count("generate_feature")) == (0, 1)
        return
    assert (ended.code, ended.output, emulator.count("generate_feature")) == (2, "", 0)
    assert f"{question} Each costs credits. This needs confirmation, but " in ended.errors
    assert "--yes" in ended.errors
    for answer in (b"n\n", b"\n"):
        give(answer, on_terminal=True)
        assert (await call(typed)).code == 2
        assert not emulator.generations
    give(b"y\n", on_terminal=True)
    await call(typed)
    assert emulator.generations


async def test_nobody_answers_in_a_ci_system(
    emulator: Emulator, call: Call, give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CI system with a terminal is not asked, where the job would hang."""
    monkeypatch.setenv("CI", "true")
    give(b"y\n", on_terminal=True)
    ended = await call("generate Draft*")
    assert (ended.code, len(emulator.generations)) == (2, 0)


async def test_a_decision_is_not_kept_where_its_price_is_refused(
    emulator: Emulator, call: Call
) -> None:
    """What is unknown stays so, and the next `resume` asks again, or is told again."""
    emulator.fail("generate_feature", Fault.lost(), times=1)
    hidden = emulator.fail("get_generation_status", Fault.status(503), skip=1)
    await call("generate 'Draft 1' --watch --yes")
    hidden.remove()
    assert (await call("report")).code == 5
    ended = await call("resume --unknown resend")
    assert (ended.code, emulator.count("generate_feature")) == (2, 1)
    reported = await call("report")
    assert reported.code == 5
    assert "generation show" in reported.output + reported.errors
