"""Features in quarantine, in a session of pytest inside pytest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator

pytest_plugins = ["pytester"]

ENTRY = """
[[quarantine]]
feature = "{}"
reason = "the bank's sandbox is slow"
owner = "Ann"
until = {:%Y-%m-%d}
strict = true
"""


@pytest.fixture
def quarantined(inner: Inner, feature: str, days: int) -> None:
    until = datetime.now(UTC) + timedelta(days=days)
    path = inner.pytester.path / ".testvibe-async.toml"
    path.write_text(ENTRY.format(feature, until), encoding="utf-8")


@pytest.mark.usefixtures("service", "quarantined")
@pytest.mark.parametrize(("feature", "days"), [("Returns", 3)])
def test_failure_is_expected(inner: Inner) -> None:
    """It is an xfail with its owner and date, as its test is, and JUnit has no failure."""
    result = inner.features("-vrx", "--testvibe-select=Returns", "--junitxml=report.xml")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(xfailed=2)
    result.stdout.fnmatch_lines(
        [
            "testvibe::Returns SUBXFAIL[[]Returns works[]] *quarantined until * (Ann): *",
            "XFAIL testvibe::Returns - quarantined until * (Ann): the bank's sandbox is slow",
        ]
    )
    report = (inner.pytester.path / "report.xml").read_text(encoding="utf-8")
    assert 'failures="0"' in report


@pytest.mark.usefixtures("service", "quarantined")
@pytest.mark.parametrize(
    ("feature", "days", "sentence"),
    [
        ("Returns", -1, "*the quarantine of 'Returns' expired: fix it and remove the entry*"),
        ("Checkout", -1, "*the quarantine of 'Checkout' expired: fix it and remove the entry*"),
        ("Checkout", 3, "*unexpected pass of 'Checkout': remove it from the quarantine*"),
    ],
)
def test_expired_or_unexpected(inner: Inner, feature: str, sentence: str) -> None:
    """The feature fails, and the summary says what to do."""
    result = inner.features(f"--testvibe-select={feature}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([sentence])


@pytest.mark.usefixtures("quarantined")
@pytest.mark.parametrize(("feature", "days"), [("Returns", 60)])
def test_invalid_entry(inner: Inner, service: Emulator) -> None:
    """It is an error of usage before anything runs."""
    result = inner.features("--testvibe-select=Returns")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*until is at most*"])
    assert service.count("run_feature") == 0
