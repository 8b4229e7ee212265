"""The stability of features by `run --repeat`, and the quarantine, on virtual time."""

import re
import tomllib
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.surfaces.cli.conftest import Call, interrupted, text_of, write
from tests.surfaces.cli.test_batches import end_later
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

pytestmark = pytest.mark.usefixtures("signed_in")


@pytest.fixture
def scenario() -> Scenario:
    """By this seed 3 of the first 10 runs of Checkout fail; the others are what they are."""
    outcomes = {"Returns": Outcome(run_status="failed"), "Newsletter": Outcome(run_status="passed")}
    return Scenario(seed=36, failing_runs=0.3, outcomes=outcomes)


async def test_flaky(emulator: Emulator, call: Call) -> None:
    """The verdict is a line before the counts, of a resumed batch too; it is all that -q prints."""
    await interrupted(call, "run Checkout --repeat 10", at=100)
    assert len(emulator.runs) < 10
    ended = await call("resume")
    assert ended.code == 1
    verdict = "flaky: 3 of 10 runs failed, so between 11% and 60% fail (95% sure)"
    assert f"\nCheckout: {verdict}\n" in ended.output
    assert ended.output.endswith(": 7 passed, 3 failed\n")
    runs = [*emulator.runs.values()]
    assert len(runs) == 10
    assert all(a.finished_at <= b.started_at for a, b in pairwise(runs))
    ended = await call("report")
    assert (ended.code, f"\nCheckout: {verdict}\n" in ended.output) == (1, True)
    quiet = await call("run Newsletter --repeat 3 --quiet")
    assert re.fullmatch(r"Newsletter: stable: 3 of 3 runs passed.*\n", quiet.output)


async def test_what_does_not_count(emulator: Emulator, call: Call) -> None:
    """A refused run does not count as a failure: what is flaky without it stays so."""
    emulator.fail("run_feature", Fault.status(401), skip=3, times=1)
    emulator.fail("*", Fault.status(503), when=lambda _: 100 < emulator.now() < 160)
    ended = await call("run Checkout --repeat 10")
    assert ended.code == 1
    assert "; not counted, without a result: 1\n" in ended.output
    emulator.fail("run_feature", Fault.status(401), skip=1, times=1)
    ended = await call("run Newsletter --repeat 3")
    assert "Newsletter: stable: 2 of 2 runs passed" in ended.output
    assert ended.code == 3  # Whether it is stable is not known.


ENTRY = """
[[quarantine]]
feature = "{}"
reason = "the bank's sandbox is slow"
owner = "Ann"
until = {:%Y-%m-%d}
strict = true
"""


def write_quarantine(feature: str = "Returns", *, days: int = 3) -> None:
    until = datetime.now(UTC) + timedelta(days=days)
    write(".testvibe-async.toml", ENTRY.format(feature, until))


async def test_quarantined(call: Call) -> None:
    """It runs and is named once with its owner, and the exit code is 0; so it is in JUnit."""
    write_quarantine()
    ended = await call("run Newsletter Returns --wait --report junit.xml")
    assert ended.code == 0
    assert "\nIn quarantine:\n  Returns: quarantined until " in ended.output
    assert "(Ann): the bank's sandbox is slow\n" in ended.output
    assert ended.output.endswith(": 1 passed, 1 quarantined\n")
    assert 'failures="0"' in text_of("junit.xml")
    assert (await call("report")).code == 0
    document = (await call("run Returns --wait --json")).json
    assert document["items"][0]["quarantine"]["owner"] == "Ann"
    ended = await call("run Returns --repeat 3")
    assert (ended.code, "Returns: broken: 3 of 3 runs failed" in ended.output) == (0, True)
    assert ended.output.count("Returns: quarantined until") == 1


@pytest.mark.parametrize(
    ("days", "why"),
    [(-1, "the quarantine of 'Newsletter' expired: "), (3, "unexpected pass of 'Newsletter': ")],
)
async def test_red_batch_without_a_failure(
    emulator: Emulator, call: Call, days: int, why: str
) -> None:
    """What passed does not run again for a quarantine; the batch stays red, and why is said."""
    write_quarantine("Newsletter", days=days)
    ended = await call("run Newsletter --wait")
    assert (ended.code, "run --failed" in ended.output) == (1, False)
    ended = await call("run --failed --wait")
    assert (ended.code, len(emulator.runs)) == (1, 1)
    assert "; to run again: 0 of 1.\n" in ended.errors
    assert why in ended.output


@pytest.mark.parametrize(("days", "code", "started"), [(3, 0, 3), (-1, 4, 1)])
async def test_excused_failures_stop_no_batch(
    emulator: Emulator, call: Call, days: int, code: int, started: int
) -> None:
    """A failure in quarantine does not count for `--max-failures`; one that expired says so."""
    write_quarantine(days=days)
    typed = "run Returns Newsletter Checkout --wait -q --max-in-flight 1 --max-failures 1"
    ended = await call(typed)
    assert (ended.code, len(emulator.runs)) == (code, started)
    assert ended.output.count("the quarantine of 'Returns' expired: fix it") == (days < 0)


async def test_quarantine_of_no_feature(call: Call, emulator: Emulator) -> None:
    """A mistyped entry is named once the features are listed; one that is too long is refused."""
    write_quarantine("Retruns")
    ended = await call("run Newsletter Returns --wait")
    assert ended.code == 1
    said = "The quarantine names 'Retruns', and there is no such feature: did you mean 'Returns'?"
    assert ended.errors.count(said) == 1
    write_quarantine("returns")
    assert (await call("run --all --wait")).errors.count("The quarantine") == 0
    write_quarantine(days=60)
    dispatched = emulator.count("run_feature")
    (await call("run Returns --wait")).refuses("until is at most")
    assert emulator.count("run_feature") == dispatched


async def test_entries_are_proposed_and_may_leave(emulator: Emulator, call: Call) -> None:
    """A flaky feature is an entry without an owner; ten passes in a row end one that is there."""
    write_quarantine("Newsletter")
    for _ in range(9):
        await call("run Newsletter --wait")
    assert (
        await call("history --quarantine")
    ).output == "# Nothing to add, and nothing to remove.\n"
    await call("run Newsletter --wait")
    end_later(emulator, "failed", "Checkout")
    await call("run Checkout --attempts 2")
    entry, leaves = (await call("history --quarantine")).output.split("\n\n")
    table = tomllib.loads(entry)["quarantine"][0]
    assert (table["feature"], table["reason"]) == ("Checkout", "flaky in 1 of 1 batch")
    assert (table["owner"], leaves) == ("", "# 'Newsletter' passed 10 times in a row: remove it\n")
    document = (await call("history --quarantine --json")).json
    assert [each["name"] for each in document["proposed"]] == ["Checkout"]
