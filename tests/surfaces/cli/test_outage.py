"""Outages and limits of time: what a person, a pipe and a program are told of a silent service."""

import re

import pytest

from tests.surfaces.cli.conftest import Call, later, now, press_ctrl_c
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SCENARIO = Scenario(
    run_queue=3,
    run_duration=60,
    failing_runs=0,
    outcomes={"Wishlist": Outcome(run_duration=400), "Returns": Outcome(run_status="failed")},
)
PAGE = Fault.body(b"<html>Sign in</html>", content_type="text/html")
UNSEEN = "2 runs not seen since [\\d:]{8}; trying again"


def out_from(emulator: Emulator, begin: float, end: float | None = None, **faults: Fault) -> None:
    """Let all requests fail between two moments from now."""

    def start() -> None:
        rule = emulator.fail("*", faults.get("fault", Fault.reset()))
        if end is not None:
            later(end - begin, rule.remove)

    later(begin, start)


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Fault.hang(), r"not reachable for [\d.]+ s"),
        (
            Fault.status(503),
            r"the service has answered with nothing but errors \(503\) for [\d.]+ s",
        ),
        (PAGE, r"the service has answered with pages that are not its own \(200\)"),
        (Fault.status(429, retry_after=5), r"the service has been rate-limiting for [\d.]+ s"),
    ],
)
async def test_outage_and_its_end_in_a_pipe(
    fault: Fault, what: str, emulator: Emulator, call: Call
) -> None:
    """A pipe is told at the begin and of the end, each once; the results are whole."""
    out_from(emulator, 10, 60, fault=fault)
    ended = await call("run Checkout Newsletter --wait")
    (told,) = re.findall(rf"^ +([\d.]+) s  {what}; {UNSEEN}$", ended.output, re.MULTILINE)
    assert 10 < float(told) <= 10 + 10 + 4
    assert len(re.findall(r" s  the service answers again, after \d", ended.output)) == 1
    assert ended.output.endswith(": 2 passed\n")
    assert (ended.code, ended.errors) == (0, "")


async def test_rate_limit_until_the_time_out(emulator: Emulator, call: Call) -> None:
    """What a rate limit kept from being dispatched is skipped, and the last line says why."""
    emulator.fail("run_feature", Fault.status(429, retry_after=60), skip=1)
    ended = await call("run Checkout Newsletter --wait --timeout 90")
    assert ended.code == 4
    assert ": 1 passed, 1 skipped; the service was rate-limiting: " in ended.lines[-1]
    assert "testvibe-async resume 1\n" in ended.errors
    ended = await call("run Newsletter --wait --timeout 30 --json")
    assert ended.json["rateLimit"]["status"] == 429
    emulator.fail("run_feature", Fault.status(429, retry_after=1), times=1)
    assert "rate-limit" not in (await call("run Checkout --wait")).lines[-1]


async def test_generations_are_polled_less_often(emulator: Emulator, call: Call) -> None:
    """Silence counts after two intervals, which are longer for a generation; kinds are named."""
    out_from(emulator, 10, 70)
    ended = await call("generate 'Checkout with gift card' --watch --json=lines")
    (out, *_), (back,) = (
        [each for each in ended.events if each["event"] == kind]
        for kind in ("unreachable", "reachable")
    )
    assert "; 1 generation not seen since " in out["message"]
    assert (out["notSeen"], back["notSeen"]) == (1, 0)
    assert out["outageSeconds"] >= 3
    assert out["lastSeenUtc"].endswith("Z")
    out_from(emulator, 10, 70)
    await call("generate Checkout")
    await call("run Newsletter")
    ended = await call("wait Checkout 214")
    assert "; 2 operations not seen since " in ended.output


async def test_ctrl_c_in_an_outage_claims_nothing(emulator: Emulator, call: Call) -> None:
    """Stopped in an outage, a command says since when its runs were not seen."""
    out_from(emulator, 10)
    press_ctrl_c(20)
    ended = await call("run Checkout --wait --json")
    (item,) = ended.json["items"]
    assert (ended.code, item["error"]["type"]) == (130, "WaitTimeoutError")
    assert "Stopped. Batch 1: 1 in 20 s: 1 not seen\n" in ended.errors
    assert "till running" not in ended.errors


NOT_REACHABLE = rf"not reachable for (\d+) s; {UNSEEN}"


@pytest.mark.usefixtures("on_terminal")
async def test_silent_outage_on_a_terminal(emulator: Emulator, call: Call) -> None:
    """The table has the sentence as long as it lasts; nothing is said to go on."""
    out_from(emulator, 10, fault=Fault.hang())
    ended = await call("run Checkout Newsletter --wait --timeout 25")
    seconds = [int(found[1]) for found in re.finditer(NOT_REACHABLE, ended.output)]
    assert seconds[0] <= 13
    assert {13, 14, 15} <= {*seconds}
    assert (ended.code, "till running" in ended.errors) == (5, False)
    assert "\nNot seen since " in ended.errors


async def test_outage_of_a_command_that_only_dispatches(
    call: Call, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported once, and after Ctrl-C the command says that nothing was sent."""
    down = emulator.fail("run_feature", Fault.status(429, retry_after=2))
    later(30, down.remove)
    ended = await call("run Checkout")
    said = r"Dispatching: the service has been rate-limiting for [67][\d.]* s; trying again\."
    assert len(re.findall(said, ended.errors)) == 1
    assert (ended.code, "run 214" in ended.output) == (0, True)
    monkeypatch.setenv("TESTVIBE_SERVER", "http://127.0.0.1:1")
    press_ctrl_c(20)
    ended = await call("run Checkout")
    assert (ended.code, ended.errors.count("Dispatching: not reachable")) == (130, 1)
    assert "1 skipped; nothing was sent to 127.0.0.1:1: not reachable\n" in ended.errors


@pytest.mark.parametrize(
    ("operations", "fault", "typed", "code", "seconds"),
    [
        ("list_features", Fault.delay(10), "run --all --timeout 15", 4, (15, 16)),
        ("run_feature list_runs", Fault.hang(), "run Checkout --timeout 5", 5, (5, 35)),
        ("get_run_artifacts", Fault.hang(), "run Returns --timeout 80 --artifacts a", 1, (60, 95)),
        ("list_features", Fault.status(503), "run --all --timeout 40", 5, (32, 48)),
        ("list_features", Fault.status(503), "run --all", 5, (240, 360)),
        ("list_features list_configs", Fault.status(503), "run Checkout -c Mobile", 0, (60, 70)),
    ],
)
async def test_patience_ends(  # noqa: PLR0913, PLR0917 - a table
    operations: str,
    fault: Fault,
    typed: str,
    code: int,
    seconds: tuple[float, float],
    emulator: Emulator,
    call: Call,
) -> None:
    """All that a command does is bounded; what is not needed is not waited for."""
    for operation in operations.split():
        emulator.fail(operation, fault)
    ended = await call(f"{typed} --wait")
    assert ended.code == code, ended.errors
    assert seconds[0] <= now() <= seconds[1]


async def test_list_that_is_away_shows_nothing(emulator: Emulator, call: Call) -> None:
    """Where the runs can't be listed it is not said that none is in flight."""
    await call("run Checkout")
    emulator.fail("list_runs", Fault.status(503))
    ended = await call("wait Checkout")
    assert (ended.code, "in flight" in ended.errors) == (5, False)
