"""The tools that wait, in this process and on virtual time."""

import asyncio
from typing import Any

import pytest

from tests.support import mcp_connection
from tests.support.mcp_connection import connected, content_of, text_of, texts_of, without_tests
from tests.support.timing import now
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

LONG = Outcome(run_queue=10, run_duration=50, run_status="passed", generation_duration=300)

SCENARIO = Scenario(
    failing_runs=0, failing_generations=0, outcomes={"Checkout": LONG, "Wishlist": LONG}
)


@mcp_connection.both_modes
async def test_a_wait_that_times_out_is_an_answer_and_can_be_called_again(
    emulator: Emulator, mode: mcp_connection.Mode
) -> None:
    """A wait that times out returns how the run stands; a second call returns its outcome.

    Each transition is reported, with numbers that only grow.
    """
    listener = mcp_connection.Listener()
    note = "Nothing was cancelled: call wait_for_run again with the same arguments."
    async with connected(emulator, mode) as mcp:
        wait = {"runId": (await mcp.result("run_feature", feature="Checkout"))["runId"]}
        began = now()
        first = await mcp.call_tool(
            "wait_for_run", {**wait, "timeoutSeconds": 30}, progress_callback=listener
        )
        assert now() - began == pytest.approx(30)
        assert text_of(first) == f'Run 214 of "Checkout" is running (active). {note}'
        content = content_of(first)
        assert (content["status"], content["inFlight"], content["note"]) == ("running", True, note)
        assert list(dict.fromkeys(listener.messages)) == [
            'Run 214 of "Checkout" is running (queued)',
            'Run 214 of "Checkout" is running (active)',
        ]
        assert listener.numbers == list(range(1, len(listener.numbers) + 1))
        assert len(emulator.active_runs()) == 1
        second = await mcp.call_tool("wait_for_run", wait, progress_callback=listener)
        content = content_of(second)
        assert (content["status"], content["inFlight"], content["note"]) == ("passed", False, None)
        assert listener.messages[-1] == text_of(second).partition(". ")[0].rstrip(".")
        assert now() - began < 60 + 3.5


@mcp_connection.both_modes
async def test_a_cancelled_call_cancels_its_wait_alone(
    emulator: Emulator, mode: mcp_connection.Mode
) -> None:
    """A cancelled wait leaves another wait and the run alone."""
    async with connected(emulator, mode) as mcp:
        run = await mcp.result("run_feature", feature="Checkout")
        wait = {"runId": run["runId"]}
        cancelled = asyncio.create_task(mcp.call_tool("wait_for_run", wait))
        other = asyncio.create_task(mcp.result("wait_for_run", **wait, timeoutSeconds=20))
        await asyncio.sleep(5)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert (await other)["inFlight"] is True
        assert len(emulator.active_runs()) == 1
        assert (await mcp.result("wait_for_run", **wait))["status"] == "passed"


async def test_what_the_service_does_not_know_yet_is_waited_for(emulator: Emulator) -> None:
    """For some seconds the service may not know what it has just dispatched: no wait fails."""
    without_tests(emulator)
    emulator.fail("list_runs", Fault.status(404))
    async with connected(emulator) as mcp:
        run = await mcp.result("run_feature", feature="Login Functionality")
        emulator.fail("get_run", Fault.status(404), times=3)
        assert not (await mcp.result("wait_for_run", runId=run["runId"]))["inFlight"]
        await mcp.result("generate_feature", feature="Checkout")
        emulator.fail("get_generation_status", Fault.status(404), times=3)
        wait = {"feature": "Checkout", "timeoutSeconds": 30}
        assert (await mcp.result("wait_for_generation", **wait))["inFlight"]


async def test_a_feature_never_generated_is_not_waited_for(emulator: Emulator) -> None:
    """A wait for a generation that was never started returns at once, and says so."""
    emulator.add_feature("Gift cards", status="draft")
    async with connected(emulator) as mcp:
        answer = await mcp.call_tool("wait_for_generation", {"feature": "Gift cards"})
    assert content_of(answer)["inFlight"] is False
    assert "was never started" in text_of(answer)


async def test_a_wait_follows_a_newer_generation(emulator: Emulator) -> None:
    """A wait continues with the latest generation if another server's call replaces it."""
    without_tests(emulator)
    call = {"feature": "Checkout"}
    async with connected(emulator) as mcp, connected(emulator, ledger="other.sqlite") as other:
        first = await mcp.result("generate_feature", **call)
        waiting = asyncio.create_task(mcp.result("wait_for_generation", **call, timeoutSeconds=170))
        await asyncio.sleep(30)
        emulator.finish_generation(first["requestId"], "failed")
        second = await other.result("generate_feature", **call, replace=first["requestId"])
        await asyncio.sleep(60)
        emulator.finish_generation(second["requestId"], "generated")
        answer = await waiting
    assert (answer["requestId"], answer["inFlight"]) == (second["requestId"], False)
    assert first["requestId"] != second["requestId"]


async def test_many_features_run_at_once(emulator: Emulator) -> None:
    """What did not succeed has a row, the rest is counted; what can't start stops no other."""
    listener = mcp_connection.Listener()
    emulator.add_feature("Gift cards", status="draft")
    other = emulator.add_feature("Other")
    async with connected(emulator) as mcp:
        features = ["Checkout", "Gift cards", str(other.id), "wishlist"]
        arguments = {"features": features, "timeoutSeconds": 170}
        result = await mcp.call_tool("run_features", arguments, progress_callback=listener)
    digest = content_of(result)
    assert [row["verdict"] for row in digest["runs"]] == ["error"]
    assert "Call generate_feature first" in digest["runs"][0]["reason"]
    counts = {name: number for name, number in digest["summary"].items() if number}
    assert counts == {"total": 4, "succeeded": 3, "errors": 1}
    assert digest["inFlight"] is False
    assert text_of(result).endswith(": 3 passed, 1 error.")
    assert listener.messages[0].startswith("batch 1: ")
    assert (listener.numbers[-1], listener.totals[-1]) == (4, 4)


async def test_what_failed_runs_again_and_is_flaky(emulator: Emulator) -> None:
    """A feature that passes in a later attempt succeeded, is flaky, and lists the runs before."""
    async with connected(emulator) as mcp:
        loop = asyncio.get_running_loop()
        loop.call_later(20, lambda: emulator.finish_run(min(emulator.runs), "failed"))
        arguments = {"features": ["Checkout"], "attempts": 2, "timeoutSeconds": 170}
        result = await mcp.call_tool("run_features", arguments)
    digest = content_of(result)
    (row,) = digest["runs"]
    first, second = emulator.runs
    assert (row["verdict"], row["flaky"], row["runId"]) == ("succeeded", True, second)
    assert [run["runId"] for run in row["earlier"]] == [first]
    assert "failed" in row["earlier"][0]["reason"]
    assert (digest["summary"]["succeeded"], digest["summary"]["flaky"]) == (1, 1)
    assert text_of(result).endswith(": 1 flaky.")


async def test_a_batch_that_times_out_goes_on(emulator: Emulator) -> None:
    """What is in flight has its id, and what waits its turn is counted; neither has a verdict."""
    call: dict[str, Any] = {"features": ["Checkout"], "repeat": 3}
    async with connected(emulator) as mcp:
        answer = await mcp.call_tool("run_features", {**call, "timeoutSeconds": 70})
        digest = content_of(answer)
        assert (digest["verdict"], digest["inFlight"]) == ("in flight", True)
        assert text_of(answer).startswith("Batch 1: 3 in ")
        assert ": 1 passed, 1 in flight, 1 waiting. Nothing was cancelled" in text_of(answer)
        assert (digest["summary"]["inFlight"], digest["summary"]["waiting"]) == (1, 1)
        assert digest["runIds"] == [max(emulator.runs)]
        assert "wait_for_batch waits on for batch 1" in digest["note"]
        again = await mcp.result("wait_for_batch", batch=1, timeoutSeconds=170)
        assert (again["summary"]["succeeded"], again["verdict"]) == (3, "succeeded")
        assert again["runs"] == []
        assert "runIds" not in again
    assert emulator.count("run_feature") == 3


AWAY = ("get_run", "list_runs")
"""The operations that show a run."""


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("run_features", {"features": ["Checkout", "Wishlist"]}),
        ("wait_for_run", {"runId": 214}),
    ],
    ids=str,
)
@pytest.mark.parametrize("fault", [Fault.delay(60), Fault.status(503)], ids=["hangs", "503"])
async def test_what_can_t_be_seen_is_said_to_be_so(
    emulator: Emulator, tool: str, arguments: dict[str, Any], fault: Fault
) -> None:
    """A wait that times out unseen says that the service does not answer, and why."""
    async with connected(emulator) as mcp:
        if tool != "run_features":
            rules = [emulator.fail(operation, fault) for operation in AWAY]
            answer = await mcp.call_tool(tool, {**arguments, "timeoutSeconds": 2})
            assert content_of(answer)["inFlight"] is True
            assert "not observed yet" in text_of(answer)
            for rule in rules:
                rule.remove()
            await mcp.result("run_feature", feature="Checkout")
        seen = await mcp.result(tool, **arguments, timeoutSeconds=5)
        assert "answer" not in seen["note"]
        for operation in AWAY:
            emulator.fail(operation, fault)
        unseen = await mcp.result(tool, **arguments, timeoutSeconds=30)
        assert unseen["inFlight"] is True
        assert "The service does not answer (" in unseen["note"]


async def test_a_dispatch_under_way_is_not_unknown(emulator: Emulator) -> None:
    """Progress calls a dispatch unacknowledged, as the command line does, until its answer."""
    listener = mcp_connection.Listener()
    emulator.fail("run_feature", Fault.delay(7))
    async with connected(emulator) as mcp:
        await mcp.call_tool("run_feature", {"feature": "Checkout"}, progress_callback=listener)
    assert listener.messages[-2:] == ["batch 1: 1 unacknowledged", "batch 1: 1 in flight"]


MAINTENANCE = Fault.status(503, body=b"<!doctype html><title>We are back soon</title>")


@pytest.mark.parametrize("tool", ["wait_for_run", "wait_for_generation"])
@pytest.mark.parametrize("seconds", [10, 60])
async def test_a_wait_that_begins_in_an_outage_lasts_through_it(
    emulator: Emulator, tool: str, seconds: int
) -> None:
    """A wait reports that the service does not answer, and what it sees at most 30 s later."""
    listener = mcp_connection.Listener()
    without_tests(emulator)
    emulator.features["Wishlist"].status = "generated"
    async with connected(emulator) as mcp:
        await mcp.result("run_feature", feature="Wishlist")
        await mcp.result("generate_feature", feature="Checkout")
        back = now() + seconds
        emulator.fail("*", MAINTENANCE, when=lambda _: now() < back)
        wait: dict[str, Any] = {"runId": 214, "feature": "Checkout"}
        del wait["feature" if tool == "wait_for_run" else "runId"]
        wait["timeoutSeconds"] = seconds + (5 if tool == "wait_for_run" else 30)
        seen = content_of(await mcp.call_tool(tool, wait, progress_callback=listener))
    assert seen.get("status") or seen["featureStatus"] == "generating"
    assert any("the service does not answer" in message for message in listener.messages)


async def test_a_wait_that_sees_nothing_says_so(emulator: Emulator) -> None:
    """A wait for a generation that ends within an outage claims nothing about the generation."""
    without_tests(emulator)
    async with connected(emulator) as mcp:
        await mcp.result("generate_feature", feature="Checkout")
        emulator.fail("*", MAINTENANCE)
        answer = await mcp.call_tool(
            "wait_for_generation", {"feature": "Checkout", "timeoutSeconds": 20}
        )
        assert "not observed yet" in text_of(answer)
        assert "The service does not answer" in content_of(answer)["note"]


@pytest.mark.parametrize("reason", ["Connection refused", "503"])
async def test_runs_that_an_outage_holds_up_are_not_over(emulator: Emulator, reason: str) -> None:
    """The answer says why nothing has started, and advises one thing."""
    async with Emulator() as closed:
        pass
    for operation in ("run_feature", "list_runs", "get_run"):
        emulator.fail(operation, Fault.status(503))
    async with connected(emulator if reason == "503" else closed) as mcp:
        call = {"features": ["Checkout", "Returns"], "timeoutSeconds": 15}
        answer = await mcp.call_tool("run_features", call)
        one = await mcp.call_tool("run_feature", {"feature": "Checkout"})
    assert text_of(answer).startswith("Batch 1: 2 ")
    assert reason in texts_of(answer)[1]
    assert reason in text_of(one)
    assert "check list_runs" not in " ".join(texts_of(answer))


async def test_features_are_chosen_as_on_the_command_line(emulator: Emulator) -> None:
    """All but exclusions are run; what has no tests is named, and why it has none."""
    emulator.add_feature("Proposed", kind="suggestion", status="draft")
    emulator.features["Returns"].status = "failed"
    left_out = {
        name: feature.status
        for name, feature in emulator.features.items()
        if feature.status != "generated" and feature.kind == "feature"
    }
    async with connected(emulator) as mcp:
        for status, total in (("suggestion", 1), ("draft", 0)):
            found = await mcp.result("list_features", status=status, name="proposed")
            assert found["total"] == total
        call = {"features": ["!Log*"], "all": True, "timeoutSeconds": 170}
        digest = await mcp.result("run_features", **call)
    assert {each["feature"]: each["reason"] for each in digest["notRun"]} == {
        name: f"without tests ({status})" for name, status in left_out.items()
    }
    ran = {run.feature_name for run in emulator.runs.values()}
    every = {name for name, each in emulator.features.items() if each.status == "generated"}
    assert every - ran == {name for name in every if name.startswith("Log")} != set()


OUTCOMES = {"Returns": Outcome(run_status="failed"), "Newsletter": Outcome(run_status="passed")}

FLAKY = Scenario(seed=36, failing_runs=0.3, outcomes=OUTCOMES)
"""By this seed 3 of the first 10 runs of Checkout fail."""


async def test_how_flaky() -> None:
    """A feature is run ten times, one by one; what was refused does not count."""
    async with Emulator(scenario=FLAKY) as emulator, connected(emulator) as mcp:
        emulator.fail("run_feature", Fault.status(422), skip=3, times=1)
        digest = await mcp.result("run_features", features=["Checkout"], repeat=10)
        digest = await mcp.finished("wait_for_batch", batch=digest["batch"])
    (found,) = digest["stability"]
    assert (found["verdict"], found["passed"] + found["failed"]) == ("flaky", 9)
    assert (found["notCounted"], len(emulator.runs)) == (1, 9)
