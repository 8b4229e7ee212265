"""Runs: dispatch, states, digests, lists, diagnoses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.testing import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller

ROW = {
    "runId",
    "status",
    "featureId",
    "featureName",
    "config",
    "siteUrl",
    "createdUtc",
    "startedUtc",
    "finishedUtc",
    "summary",
}
DIGEST = ROW | {"tests", "artifacts"}
DIAGNOSIS = (ROW - {"createdUtc", "startedUtc"}) | {
    "verdict",
    "failures",
    "gherkin",
    "specs",
    "artifacts",
    "log",
}
TEST = {"name", "status", "durationMs", "error"}
FAILING = {"outcomes": {"Checkout": Outcome(run_status="failed")}}


async def test_a_dispatch_answers_with_the_ids(call: Caller) -> None:
    """Running answers 202 with the ids of run and feature; the run has the given settings."""
    body = {"config": "Mobile", "siteUrl": "https://staging.example"}
    reply = await call("POST", "/features/Checkout/run", body)
    assert reply.status == 202
    assert set(reply.document) == {"runId", "featureId"}
    run = await call.get(f"/runs/{reply.document['runId']}")
    assert run["featureId"] == reply.document["featureId"]
    assert run | body == run


async def test_a_run_has_defaults(call: Caller) -> None:
    """Without fields the run uses the default configuration and the project's own site."""
    run = await call.get(f"/runs/{await call.run()}")
    assert (run["config"], run["siteUrl"]) == ("Default", "https://shop.acme.example")


@pytest.mark.parametrize("body", [{"config": 1}, {"siteUrl": False}])
async def test_settings_have_to_be_texts(call: Caller, body: dict[str, Any]) -> None:
    """A field of another type is answered with 400, and nothing is dispatched."""
    reply = await call("POST", "/features/Checkout/run", body)
    assert reply.error == (400, "invalid_request")
    assert not call.emulator.runs


@pytest.mark.parametrize("status", ["draft", "generating", "failed", "cancelled"])
async def test_only_a_generated_feature_runs(call: Caller, status: str) -> None:
    """A feature of any other status is a conflict."""
    call.emulator.add_feature("Other", status=status)
    assert (await call("POST", "/features/Other/run", {})).error == (409, "conflict")


async def test_a_run_is_queued_executes_and_ends(call: Caller) -> None:
    """The status is `running` until the end; the timestamps show the phases."""
    run_id = await call.run()
    seen: list[tuple[object, ...]] = []
    for seconds in (4.9, 0.1, 29.9, 0.1, 1000):
        await asyncio.sleep(seconds)
        run = await call.get(f"/runs/{run_id}")
        assert set(run) == DIGEST
        seen.append((run["status"], run["startedUtc"], run["finishedUtc"]))
    started, finished = "2026-06-10T14:42:16Z", "2026-06-10T14:42:46Z"
    assert seen == [
        ("running", None, None),
        ("running", started, None),
        ("running", started, None),
        ("passed", started, finished),
        ("passed", started, finished),
    ]


async def test_a_passed_run_has_a_result_for_each_test(call: Caller) -> None:
    """The tests are those of the feature's scenarios; their times fit into the run's."""
    run_id = await call.run("Discount codes")
    await asyncio.sleep(60)
    run = await call.get(f"/runs/{run_id}")
    assert "log" not in run
    assert run["summary"] == {"total": 4, "passed": 3, "failed": 0, "other": 1}
    assert all(set(test) == TEST for test in run["tests"])
    assert [test["name"] for test in run["tests"]] == [
        "Code lowers the total",
        "Unknown code is refused",
        "Code is removed",
        "Two codes are combined",
    ]
    assert [test["status"] for test in run["tests"]] == ["passed"] * 3 + ["skipped"]
    assert run["tests"][3]["durationMs"] == 0
    assert sum(test["durationMs"] for test in run["tests"]) == pytest.approx(27_000, abs=2)
    assert [file["kind"] for file in run["artifacts"]] == ["report"]


async def test_a_failed_run_says_what_failed(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """A failing test has an error, a trace and a screenshot; the run has a log."""
    call = await emulate(scenario=FAILING)
    run_id = await call.run()
    await asyncio.sleep(60)
    run = await call.get(f"/runs/{run_id}")
    assert set(run) == DIGEST | {"log"}
    failing = [test for test in run["tests"] if test["status"] == "failed"]
    assert failing
    assert run["status"] == "failed"
    assert run["summary"]["failed"] == len(failing)
    assert run["summary"]["total"] == len(run["tests"])
    assert all(test["error"] for test in failing)
    assert all(test["error"] is None for test in run["tests"] if test["status"] == "passed")
    kinds = [file["kind"] for file in run["artifacts"]]
    assert kinds == ["trace", "screenshot"] * len(failing) + ["report"]
    for test in failing:
        assert test["error"].splitlines()[0] in run["log"]
    assert run["log"].endswith(f"{run['summary']['passed']} passed")


@pytest.mark.parametrize(
    ("running_digest", "unfinished"),
    [
        ("null", {"summary": None, "tests": None, "artifacts": None}),
        ("empty", {"summary": {}, "tests": [], "artifacts": []}),
        ("absent", {}),
    ],
)
async def test_an_unfinished_digest_has_what_was_chosen(
    emulate: Callable[..., Awaitable[Caller]], running_digest: str, unfinished: dict[str, Any]
) -> None:
    """Unknown results are null, empty or absent, in a digest and in a list's row."""
    call = await emulate(running_digest=running_digest)
    run_id = await call.run()
    run = await call.get(f"/runs/{run_id}")
    results = {"summary", "tests", "artifacts"}
    assert {key: run[key] for key in run.keys() & results} == unfinished
    assert set(run) - results == ROW - {"summary"}
    (row,) = await call.get("/runs")
    assert {key: row[key] for key in row.keys() & results} == {
        key: value for key, value in unfinished.items() if key == "summary"
    }
    await asyncio.sleep(60)
    assert set(await call.get(f"/runs/{run_id}")) == DIGEST


@pytest.mark.parametrize("key", ["213", "999999", "x", "", "214x", "-1", "2" * 40])
async def test_an_unknown_run_is_not_found(call: Caller, key: str) -> None:
    """An unknown or invalid run number is answered with 404."""
    await call.run()
    for path in ("", "/diagnosis", "/artifacts"):
        assert (await call("GET", f"/runs/{key}{path}")).error == (404, "not_found")


async def test_a_run_belongs_to_its_project(call: Caller) -> None:
    """The run of another project is not found."""
    run_id = await call.run()
    other = call.emulator.add_project("Other")
    reply = await call.send(
        "GET",
        f"/api/v1/ops/projects/{other.id}/runs/{run_id}",
        headers={"Authorization": f"Bearer {call.emulator.api_key}"},
    )
    assert reply.error == (404, "not_found")


async def test_the_list_shows_the_newest_first(call: Caller) -> None:
    """Rows are digests without tests, artifacts and log, the latest dispatch first."""
    first, second = await call.run("Checkout"), await call.run("Wishlist")
    await asyncio.sleep(10)
    third = await call.run("Checkout")
    await asyncio.sleep(27)
    rows = await call.get("/runs")
    assert [row["runId"] for row in rows] == [third, second, first]
    assert [row["status"] for row in rows] == ["running", "passed", "passed"]
    assert all(set(row) == ROW for row in rows)
    digest = await call.get(f"/runs/{first}")
    assert rows[2] == {key: digest[key] for key in ROW}
    await asyncio.sleep(60)
    assert (await call.get("/runs"))[0]["status"] == "passed"


async def test_the_list_can_be_narrowed(call: Caller) -> None:
    """`feature` takes a name or an id, and `limit` the number of rows; 50 without it."""
    for _ in range(30):
        await call.run("Checkout")
        await call.run("Wishlist")
    last = max(call.emulator.runs)
    assert len(await call.get("/runs")) == 50
    assert len(await call.get("/runs?limit=60")) == 60
    assert [row["runId"] for row in await call.get("/runs?limit=1")] == [last]
    rows = await call.get("/runs?feature=wishLIST&limit=60")
    assert {row["featureName"] for row in rows} == {"Wishlist"}
    assert len(rows) == 30
    assert await call.get(f"/runs?feature={rows[0]['featureId']}&limit=60") == rows


@pytest.mark.parametrize("limit", ["0", "-1", "x", "", "1.5"])
async def test_a_limit_is_a_whole_number_above_zero(call: Caller, limit: str) -> None:
    """Any other limit is answered with 400."""
    assert (await call("GET", f"/runs?limit={limit}")).error == (400, "invalid_request")


async def test_the_list_of_an_unknown_feature_is_not_found(call: Caller) -> None:
    """A feature that does not exist has no list of runs."""
    assert (await call("GET", "/runs?feature=Nowhere")).error == (404, "not_found")


async def test_a_diagnosis_has_all_that_helps(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """A failed run's diagnosis holds failures, text, tests, links and log."""
    call = await emulate(scenario=FAILING)
    run_id = await call.run()
    await asyncio.sleep(60)
    digest = await call.get(f"/runs/{run_id}")
    diagnosis = await call.get(f"/runs/{run_id}/diagnosis")
    assert set(diagnosis) == DIAGNOSIS
    assert diagnosis["verdict"] == diagnosis["status"] == "failed"
    assert set(diagnosis["summary"]) == {"total", "passed", "failed"}
    failing = [test for test in digest["tests"] if test["status"] == "failed"]
    assert diagnosis["failures"] == [
        test | {"name": f"Checkout > {test['name']}"} for test in failing
    ]
    assert diagnosis["gherkin"] == (await call.get("/features/Checkout"))["gherkin"]
    spec = await call.get("/files/content?path=tests/checkout.spec.ts")
    assert diagnosis["specs"] == [{"path": spec["path"], "content": spec["content"]}]
    assert diagnosis["log"] == digest["log"]
    assert [set(file) for file in diagnosis["artifacts"]] == [
        {"kind", "path", "size", "url"}
    ] * len(digest["artifacts"])


async def test_a_diagnosis_of_an_unfinished_run_has_no_verdict(call: Caller) -> None:
    """The diagnosis of an unfinished run has no results."""
    diagnosis = await call.get(f"/runs/{await call.run()}/diagnosis")
    assert set(diagnosis) == DIAGNOSIS
    empty: dict[str, Any] = {
        "verdict": None,
        "summary": None,
        "failures": [],
        "artifacts": [],
        "log": None,
    }
    assert diagnosis | empty == diagnosis
    assert diagnosis["status"] == "running"


@pytest.mark.parametrize("status", ["passed", "failed"])
@pytest.mark.parametrize("seconds", [1, 20])
async def test_a_test_can_end_a_run(call: Caller, status: Any, seconds: float) -> None:
    """`finish_run` finishes a run, queued or not, and does not change a finished one."""
    run_id = await call.run()
    await asyncio.sleep(seconds)
    assert (await call.get("/runs"))[0]["status"] == "running"
    call.emulator.finish_run(run_id, status)
    call.emulator.finish_run(run_id, "failed" if status == "passed" else "passed")
    assert call.emulator.runs[run_id].status == status
    assert not call.emulator.active_runs()
    run = await call.get(f"/runs/{run_id}")
    assert run["status"] == status
    assert (run["summary"]["failed"] > 0) is (status == "failed")
    assert run["finishedUtc"] == f"2026-06-10T14:42:{11 + seconds}Z"
    assert run["startedUtc"] == f"2026-06-10T14:42:{11 + min(seconds, 5)}Z"
    assert (await call.get("/runs"))[0]["status"] == status


async def test_what_is_in_flight_is_known(call: Caller) -> None:
    """Runs in flight finish by the clock or on request; the largest number stays known."""
    emulator = call.emulator
    first, second = await call.run(), await call.run()
    assert [run.id for run in emulator.active_runs()] == [first, second]
    emulator.finish_run(first)
    assert [run.id for run in emulator.active_runs()] == [second]
    await asyncio.sleep(34.9)
    third = await call.run()
    assert emulator.max_active_runs == 2
    await asyncio.sleep(0.1)
    assert [run.id for run in emulator.active_runs()] == [third]
    await asyncio.sleep(60)
    assert not emulator.active_runs()
    await call.run()
    assert emulator.max_active_runs == 2
    await call.generate("Checkout")
    await call.generate("Wishlist")
    assert len(emulator.active_generations()) == emulator.max_active_generations == 2
