"""The result of one operation in a few words."""

from __future__ import annotations

import pytest

from tests.surfaces.cli.board.test_table import ACTIVE, row
from testvibe_async import Generation, Run, RunStatus, RunSummary
from testvibe_async.models import Section


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (None, ""),
        (Run(1, RunStatus.RUNNING, summary=RunSummary()), ""),
        (Run(1, RunStatus.PASSED), ""),
        (Run(1, RunStatus.PASSED, summary=RunSummary(total=1, passed=1)), "1 test passed"),
        (
            Run(1, RunStatus.PASSED, summary=RunSummary(total=3, passed=2, other=1)),
            "2 of 3 tests passed",
        ),
        (Generation(), ""),
        (Generation(sections=(Section("a"),)), "0 of 1 section"),
        (
            Generation(sections=(Section("a", conclusion="success"), Section("b"))),
            "1 of 2 sections",
        ),
    ],
)
def test_result_says_what_is_known(snapshot: object, expected: str) -> None:
    """A result is what the snapshot shows, and empty where it shows nothing."""
    assert row(phase=ACTIVE, status="running", snapshot=snapshot).result == expected
