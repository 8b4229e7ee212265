"""`run --repeat` and the quarantine, on virtual time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testvibe_async.testing import Fault, Outcome, Scenario

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call
    from testvibe_async.testing import Emulator

pytestmark = pytest.mark.usefixtures("signed_in")


@pytest.fixture
def scenario() -> Scenario:
    """By this seed 3 of the first 10 runs of Checkout fail; the others are what they are."""
    outcomes = {"Returns": Outcome(run_status="failed"), "Newsletter": Outcome(run_status="passed")}
    return Scenario(seed=36, failing_runs=0.3, outcomes=outcomes)


async def test_flaky(emulator: Emulator, call: Call) -> None:
    """The verdict is a line before the counts; the exit code is 1."""
    ended = await call("run Checkout --repeat 10")
    assert ended.code == 1
    verdict = "flaky: 3 of 10 runs failed, so between 11% and 60% fail (95% sure)"
    assert f"\nCheckout: {verdict}\n" in ended.output
    assert ended.output.endswith(": 7 passed, 3 failed\n")
    assert len(emulator.runs) == 10
    ended = await call("report")
    assert ended.code == 1
    assert f"\nCheckout: {verdict}\n" in ended.output


@pytest.mark.parametrize(
    ("feature", "code", "verdict"),
    [
        ("Newsletter", 0, "stable: 3 of 3 runs passed, so fewer than 63% fail (95% sure)"),
        ("Returns", 1, "broken: 3 of 3 runs failed, so more than 37% fail (95% sure)"),
    ],
)
async def test_stable_or_broken(call: Call, feature: str, code: int, verdict: str) -> None:
    """It is the same in JSON."""
    ended = await call("run", feature, "--repeat", "3", "--json")
    assert ended.code == code
    (found,) = ended.json["stability"]
    assert found["summary"] == verdict


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
feature = "Returns"
reason = "the bank's sandbox is slow"
owner = "Ann"
until = {:%Y-%m-%d}
strict = true
"""


def write_quarantine(feature: str = "Returns", *, days: int = 3) -> None:
    until = datetime.now(UTC) + timedelta(days=days)
    text = ENTRY.format(until).replace("Returns", feature)
    Path(".testvibe-async.toml").write_text(text, encoding="utf-8")


async def test_quarantined(call: Call) -> None:
    """It runs and is named with its owner, and the exit code is 0; so it is in JUnit."""
    write_quarantine()
    ended = await call("run Newsletter Returns --wait --report junit.xml")
    assert ended.code == 0
    assert "\nIn quarantine:\n  Returns: quarantined until " in ended.output
    assert "(Ann): the bank's sandbox is slow\n" in ended.output
    assert ended.output.endswith(": 1 passed, 1 quarantined\n")
    assert 'failures="0"' in Path("junit.xml").read_text(encoding="utf-8")  # noqa: ASYNC240
    assert (await call("report")).code == 0
    document = (await call("run Returns --wait --json")).json
    assert document["items"][0]["quarantine"]["owner"] == "Ann"


@pytest.mark.parametrize(("days", "code", "started"), [(3, 0, 3), (-1, 4, 1)])
async def test_excused_failures_stop_no_batch(
    emulator: Emulator, call: Call, days: int, code: int, started: int
) -> None:
    """A failure in quarantine does not count for `--max-failures`, unless its entry has expired."""
    write_quarantine(days=days)
    words = ("Returns", "Newsletter", "Checkout", "--wait", "--max-in-flight", "1")
    ended = await call("run", *words, "--max-failures", "1")
    assert (ended.code, len(emulator.runs)) == (code, started)


async def test_quarantine_of_no_feature(call: Call) -> None:
    """A mistyped entry is named as soon as the features are listed, and changes nothing."""
    write_quarantine("Retruns")
    ended = await call("run Newsletter Returns --wait")
    assert ended.code == 1
    said = "The quarantine names 'Retruns', and there is no such feature: did you mean 'Returns'?"
    assert ended.errors.count(said) == 1
    write_quarantine("returns")
    assert (await call("run --all --wait")).errors.count("The quarantine") == 0


async def test_quarantine_of_repeated_runs(call: Call) -> None:
    """It is named once for a feature, not for each run."""
    write_quarantine()
    ended = await call("run Returns --repeat 3")
    assert ended.output.count("Returns: quarantined until") == 1


@pytest.mark.parametrize(
    ("feature", "days", "sentence"),
    [
        ("Returns", -1, "the quarantine of 'Returns' expired: fix it and remove the entry"),
        ("Newsletter", 3, "unexpected pass of 'Newsletter': remove it from the quarantine"),
    ],
)
async def test_expired_or_unexpected(call: Call, feature: str, days: int, sentence: str) -> None:
    """One sentence says what to do, and the batch fails."""
    write_quarantine(feature, days=days)
    ended = await call("run", feature, "--wait", "--quiet")
    assert ended.code == 1
    assert ended.output.count(sentence) == 1


async def test_too_long(emulator: Emulator, call: Call) -> None:
    """An entry for two months is refused before anything is dispatched."""
    write_quarantine(days=60)
    ended = await call("run Returns --wait")
    ended.refuses("until is at most")
    assert emulator.count("run_feature") == 0
