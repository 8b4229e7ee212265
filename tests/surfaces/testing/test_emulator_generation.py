"""Generations: dispatch, progress, log, end, cancellation, credits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from testvibe_async.testing import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller

STATUS = {
    "featureId",
    "featureName",
    "featureStatus",
    "requestId",
    "runnerStarted",
    "overallStatus",
    "overallConclusion",
    "updatedUtc",
    "sections",
}
SECTION = {"section", "status", "conclusion", "updatedUtc"}
LOG_SECTION = {"section", "title", "state", "conclusion", "statusReason", "log"}
DRAFT = "Checkout with gift card"
"""Three scenarios: 20 s of warm-up, 3 times 40 s, 10 s of verification."""
F = "/features/Checkout%20with%20gift%20card"


async def test_a_dispatch_answers_with_the_ids(call: Caller) -> None:
    """Generating answers 202 with a request id, which is a UUID, and the feature's id."""
    reply = await call("POST", F + "/generate", {"siteUrl": "https://staging.example"})
    assert reply.status == 202
    assert set(reply.document) == {"requestId", "featureId"}
    assert UUID(reply.document["requestId"]).version == 4
    assert reply.document["featureId"] == call.emulator.features[DRAFT].id
    generation = call.emulator.generations[reply.document["requestId"]]
    assert generation.site_url == "https://staging.example"


async def test_a_feature_generates_once_at_a_time(call: Caller) -> None:
    """A second dispatch is the documented conflict until the first is finished."""
    first = await call.generate(DRAFT)
    reply = await call("POST", F + "/generate", {})
    assert reply.status == 409
    assert reply.document == {
        "error": "conflict",
        "message": "This feature is already generating.",
    }
    await asyncio.sleep(150)
    assert await call.generate(DRAFT) != first


async def test_a_feature_never_generated_has_only_some_fields(call: Caller) -> None:
    """Its status only names the feature; its log is empty."""
    status = await call.get(F + "/generation")
    assert set(status) == {"featureId", "featureName", "featureStatus"}
    assert status["featureStatus"] == "draft"
    log = await call.get(F + "/generation/log")
    assert set(log) == {"featureId", "featureName", "requestId", "sections"}
    assert (log["requestId"], log["sections"]) == (None, [])


async def test_a_generation_goes_from_stage_to_stage(call: Caller) -> None:
    """It warms up, works on one section after the other, verifies, and is finished."""
    request_id = await call.generate(DRAFT)
    seen: list[tuple[object, ...]] = []
    for seconds in (19.9, 0.1, 39.9, 0.1, 40, 40, 9.9, 0.1):
        await asyncio.sleep(seconds)
        status = await call.get(F + "/generation")
        assert set(status) == STATUS
        assert all(set(section) == SECTION for section in status["sections"])
        assert status["requestId"] == request_id
        states = [section["status"][0] for section in status["sections"]]
        seen.append(
            (
                status["featureStatus"],
                status["runnerStarted"],
                status["overallStatus"],
                status["overallConclusion"],
                "".join(states),
                status["updatedUtc"][14:19],
            )
        )
    assert seen == [
        ("generating", False, "queued", None, "qqq", "42:11"),
        ("generating", True, "in_progress", None, "iqq", "42:31"),
        ("generating", True, "in_progress", None, "iqq", "42:31"),
        ("generating", True, "in_progress", None, "ciq", "43:11"),
        ("generating", True, "in_progress", None, "cci", "43:51"),
        ("generating", True, "in_progress", None, "ccc", "44:31"),
        ("generating", True, "in_progress", None, "ccc", "44:31"),
        ("generated", True, "completed", "success", "ccc", "44:41"),
    ]


async def test_a_generated_feature_can_run(call: Caller) -> None:
    """After its generation a feature has the status `generated`, and can run."""
    assert (await call("POST", F + "/run", {})).error == (409, "conflict")
    await call.generate(DRAFT)
    assert (await call("POST", F + "/run", {})).error == (409, "conflict")
    assert (await call.get(F))["status"] == "generating"
    await asyncio.sleep(150)
    feature = await call.get(F)
    assert feature["status"] == "generated"
    assert feature["updatedUtc"] == "2026-06-10T14:44:41Z"
    assert (await call("POST", F + "/run", {})).status == 202


async def test_a_section_has_the_time_of_its_last_change(call: Caller) -> None:
    """Each section has the timestamp of its own last change."""
    await call.generate(DRAFT)
    await asyncio.sleep(70)
    sections = (await call.get(F + "/generation"))["sections"]
    assert [section["updatedUtc"][14:19] for section in sections] == ["43:11", "43:11", "42:11"]
    assert [section["conclusion"] for section in sections] == ["success", None, None]
    assert sections[0]["section"] == "gift-card-covers-the-whole-order"


async def test_the_log_fills_as_the_work_goes_on(call: Caller) -> None:
    """Lines are added while a section is in progress; the last one shows its result."""
    await call.generate(DRAFT)
    lengths: list[list[int]] = []
    log: Any = None
    for _ in range(8):
        log = await call.get(F + "/generation/log")
        assert set(log) == {"featureId", "featureName", "requestId", "sections"}
        assert all(set(section) == LOG_SECTION for section in log["sections"])
        lengths.append([len(section["log"]) for section in log["sections"]])
        await asyncio.sleep(20)
    assert lengths == sorted(lengths)
    assert lengths[:2] == [[0, 0, 0], [1, 0, 0]]
    assert lengths[2] == [3, 0, 0]
    first = log["sections"][0]
    assert first["title"] == "Gift card covers the whole order"
    assert (first["state"], first["conclusion"], first["statusReason"]) == (
        "completed",
        "success",
        None,
    )
    assert first["log"][-1] == "Verification: 1/1 passed."


async def test_a_line_of_the_log_has_600_characters_at_most(call: Caller) -> None:
    """Longer lines are cut."""
    step = "Given " + "very " * 300 + "long"
    call.emulator.add_feature("Long", f"Feature: Long\n  Scenario: A\n    {step}\n")
    await call.generate("Long")
    await asyncio.sleep(600)
    (section,) = (await call.get("/features/Long/generation/log"))["sections"]
    assert max(len(line) for line in section["log"]) == 600


async def test_a_failed_generation_says_why(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """One section fails, its log and its reason show that, and the feature can't run."""
    outcomes = {DRAFT: Outcome(generation_status="failed")}
    call = await emulate(scenario={"outcomes": outcomes})
    await call.generate(DRAFT)
    await asyncio.sleep(150)
    status = await call.get(F + "/generation")
    assert status["featureStatus"] == "failed"
    assert (status["overallStatus"], status["overallConclusion"]) == ("completed", "failure")
    conclusions = [section["conclusion"] for section in status["sections"]]
    assert sorted(conclusions) == ["failure", "success", "success"]
    log = (await call.get(F + "/generation/log"))["sections"][conclusions.index("failure")]
    assert log["statusReason"] == "Tests did not pass verification"
    assert log["log"][-1].startswith("Verification: 0/1 passed — selector '#gift-card-covers-")
    assert (await call.get(F))["status"] == "failed"
    assert (await call("POST", F + "/run", {})).error == (409, "conflict")


@pytest.mark.parametrize(
    ("seconds", "started", "conclusions", "stamps"),
    [
        (10, False, ["cancelled", "cancelled", "cancelled"], ["42:21", "42:21", "42:21"]),
        (70, True, ["success", "cancelled", "cancelled"], ["43:11", "43:21", "43:21"]),
        (145, True, ["success", "success", "success"], ["43:11", "43:51", "44:31"]),
    ],
)
async def test_a_cancelled_generation_ends_at_once(
    call: Caller, seconds: float, *, started: bool, conclusions: list[str], stamps: list[str]
) -> None:
    """Sections in progress end as cancelled, and stay so."""
    await call.generate(DRAFT)
    await asyncio.sleep(seconds)
    reply = await call("POST", F + "/generation/cancel")
    assert (reply.status, reply.document) == (200, {"ok": True})
    assert not call.emulator.active_generations()
    for _ in range(2):
        status = await call.get(F + "/generation")
        assert status["featureStatus"] == "cancelled"
        assert status["overallConclusion"] == "cancelled"
        assert status["runnerStarted"] is started
        assert [section["conclusion"] for section in status["sections"]] == conclusions
        assert [section["updatedUtc"][14:19] for section in status["sections"]] == stamps
        await asyncio.sleep(600)
    log = (await call.get(F + "/generation/log"))["sections"][-1]
    if conclusions[-1] == "cancelled":
        assert log["statusReason"] == "Cancelled on request"
        assert log["log"] == ["Stopped: the generation was cancelled."]


async def test_nothing_is_cancelled_where_nothing_is_in_flight(call: Caller) -> None:
    """Cancelling is a conflict before a generation, and after its end."""
    for _ in range(2):
        assert (await call("POST", F + "/generation/cancel")).error == (409, "conflict")
        if not call.emulator.generations:
            await call.generate(DRAFT)
            await asyncio.sleep(600)


async def test_a_feature_generated_before_has_a_generation(call: Caller) -> None:
    """A feature that starts as generated, failed or cancelled has a past generation."""
    call.emulator.add_feature("Broken", status="failed")
    call.emulator.add_feature("Stopped", status="cancelled")
    for name, conclusion in [
        ("Checkout", "success"),
        ("Broken", "failure"),
        ("Stopped", "cancelled"),
    ]:
        status = await call.get(f"/features/{name}/generation")
        assert set(status) == STATUS
        assert status["overallConclusion"] == conclusion
        assert status["updatedUtc"] < "2026-06-10T13:42:12Z"
        assert await call.get(f"/features/{name}/generation") == status
        log = await call.get(f"/features/{name}/generation/log")
        assert log["requestId"] == status["requestId"]
        assert await call.generate(name) != status["requestId"]
    assert len(call.emulator.generations) == 3


async def test_a_past_generation_does_not_depend_on_later_texts(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """A past generation has the text at the start, not a later one."""
    statuses: list[Any] = []
    for look_first in (True, False):
        call = await emulate()
        if look_first:
            await call.get("/features/Checkout/generation")
        await call("PATCH", "/features/Checkout", {"gherkin": "Feature: Checkout\n"})
        statuses.append(await call.get("/features/Checkout/generation"))
    assert statuses[0] == statuses[1]


async def test_an_update_does_not_reach_generated_tests(call: Caller) -> None:
    """Runs execute the generated tests, not the current text."""
    await call.generate(DRAFT)
    await asyncio.sleep(150)
    text = "Feature: x\n  Scenario: Brand new\n"
    assert (await call("PATCH", F, {"gherkin": text})).status == 200
    run_id = await call.run(DRAFT)
    await asyncio.sleep(60)
    names = [test["name"] for test in (await call.get(f"/runs/{run_id}"))["tests"]]
    assert names[0] == "Gift card covers the whole order"
    assert (await call.get(f"/runs/{run_id}/diagnosis"))["gherkin"] == text
    await call.generate(DRAFT)
    await asyncio.sleep(150)
    run_id = await call.run(DRAFT)
    await asyncio.sleep(60)
    assert [test["name"] for test in (await call.get(f"/runs/{run_id}"))["tests"]] == ["Brand new"]


async def test_a_failed_generation_leaves_the_former_tests(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """A feature whose latest generation failed can't run, although its former tests exist."""
    outcomes = {"Checkout": Outcome(generation_status="failed")}
    call = await emulate(scenario={"outcomes": outcomes})
    spec = await call.get("/files/content?path=tests/checkout.spec.ts")
    assert await call.run("Checkout")
    await call("PATCH", "/features/Checkout", {"gherkin": "Feature: x\n  Scenario: y\n"})
    await call.generate("Checkout")
    await asyncio.sleep(600)
    rows = {row["name"]: row["status"] for row in await call.get("/features")}
    assert rows["Checkout"] == "failed"
    assert await call.get("/files/content?path=tests/checkout.spec.ts") == spec
    assert (await call("POST", "/features/Checkout/run", {})).error == (409, "conflict")


async def test_each_dispatch_costs_a_credit(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """Without credits a dispatch is forbidden; a conflict costs nothing."""
    call = await emulate(credits=2)
    await call.generate("Checkout")
    assert (await call("POST", "/features/Checkout/generate", {})).error == (409, "conflict")
    assert call.emulator.credits_left == 1
    await call.generate("Wishlist")
    reply = await call("POST", "/features/Returns/generate", {})
    assert reply.error == (403, "forbidden")
    assert call.emulator.credits_left == 0
    assert (await call.get("/features/Returns"))["status"] == "generated"


@pytest.mark.parametrize("body", [{"siteUrl": 1}, {"siteUrl": []}])
async def test_a_site_has_to_be_a_text(call: Caller, body: dict[str, Any]) -> None:
    """A field of another type is answered with 400, and costs nothing."""
    assert (await call("POST", F + "/generate", body)).error == (400, "invalid_request")
    assert not call.emulator.generations


@pytest.mark.parametrize(
    ("status", "conclusions"),
    [
        ("generated", ["success", "success", "success"]),
        ("failed", ["success", "failure", "failure"]),
        ("cancelled", ["success", "cancelled", "cancelled"]),
    ],
)
async def test_a_test_can_end_a_generation(
    call: Caller, status: Any, conclusions: list[str]
) -> None:
    """`finish_generation` finishes a generation, and does not change a finished one."""
    request_id = await call.generate(DRAFT)
    await asyncio.sleep(70)
    call.emulator.finish_generation(request_id, status)
    for _ in range(2):
        document = await call.get(F + "/generation")
        assert document["featureStatus"] == status
        assert call.emulator.generations[request_id].status == status
        assert call.emulator.features[DRAFT].status == status
        assert [section["conclusion"] for section in document["sections"]] == conclusions
        call.emulator.finish_generation(request_id, "failed")


async def test_a_generation_made_to_fail_late_has_a_section_that_failed(call: Caller) -> None:
    """If all sections have succeeded already, the last one fails."""
    request_id = await call.generate(DRAFT)
    await asyncio.sleep(145)
    call.emulator.finish_generation(request_id, "failed")
    sections = (await call.get(F + "/generation"))["sections"]
    assert [section["conclusion"] for section in sections] == ["success", "success", "failure"]


async def test_a_generation_made_to_succeed_has_no_section_that_failed(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """No section fails if the whole generation is made to succeed."""
    call = await emulate(scenario={"failing_generations": 1})
    request_id = await call.generate(DRAFT)
    await asyncio.sleep(145)
    call.emulator.finish_generation(request_id)
    sections = (await call.get(F + "/generation"))["sections"]
    assert {section["conclusion"] for section in sections} == {"success"}


async def test_a_feature_can_start_as_generating(call: Caller) -> None:
    """`add_feature` with the status `generating` has a generation in flight."""
    feature = call.emulator.add_feature("Busy", status="generating")
    assert feature.generation in call.emulator.active_generations()
    assert (await call("POST", "/features/Busy/generate", {})).error == (409, "conflict")
    await asyncio.sleep(600)
    assert (await call.get("/features/Busy"))["status"] == "generated"


async def test_sections_of_one_name_have_words_of_their_own(call: Caller) -> None:
    """Two scenarios of one name give two sections with different names."""
    text = "Feature: Twins\n  Scenario: A b\n  Scenario: a-B\n"
    call.emulator.add_feature("Twins", text)
    sections = (await call.get("/features/Twins/generation"))["sections"]
    assert [section["section"] for section in sections] == ["a-b", "a-b-2"]


async def test_a_scenario_outline_is_one_section_of_many_tests(call: Caller) -> None:
    """The log counts a case for each example."""
    sections = (await call.get("/features/Checkout/generation/log"))["sections"]
    assert sections[-1]["title"] == "Delivery costs depend on the country"
    assert sections[-1]["log"][-2:] == [
        "Generated 2 test cases from the scenario.",
        "Verification: 2/2 passed.",
    ]
