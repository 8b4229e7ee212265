"""Outages: what a person, a pipe and a program are told while the service does not answer."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.cli.output import Output
from testvibe_async.testing import (
    Emulator,
    Fault,
    FaultProxy,
    NetworkFault,
    Scenario,
    VirtualTimeLoop,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.surfaces.cli.conftest import Call

SCENARIO = Scenario(run_queue=3, run_duration=60, failing_runs=0)


def out_from(emulator: Emulator, begin: float, end: float | None = None) -> None:
    """Let all requests fail between two moments from now."""

    def start() -> None:
        rule = emulator.fail("*", Fault.reset())
        if end is not None:
            asyncio.get_running_loop().call_later(end - begin, rule.remove)

    asyncio.get_running_loop().call_later(begin, start)


async def test_outage_and_its_end_in_a_pipe(emulator: Emulator, call: Call) -> None:
    """A pipe is told within two intervals of an outage, and of its end; the results are whole."""
    out_from(emulator, 10, 40)
    ended = await call("run", "Checkout", "Returns", "--wait")
    told = re.search(
        r"^ +([\d.]+) s  not reachable for \d+ s; 2 runs not seen since [\d:]{8}; trying again$",
        ended.output,
        re.MULTILINE,
    )
    assert told is not None
    assert 10 < float(told[1]) <= 10 + 6
    assert re.search(r" s  the service answers again, after \d\d s\n", ended.output)
    assert ended.output.endswith(": 2 passed\n")
    assert (ended.code, ended.errors) == (0, "")


@pytest.mark.parametrize("typed", ["Checkout", "--all"])
async def test_service_that_is_never_reached(
    call: Call, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the time-out the cause is the same, whether or not a list was needed first."""
    monkeypatch.setenv("TESTVIBE_SERVER", "http://127.0.0.1:1")
    ended = await call("run", typed, "--wait", "--timeout", "12", "-r", "junit.xml")
    report = Path("junit.xml").read_text(encoding="utf-8")  # noqa: ASYNC240 - it is small
    assert ended.code == 5
    assert "onnect" in ended.output + ended.errors
    assert "<error" in report
    assert "onnect" in report
    assert ("testvibe-async resume 1" in ended.errors) is (typed != "--all")


async def test_outage_as_events(emulator: Emulator, call: Call) -> None:
    """JSON events tell of both, with numbers."""
    out_from(emulator, 10, 60)
    ended = await call("generate", "Checkout with gift card", "--watch", "--json=lines")
    events: list[dict[str, Any]] = [json.loads(line) for line in ended.output.splitlines()]
    (out, *_), (back,) = (
        [each for each in events if each["event"] == kind] for kind in ("unreachable", "reachable")
    )
    assert (out["notSeen"], back["notSeen"]) == (1, 0)
    assert out["outageSeconds"] >= 3
    assert out["lastSeenUtc"].endswith("Z")


async def test_outage_until_the_time_out(emulator: Emulator, call: Call) -> None:
    """What was not seen at the time-out is exit code 5, and is not said to go on."""
    out_from(emulator, 10)
    ended = await call("run", "Checkout", "Returns", "--wait", "--timeout", "30")
    assert ended.code == 5
    assert ended.output.endswith("\nBatch 1: 2 in 30.0 s: 2 not seen\n")
    assert "till running" not in ended.output + ended.errors
    assert re.search(
        r"^Not seen since [\d:]+, so it is not known how they go:$", ended.errors, re.MULTILINE
    )


def pause_at(begin: float, seconds: float) -> None:
    """Stop this process between two moments from now, as a suspended machine is."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.call_later(begin, loop._jump, seconds)


async def test_pause_of_this_process_is_no_outage(emulator: Emulator, call: Call) -> None:
    """After a pause of 120 s the service is not said to be silent: nothing was asked."""
    pause_at(10, 120)
    ended = await call("run", "Checkout", "Returns", "--wait", "--timeout", "60")
    assert (ended.code, len(emulator.runs)) == (0, 2)
    assert "not reachable" not in ended.output
    assert ended.output.endswith(": 2 passed\n")


async def test_pause_after_which_nothing_is_seen(emulator: Emulator, call: Call) -> None:
    """What was last seen before a pause is not said to go on, though the service answers."""
    pause_at(10, 120)
    loop = asyncio.get_running_loop()
    loop.call_later(9, emulator.fail, "list_runs", Fault.status(404))

    def hang() -> None:
        emulator.fail("get_run", Fault.hang(), when=lambda request: request.path.endswith("/215"))

    loop.call_later(9, hang)
    ended = await call("run", "Checkout", "Returns", "--wait", "--timeout", "60")
    assert ended.code == 5
    assert ended.output.endswith(": 1 passed, 1 not seen\n")
    assert "till running" not in ended.errors


async def test_printed_command_picks_up_what_was_not_seen(emulator: Emulator, call: Call) -> None:
    """Each ref that is unfinished is in the command, also after the longest outage."""
    loop = asyncio.get_running_loop()
    loop.call_later(10, lambda: loop.call_later(400, emulator.fail("*", Fault.reset()).remove))
    ended = await call("run", "Checkout", "Returns", "--wait")
    assert ended.code == 5
    assert ended.output.endswith(": 2 errors\n")
    assert ended.output.count("not seen any more: no whole answer came") == 3
    await asyncio.sleep(100)
    (line,) = re.findall(r"^  (testvibe-async wait .*)$", ended.errors, re.MULTILINE)
    words = shlex.split(line)
    ended = await call(*words[1:])
    assert (ended.code, ended.output[-11:]) == (0, ": 2 passed\n")


async def test_nothing_of_the_sdk_reaches_a_person(emulator: Emulator, call: Call) -> None:
    """No address, no class and no line of a log is in what a person reads of an outage."""
    out_from(emulator, 10)
    ended = await call("run", "Checkout", "--wait", "--timeout", "30")
    before_command = (ended.output + ended.errors).partition("testvibe-async wait")[0]
    for word in ("http", "GET", "Error", "WARNING", "poll", "list_runs"):
        assert word not in before_command


async def test_ctrl_c_in_an_outage_claims_nothing(emulator: Emulator, call: Call) -> None:
    """Stopped in an outage, a command says since when its runs were not seen."""
    out_from(emulator, 10)
    asyncio.get_running_loop().call_later(20, signal.raise_signal, signal.SIGINT)
    ended = await call("run", "Checkout", "--wait", "--json")
    (item,) = json.loads(ended.output)["items"]
    assert ended.code == 130
    assert item["error"]["type"] == "WaitTimeoutError"
    assert "Stopped: 1 in 20.0 s: 1 not seen\n" in ended.errors
    assert "till running" not in ended.errors


async def test_ctrl_c_is_no_outage(emulator: Emulator, call: Call) -> None:
    """What the command itself cancels, while it waits for a dispatch, is still in flight."""

    def slow_down() -> None:
        emulator.fail("list_runs", Fault.delay(2))
        emulator.fail("get_run", Fault.delay(2))

    loop = asyncio.get_running_loop()
    loop.call_later(3, slow_down)
    emulator.fail("run_feature", Fault.delay(20), when=lambda _: len(emulator.runs) == 2)
    loop.call_later(8, signal.raise_signal, signal.SIGINT)
    names = ("Checkout", "Returns", "Wishlist")
    ended = await call("run", *names, "--wait", "--json", "--max-in-flight", "3")
    assert json.loads(ended.output)["summary"]["notSeen"] == 0
    assert "Not seen" not in ended.errors


async def test_warnings_of_the_log_are_told_otherwise(emulator: Emulator, call: Call) -> None:
    """What the board and the end say is no line of the log too; with -v the log is whole."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=2)
    quiet = await call("run", "Checkout", "--wait")
    assert (quiet.code, quiet.errors) == (5, "")
    told = await call("run", "Checkout", "--wait", "-v")
    assert "DispatchUnknown" in told.errors


@pytest.fixture
async def proxy(signed_in: Emulator, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FaultProxy]:
    async with FaultProxy(signed_in.url) as proxy:
        monkeypatch.setenv("TESTVIBE_SERVER", proxy.url)
        yield proxy


def silent_from(proxy: FaultProxy, begin: float, end: float | None = None) -> None:
    """Let the network swallow all requests between two moments from now: nothing is refused."""

    def start() -> None:
        rule = proxy.fail(NetworkFault.swallow_request())
        if end is not None:
            asyncio.get_running_loop().call_later(end - begin, rule.remove)

    asyncio.get_running_loop().call_later(begin, start)


NOT_REACHABLE = r"not reachable for (\d+) s; 2 runs not seen since [\d:]{8}; trying again"


async def test_silent_outage_in_a_pipe(proxy: FaultProxy, call: Call) -> None:
    """Where connections are accepted and nothing is answered, a pipe reads of it as of a refusal.

    Within two intervals of its begin, and one time-out of a request after its end: what hangs is
    waited for until then.
    """
    silent_from(proxy, 10, 30)
    ended = await call("run", "Checkout", "Returns", "--wait")
    told = re.findall(rf"^ +([\d.]+) s  {NOT_REACHABLE}$", ended.output, re.MULTILINE)
    (back,) = re.findall(r"^ +([\d.]+) s  the service answers again", ended.output, re.MULTILINE)
    assert 10 < float(told[0][0]) <= 10 + 2 * 3 + 1
    assert 30 < float(back) <= 30 + 30
    assert all(float(at) - int(seconds) < 11 for at, seconds in told)
    assert (ended.code, ended.errors) == (0, "")


async def test_silent_outage_as_events(proxy: FaultProxy, call: Call) -> None:
    """A program gets the same, with numbers."""
    silent_from(proxy, 10, 30)
    ended = await call("run", "Checkout", "Returns", "--wait", "--json=lines")
    events = [json.loads(line) for line in ended.output.splitlines()]
    out = next(each for each in events if each["event"] == "unreachable")
    back = next(each for each in events if each["event"] == "reachable")
    assert re.fullmatch(NOT_REACHABLE, out["message"])
    assert 10 < out["seconds"] <= 17
    assert (out["notSeen"], back["notSeen"]) == (2, 0)
    assert 30 < back["seconds"] <= 60


async def test_silent_outage_on_a_terminal(
    proxy: FaultProxy, call: Call, on_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table has the sentence as long as it lasts, and its end is above the table."""
    assert on_terminal is None
    monkeypatch.setattr(Output, "is_live", True)
    silent_from(proxy, 10, 30)
    ended = await call("run", "Checkout", "Returns", "--wait")
    seconds = [int(found[1]) for found in re.finditer(NOT_REACHABLE, ended.output)]
    assert seconds[0] <= 7
    assert {*range(10, 30)} <= {*seconds}
    assert re.search(r"the service answers again, after \d\d s", ended.output)


async def test_silent_outage_until_the_time_out(proxy: FaultProxy, call: Call) -> None:
    """Polls that hang at the time-out have not failed, and still nothing is said to go on."""
    silent_from(proxy, 10)
    ended = await call("run", "Checkout", "Returns", "--wait", "--timeout", "25", "--json=lines")
    *_, end = [json.loads(line) for line in ended.output.splitlines()]
    assert (ended.code, end["exitCode"], end["summary"]["notSeen"]) == (5, 5, 2)
    assert "\nNot seen since " in ended.errors
    assert "till running" not in ended.errors


async def test_silence_from_the_first_dispatch_on(emulator: Emulator, call: Call) -> None:
    """Before anything is in flight the hanging dispatch is told of, and no run is said to be."""
    for operation in ("list_runs", "run_feature", "list_projects", "get_generation_status"):
        emulator.fail(operation, Fault.hang())
    ended = await call("run", "Checkout", "--wait", "--timeout", "40")
    told = re.search(
        r"^ +([\d.]+) s  not reachable for \d+ s; trying again$", ended.output, re.MULTILINE
    )
    assert told is not None
    assert float(told[1]) < 30  # Before the dispatch itself is out of time.
    assert "not seen" not in ended.output


async def test_suspended_list_in_a_pipe(emulator: Emulator, call: Call) -> None:
    """A list that the service lacks is one line, within two intervals, and no other."""
    emulator.fail("list_runs", Fault.status(404))
    ended = await call("run", "Checkout", "Returns", "Wishlist", "--wait")
    (line,) = [line for line in ended.output.splitlines() if "list of" in line]
    found = re.fullmatch(
        r" +([\d.]+) s  no list of runs for 10:00, so each run is polled by itself: .*404\.", line
    )
    assert found is not None
    assert float(found[1]) <= 2 * 3
    assert ended.code == 0


async def test_suspended_list_as_an_event(emulator: Emulator, call: Call) -> None:
    """A list that fails for a while is an event, once."""
    loop = asyncio.get_running_loop()
    rule = emulator.fail("list_runs", Fault.status(503))
    loop.call_later(20, rule.remove)
    ended = await call("run", "Checkout", "Returns", "Wishlist", "--wait", "--json=lines")
    events = [json.loads(line) for line in ended.output.splitlines()]
    (out,) = [each for each in events if "list" in each]
    assert (out["event"], out["list"], out["suspendedSeconds"]) == (
        "listSuspended",
        "list_runs",
        30,
    )
    assert out["seconds"] <= 6
    assert out["error"]["status"] == 503


async def test_suspended_list_on_a_terminal(
    emulator: Emulator, call: Call, on_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands above the table, once."""
    assert on_terminal is None
    monkeypatch.setattr(Output, "is_live", True)
    emulator.fail("list_runs", Fault.status(404))
    ended = await call("run", "Checkout", "Returns", "Wishlist", "--wait")
    assert ended.output.count("no list of runs for 10:00, so") == 1


async def test_list_that_fails_with_all_else_is_no_line_of_its_own(
    emulator: Emulator, call: Call
) -> None:
    """In an outage the outage is told, and not the list that it takes along."""
    out_from(emulator, 10, 40)
    ended = await call("run", "Checkout", "Returns", "Wishlist", "--wait")
    assert "not reachable for" in ended.output
    assert "list of runs" not in ended.output
