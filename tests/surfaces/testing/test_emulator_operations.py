"""Runs and generations: dispatch, states, documents, lists, ends."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.surfaces.testing.conftest import Caller, Emulate
from testvibe_async.testing import Outcome

FAILING = {"outcomes": {"Checkout": Outcome(run_status="failed")}}
LONG = Outcome(run_duration=200)
DRAFT = "Checkout with gift card"
"""Three scenarios: 20 s of warm-up, 3 times 40 s, 10 s of verification."""
F = "/features/Checkout%20with%20gift%20card"


def minutes(stamp: str) -> str:
    """Return the minutes and seconds of a timestamp."""
    return stamp[14:19]


def conclusions(status: Any) -> list[str]:
    """Return the conclusions of the sections of a status document."""
    return [section["conclusion"] for section in status["sections"]]


class TestRuns:
    async def test_a_run_is_queued_executes_and_ends(self, call: Caller) -> None:
        """The status is `running` until the end; the timestamps show the phases.

        A diagnosis has no results before.
        """
        run_id = await call.run()
        diagnosis = await call.get(f"/runs/{run_id}/diagnosis")
        empty: dict[str, Any] = {"failures": [], "artifacts": [], "status": "running"}
        empty |= dict.fromkeys(("verdict", "summary", "log"))
        assert diagnosis | empty == diagnosis
        seen: list[tuple[object, ...]] = []
        for seconds in (4.9, 0.1, 29.9, 0.1, 1000):
            await asyncio.sleep(seconds)
            run = await call.get(f"/runs/{run_id}")
            results = (run["summary"], run["tests"], run["artifacts"])
            assert (results == (None, None, None)) is (run["status"] == "running")
            (row,) = await call.get("/runs")
            assert row == {key: run[key] for key in row}
            seen.append((run["status"], run["startedUtc"], run["finishedUtc"]))
        started, finished = "2026-06-10T14:42:16Z", "2026-06-10T14:42:46Z"
        assert seen == [
            ("running", None, None),
            *[("running", started, None)] * 2,
            *[("passed", started, finished)] * 2,
        ]

    async def test_a_failed_run_says_what_failed(self, emulate: Emulate) -> None:
        """A failing test has an error, a trace and a screenshot; digest and diagnosis a log."""
        call = await emulate(scenario=FAILING)
        run_id = await call.run()
        await asyncio.sleep(60)
        run = await call.get(f"/runs/{run_id}")
        failing = [test for test in run["tests"] if test["status"] == "failed"]
        assert failing == [test for test in run["tests"] if test["error"]] != []
        assert run["status"] == "failed"
        assert run["summary"]["failed"] == len(failing)
        assert run["summary"]["total"] == len(run["tests"])
        kinds = [file["kind"] for file in run["artifacts"]]
        assert kinds == ["trace", "screenshot"] * len(failing) + ["report"]
        assert all(test["error"].splitlines()[0] in run["log"] for test in failing)
        assert run["log"].endswith(f"{run['summary']['passed']} passed")

        diagnosis = await call.get(f"/runs/{run_id}/diagnosis")
        assert diagnosis["verdict"] == diagnosis["status"] == "failed"
        assert diagnosis["summary"] | {"other": 0} == run["summary"]
        assert diagnosis["failures"] == [
            test | {"name": f"Checkout > {test['name']}"} for test in failing
        ]
        assert diagnosis["gherkin"] == (await call.get("/features/Checkout"))["gherkin"]
        spec = await call.get("/files/content?path=tests/checkout.spec.ts")
        assert diagnosis["specs"] == [{"path": spec["path"], "content": spec["content"]}]
        assert diagnosis["log"] == run["log"]
        links = [file | {"url": ""} for file in diagnosis["artifacts"]]
        assert links == [file | {"url": ""} for file in run["artifacts"]]

    @pytest.mark.parametrize(("status", "seconds"), [("passed", 1), ("failed", 20)])
    async def test_a_test_can_end_a_run(self, call: Caller, status: Any, seconds: float) -> None:
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

    async def test_old_runs_are_dropped(self, emulate: Emulate) -> None:
        """With a retention, only the newest runs are kept, and those in flight; ids go on."""
        call = await emulate(retention=3, scenario={"outcomes": {"Returns": LONG}})
        for _ in range(4):
            await call.run("Wishlist")
        assert len(call.emulator.runs) == 4
        await asyncio.sleep(60)
        newest = [await call.run("Checkout"), await call.run("Returns")]
        assert sorted(call.emulator.runs) == [217, *newest]
        assert (await call("GET", "/runs/216")).error == (404, "not_found")
        assert [row["runId"] for row in await call.get("/runs?feature=Wishlist")] == [217]
        for _ in range(3):
            await asyncio.sleep(60)
            newest.append(await call.run("Checkout"))
        assert sorted(call.emulator.runs) == [219, *newest[2:]]
        assert [row["runId"] for row in await call.get("/runs")] == [222, 221, 220, 219]
        assert await call.get("/runs?feature=Wishlist") == []


class TestGenerations:
    async def test_a_feature_generates_once_at_a_time(self, call: Caller) -> None:
        """Generating answers 202 with ids; a second one is the documented conflict."""
        reply = await call("POST", F + "/generate", {"siteUrl": "https://staging.example"})
        assert reply.status == 202
        feature, request_id = call.emulator.features[DRAFT], reply.document["requestId"]
        assert reply.document == {"requestId": request_id, "featureId": feature.id}
        assert UUID(request_id).version == 4
        assert call.emulator.generations[request_id].site_url == "https://staging.example"
        assert (await call("POST", F + "/generate", {})).error == (409, "conflict")
        await asyncio.sleep(150)
        assert await call.generate(DRAFT) != request_id

    async def test_a_generation_goes_from_stage_to_stage(self, call: Caller) -> None:
        """It warms up, works on one section after the other, verifies; then the feature can run."""
        assert (await call("POST", F + "/run", {})).error == (409, "conflict")
        request_id = await call.generate(DRAFT)
        seen: list[tuple[object, ...]] = []
        for seconds in (19.9, 0.1, 39.9, 0.1, 40, 40, 9.9, 0.1):
            await asyncio.sleep(seconds)
            status = await call.get(F + "/generation")
            assert (status["requestId"], status["runnerStarted"]) == (request_id, len(seen) > 0)
            sections = " ".join(
                f"{each['status'][0]}{minutes(each['updatedUtc'])}" for each in status["sections"]
            )
            words = (status["featureStatus"], status["overallStatus"], status["overallConclusion"])
            seen.append((*words, sections, minutes(status["updatedUtc"])))
            assert (await call.get(F))["status"] == words[0]
        at_work = ("generating", "in_progress", None)
        assert seen == [
            ("generating", "queued", None, "q42:11 q42:11 q42:11", "42:11"),
            *[(*at_work, "i42:31 q42:11 q42:11", "42:31")] * 2,
            (*at_work, "c43:11 i43:11 q42:11", "43:11"),
            (*at_work, "c43:11 c43:51 i43:51", "43:51"),
            *[(*at_work, "c43:11 c43:51 c44:31", "44:31")] * 2,
            ("generated", "completed", "success", "c43:11 c43:51 c44:31", "44:41"),
        ]
        assert (await call.get(F))["updatedUtc"] == "2026-06-10T14:44:41Z"
        assert (await call("POST", F + "/run", {})).status == 202

    @pytest.mark.parametrize(
        ("seconds", "started", "ends", "stamps"),
        [
            (10, False, ["cancelled"] * 3, ["42:21", "42:21", "42:21"]),
            (70, True, ["success", "cancelled", "cancelled"], ["43:11", "43:21", "43:21"]),
            (145, True, ["success"] * 3, ["43:11", "43:51", "44:31"]),
        ],
    )
    async def test_a_cancelled_generation_ends_at_once(
        self, call: Caller, seconds: float, *, started: bool, ends: list[str], stamps: list[str]
    ) -> None:
        """Sections in progress end as cancelled, and stay so; nothing is cancelled twice."""
        assert (await call("POST", F + "/generation/cancel")).error == (409, "conflict")
        await call.generate(DRAFT)
        await asyncio.sleep(seconds)
        reply = await call("POST", F + "/generation/cancel")
        assert (reply.status, reply.document) == (200, {"ok": True})
        assert not call.emulator.active_generations()
        for _ in range(2):
            status = await call.get(F + "/generation")
            assert status["featureStatus"] == status["overallConclusion"] == "cancelled"
            assert status["runnerStarted"] is started
            assert conclusions(status) == ends
            assert [minutes(section["updatedUtc"]) for section in status["sections"]] == stamps
            assert (await call("POST", F + "/generation/cancel")).error == (409, "conflict")
            await asyncio.sleep(600)
        log = (await call.get(F + "/generation/log"))["sections"][-1]
        if ends[-1] == "cancelled":
            assert log["statusReason"] == "Cancelled on request"
            assert log["log"] == ["Stopped: the generation was cancelled."]
