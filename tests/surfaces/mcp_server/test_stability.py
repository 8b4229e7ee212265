"""Repeated runs and the quarantine, in digests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.mcp_connection import connected, refused, result_of
from testvibe_async.testing import Fault, Outcome, Scenario

if TYPE_CHECKING:
    from testvibe_async.testing import Emulator

ENTRY = """
[[quarantine]]
feature = "{}"
reason = "the bank's sandbox is slow"
owner = "Ann"
until = {:%Y-%m-%d}
strict = true
"""


def write_quarantine(feature: str, *, days: int = 3) -> None:
    until = datetime.now(UTC) + timedelta(days=days)
    Path(".testvibe-async.toml").write_text(ENTRY.format(feature, until), encoding="utf-8")


OUTCOMES = {"Returns": Outcome(run_status="failed"), "Newsletter": Outcome(run_status="passed")}

SCENARIO = Scenario(seed=36, failing_runs=0.3, outcomes=OUTCOMES)
"""By this seed 3 of the first 10 runs of Checkout fail."""


async def test_how_flaky(emulator: Emulator) -> None:
    """Calls of the same run a feature ten times in all; what was refused does not count."""
    emulator.fail("run_feature", Fault.status(401), skip=3, times=1)
    async with connected(emulator) as mcp:
        digest: dict[str, Any] = {"inFlight": True}
        while digest["inFlight"]:
            digest = await result_of(mcp, "run_features", features=["Checkout"], repeat=10)
    (found,) = digest["stability"]
    assert (found["verdict"], found["passed"] + found["failed"]) == ("flaky", 9)
    assert (found["notCounted"], len(emulator.runs)) == (1, 9)


@pytest.mark.parametrize(
    ("feature", "days", "verdict", "sentence"),
    [
        ("Returns", 3, "quarantined", "(Ann): the bank's sandbox is slow"),
        ("Newsletter", 3, "failed", "unexpected pass of 'Newsletter': remove it"),
        ("Returns", -1, "failed", "the quarantine of 'Returns' expired: fix it"),
    ],
)
async def test_quarantine(
    emulator: Emulator, feature: str, days: int, verdict: str, sentence: str
) -> None:
    """A row has the owner and what to do; an excused failure fails no digest."""
    write_quarantine(feature, days=days)
    features = {"Newsletter", "Wishlist", feature} - ({"Wishlist"} if days > 0 else set())
    async with connected(emulator) as mcp:
        digest = await result_of(mcp, "run_features", features=sorted(features))
        (row,) = (each for each in digest["runs"] if each["feature"] == feature)
        waited = await result_of(mcp, "wait_for_runs", runIds=[row["runId"]])
    assert row["verdict"] == verdict
    assert sentence in row["quarantine"]
    assert digest["verdict"] == ("succeeded" if verdict == "quarantined" else "failed")
    assert waited["runs"] == [row]


async def test_invalid_entry(emulator: Emulator) -> None:
    """It is said before anything is started."""
    write_quarantine("Returns", days=60)
    async with connected(emulator) as mcp:
        said = await refused(mcp, "run_features", features=["Returns"])
    assert said.startswith("Nothing was started: ")
    assert "until is at most" in said
    assert emulator.count("run_feature") == 0
