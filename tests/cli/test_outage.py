"""Outages: what a person, a pipe and a program are told while the service does not answer."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async import RequestFinished
from testvibe_async.cli.outage import REPEATED_SECONDS, Contact, Notices, Outage
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.cli.conftest import Call

AT = datetime(2026, 6, 10, 16, 2, 11, tzinfo=UTC)
CLOCK = f"{AT.astimezone():%H:%M:%S}"


def answer(status: int | None, operation: str = "get_run") -> RequestFinished:
    return RequestFinished(operation, "GET", "http://s", status=status, seconds=0.1)


def contact(*answers: tuple[float, int | None]) -> Contact:
    """Return what is known after some answers: when each came, and its status."""
    made = Contact(0.0)
    for now, status in answers:
        made.note(answer(status), now=now, at=AT)
    return made


def sentence(known: Contact, now: float, *, runs: int = 10, generations: int = 0) -> str | None:
    outage = known.outage(now, runs=runs, generations=generations)
    return None if outage is None else str(outage)


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (None, "not reachable"),
        (503, "the service answers with nothing but errors (503)"),
        (429, "the service is too busy"),
    ],
)
def test_failures_alone_are_an_outage(status: int | None, what: str) -> None:
    """It counts from the last good answer, and says what is not seen since."""
    known = contact((10, 200), (13, status))
    assert sentence(known, 24) == f"{what} for 14 s; 10 runs not seen since {CLOCK}; trying again"


@pytest.mark.parametrize(
    ("answers", "now"),
    [
        ([(10, 200), (11, None)], 12.9),
        ([(10, 200), (13, None), (14, 404)], 19),
        ([(10, 200)], 15.9),
    ],
)
def test_one_failure_among_good_answers_is_none(
    answers: list[tuple[float, int | None]], now: float
) -> None:
    """A failure counts once it has lasted for an interval, and until the next answer."""
    assert sentence(contact(*answers), now) is None


def test_silence_is_an_outage_where_answers_are_due() -> None:
    """A request that hangs shows after two intervals; generations are polled less often."""
    known = contact((10, 200))
    assert sentence(known, 17) == f"no answer for 7 s; 10 runs not seen since {CLOCK}; trying again"
    assert sentence(known, 29, runs=0, generations=1) is None
    assert sentence(known, 31, runs=0, generations=1) is not None
    assert sentence(known, 500, runs=0) is None


def test_kinds_are_named() -> None:
    """Runs, generations, or both."""
    known = contact((10, 200), (13, None))
    assert "; 1 generation not seen since " in str(sentence(known, 20, runs=0, generations=1))
    assert "; 3 operations not seen since " in str(sentence(known, 20, runs=1, generations=2))
    assert sentence(known, 20, runs=0) == "not reachable for 10 s; trying again"
    assert (
        sentence(contact((4, None)), 5) == "not reachable for 5 s; 10 runs not seen; trying again"
    )


def test_pause_is_told() -> None:
    """A pause that the service asked for is told at once, until it ends."""
    known = contact((10, 200))
    known.pause()
    assert str(sentence(known, 12)).startswith(
        "the service asked for a pause: nothing sent for 2 s"
    )
    known.resume()
    assert sentence(known, 12) is None


def test_other_hosts_say_nothing() -> None:
    """Downloads come from elsewhere."""
    known = contact((10, 200))
    known.note(answer(None, "download_artifacts"), now=11, at=AT)
    assert sentence(known, 15) is None


def test_notices_come_at_the_begin_each_half_minute_and_at_the_end() -> None:
    """What can't be redrawn is told of an outage now and then, and of its end once."""
    notices = Notices()

    def told(now: float, *, is_out: bool = True) -> Outage | None:
        known = contact((0, 200), (1, None)) if is_out else contact((now, 200))
        return notices.next(known.outage(now, runs=1, generations=0), now)

    assert notices.next(None, 1) is None
    assert told(5) is not None
    assert told(6) is None
    assert told(5 + REPEATED_SECONDS) is not None
    over = told(40, is_out=False)
    assert str(over) == f"the service answers again, after {5 + REPEATED_SECONDS:.0f} s"
    assert told(41, is_out=False) is None


SCENARIO = Scenario(run_queue=3, run_duration=60, failing_runs=0)


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    async with Emulator(scenario=SCENARIO) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _signed_in(request: pytest.FixtureRequest) -> None:
    if "call" in request.fixturenames:
        request.getfixturevalue("signed_in")


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


async def test_outage_as_events(emulator: Emulator, call: Call) -> None:
    """JSON events tell of both, with numbers."""
    out_from(emulator, 10, 60)
    ended = await call("generate", "Checkout with gift card", "--watch", "--json")
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
    assert ended.output.endswith("\n2 in 30.0 s: 2 not seen\n")
    assert "goes on" not in ended.output + ended.errors
    assert re.search(
        r"^Not seen since [\d:]+, so it is not known how they go:$", ended.errors, re.MULTILINE
    )


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
    assert "goes on" not in ended.errors


async def test_warnings_of_the_log_are_told_otherwise(emulator: Emulator, call: Call) -> None:
    """What the board and the end say is no line of the log too; with -v the log is whole."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=2)
    quiet = await call("run", "Checkout", "--wait")
    assert (quiet.code, quiet.errors) == (5, "")
    told = await call("run", "Checkout", "--wait", "-v")
    assert "DispatchUnknown" in told.errors
