"""What failed in quarantine: apart, with its owner and date, in each format."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from tests.surfaces.reports.items import (
    ERROR,
    FAILED,
    PASSED,
    attempted,
    quarantined_item,
    run_item,
    skipped_item,
)
from testvibe_async import CaseResult, Verdict
from testvibe_async.reports import FORMATS, Format, to_ctrf, to_junit, to_markdown

EXCUSED = quarantined_item()
REASON = "1 of 2 tests failed; quarantined until 2026-06-24 (Ann): slow cart"


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_each_format_names_owner_and_date(form: Format) -> None:
    """So does a pass, until the entry is removed."""
    for item in (EXCUSED, quarantined_item(Verdict.SUCCEEDED, PASSED)):
        shown = form.render([item])
        assert "Ann" in shown
        assert "2026-06-24" in shown or "2026&#45;06&#45;24" in shown


def test_no_gate_fails_by_it() -> None:
    """JUnit and CTRF count no failure, and still have the error."""
    suites = ET.fromstring(to_junit([EXCUSED]))  # noqa: S314 - written here
    assert (suites.get("failures"), suites.get("errors")) == ("0", "0")
    assert [each.get("message") for each in suites.iter("skipped")] == [REASON]
    results = json.loads(to_ctrf([EXCUSED]))["results"]
    assert (results["summary"]["failed"], results["summary"]["other"]) == (0, 1)
    assert results["environment"]["healthy"]
    (test,) = (each for each in results["tests"] if each["status"] == "other")
    assert (test["rawStatus"], test["trace"]) == ("failed", ERROR)
    assert test["extra"]["quarantine"]["owner"] == "Ann"
    assert f"🚧 <b>Cart</b>: {REASON}" in to_markdown([EXCUSED]).replace("&#58;", ":")
    assert "1 of 1 quarantined" in to_markdown([EXCUSED])


@pytest.mark.parametrize("test", [PASSED, FAILED])
def test_expired_or_unexpected(test: CaseResult) -> None:
    """It is a failure, also where all tests passed; so is what was never dispatched beside it."""
    (suite,) = ET.fromstring(to_junit([quarantined_item(Verdict.FAILED, test)]))  # noqa: S314 - likewise
    assert suite.get("failures") == "1"
    assert "slow cart (until 2026-06-24, Ann)" in to_markdown([quarantined_item(Verdict.FAILED)])
    suites = ET.fromstring(to_junit([EXCUSED, skipped_item()]))  # noqa: S314 - likewise
    assert suites.get("errors") == "1"


def test_earlier_attempts_failed() -> None:
    """What came before the last attempt is a failure as ever."""
    item = attempted(EXCUSED, run_item(FAILED, run_id=7))
    test = json.loads(to_ctrf([item]))["results"]["tests"][1]
    assert [each["status"] for each in test["retryAttempts"]] == ["failed"]
