"""The quarantine: expected failures that do not fail a batch, for some days."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from attrs import evolve

import testvibe_async
from testvibe_async import BatchItem, CaseResult, ConfigError, Run, RunStatus, RunSummary, Verdict
from testvibe_async.runner.quarantine import Quarantine

TODAY = date(2026, 12, 1)
ENTRY = 'reason = "slow cart"\nowner = "Ann"\nuntil = 2026-12-24\n'
WHOLE = '[[quarantine]]\nfeature = "checkout"\n' + ENTRY
ONE_TEST = '[[quarantine]]\ntest = "Pay by card"\n' + ENTRY
STRICT = "strict = true\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".testvibe-async.toml"


def run_of(**tests: str) -> Run:
    is_passed = set(tests.values()) == {"passed"}
    return Run(
        run_id=7,
        feature_name="Checkout",
        status=RunStatus.PASSED if is_passed else RunStatus.FAILED,
        tests=tuple(CaseResult(name=name.replace("_", " "), status=s) for name, s in tests.items()),
    )


FAILED = run_of(Pay_by_card="failed", Pay_by_gift="passed")
BOTH_FAILED = run_of(Pay_by_card="failed", Pay_by_gift="failed")
PASSED = run_of(Pay_by_card="passed", Pay_by_gift="passed")
OTHER_FAILED = run_of(Pay_by_card="passed", Pay_by_gift="failed")


@pytest.mark.parametrize(
    ("table", "run", "verdict", "sentence"),
    [
        ("", FAILED, Verdict.FAILED, None),
        (WHOLE, FAILED, "quarantined", "quarantined until 2026-12-24 (Ann): slow cart"),
        (WHOLE, PASSED, Verdict.SUCCEEDED, "quarantined until 2026-12-24 (Ann): slow cart"),
        (WHOLE.replace("checkout", "Returns"), FAILED, Verdict.FAILED, None),
        (WHOLE, evolve(FAILED, status="odd"), Verdict.ERROR, None),
        (WHOLE.replace("-24", "-31"), FAILED, "quarantined", "until 2026-12-31"),  # 30 days
        (WHOLE + STRICT, FAILED, "quarantined", "quarantined until"),
        (WHOLE + STRICT, evolve(PASSED, tests=()), "quarantined", "slow cart"),  # no results
        (WHOLE + STRICT, PASSED, Verdict.FAILED, "unexpected pass of 'checkout': remove it"),
        (ONE_TEST, FAILED, "quarantined", "slow cart"),
        (ONE_TEST, BOTH_FAILED, Verdict.FAILED, None),
        (ONE_TEST, OTHER_FAILED, Verdict.FAILED, None),
        (ONE_TEST, evolve(FAILED, summary=RunSummary(2, 1, 1, 0)), "quarantined", "slow cart"),
        (ONE_TEST, evolve(FAILED, summary=RunSummary(3, 1, 2, 0)), Verdict.FAILED, None),
        (ONE_TEST, evolve(FAILED, summary=RunSummary(3, 1, 1, 1)), Verdict.FAILED, None),
        (ONE_TEST + STRICT, OTHER_FAILED, Verdict.FAILED, "unexpected pass of test 'Pay by card'"),
        (ONE_TEST + 'feature = "Returns"', FAILED, Verdict.FAILED, None),
        (WHOLE.replace("-24", "-01"), FAILED, "quarantined", "until 2026-12-01"),  # the last day
        (WHOLE.replace("12-24", "11-30"), FAILED, Verdict.FAILED, "of 'checkout' expired: fix it"),
        (WHOLE.replace("12-24", "11-30"), PASSED, Verdict.FAILED, "of 'checkout' expired: fix it"),
    ],
)
def test_a_quarantined_failure_is_excused_until_its_day(
    repository: Path, table: str, run: Run, verdict: Verdict, sentence: str | None
) -> None:
    """A failure is excused until a day, unless something else failed too."""
    repository.write_text(table)
    item = Quarantine.read(today=TODAY).mark(BatchItem(feature="CHECKOUT", outcome=run))
    assert item.verdict == verdict
    assert (sentence or "None") in str(item.quarantine)
    assert item.outcome == run


def test_flaky_pass_is_not_unexpected(repository: Path) -> None:
    """What passed after a failure is still what the quarantine is about."""
    repository.write_text(WHOLE + STRICT)
    item = BatchItem(feature="Checkout", outcome=PASSED, earlier=(FAILED,))
    assert Quarantine.read(today=TODAY).mark(item).verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (WHOLE.replace("2026-12-24", "2027-01-01"), "until is at most 2026-12-31, 30 days ahead"),
        (WHOLE.replace("2026-12-24", '"2026-12-24"'), "until must be a date without quotes"),
        (WHOLE.replace("owner", "ower"), "unknown key 'ower'; known are feature, test, reason"),
        (WHOLE.replace('owner = "Ann"', ""), "of 'checkout' has no owner"),
        (WHOLE.replace("Ann", ""), "owner must be a text in quotes"),
        ("[[quarantine]]\n" + ENTRY, "has no feature or test"),
        ("quarantine = [3]", "has no reason, no owner, no until, no feature or test"),
    ],
)
def test_an_invalid_entry_is_refused_with_its_file(repository: Path, table: str, why: str) -> None:
    """It is refused in one sentence with the file, before anything runs."""
    repository.write_text(table)
    with pytest.raises(ConfigError, match=why) as caught:
        Quarantine.read(today=TODAY)
    assert str(repository) in str(caught.value)


def test_entry_of_the_page(repository: Path) -> None:
    """The entry that the page of settings shows is valid until its day."""
    page = Path(testvibe_async.__file__).parent / "_core" / "config" / "README.md"
    text = page.read_text(encoding="utf-8").partition("## Quarantine")[2]
    repository.write_text(text.partition("```toml\n")[2].partition("```")[0])
    (entry,) = Quarantine.read(today=TODAY).entries
    assert (str(entry), entry.strict) == ("test 'Guest pays by card' of 'Checkout'", True)
