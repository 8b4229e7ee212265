"""Results of tools: lines for a human, and rows of lists."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from testvibe_async import (
    CaseResult,
    FeatureStatus,
    Generation,
    Run,
    RunStatus,
    RunSummary,
)
from testvibe_async.mcp_server.answers import rows
from testvibe_async.mcp_server.digests import say
from testvibe_async.models import Section

AT = datetime(2026, 6, 10, tzinfo=UTC)

FAILED = CaseResult("Out", "failed", error="\nTimeoutError: 30 s\n  at line 7")


LINES: list[tuple[Run | Generation, str]] = [
    (Run(7, RunStatus.RUNNING, 12), "Run 7 of feature 12 is running (queued)."),
    (
        Run(7, "running", feature_name="Login", started_at=AT),
        'Run 7 of "Login" is running (active).',
    ),
    (Run(7, RunStatus.PASSED, summary=RunSummary(total=1, passed=1)), "is over: 1 test passed."),
    (Run(7, RunStatus.PASSED), "passed, the service reports no tests (diagnose_run says why)."),
    (Run(7, RunStatus.FAILED), "failed, the service reports no tests (diagnose_run says why)."),
    (Run(7, RunStatus.FAILED, tests=(FAILED, CaseResult("In"))), '"TimeoutError: 30 s"'),
    (Run(7, RunStatus.FAILED, tests=(CaseResult("Out", "failed"),)), "no error given"),
    (Run(7, "aborted", finished_at=AT), "is over with an undocumented status, 'aborted'."),
    (Generation(), "The generation of a feature was never started (its status is unknown)."),
    (Generation(feature_name="Login", feature_status="draft"), "(its status is draft)."),
    (Generation(feature_name='A" is over: "B'), "The generation of \"A' is over: 'B\" was never"),
    (
        Generation(
            feature_status=FeatureStatus.GENERATING,
            request_id="a",
            runner_started=True,
            sections=(Section("a", conclusion="success"), Section("b")),
        ),
        "is generating (active, 1 of 2 sections done).",
    ),
    (Generation(feature_status=FeatureStatus.GENERATED), "is over: tests generated."),
    (Generation(feature_status=FeatureStatus.FAILED), "failed (get_generation_log says why)."),
]


@pytest.mark.parametrize(("seen", "words"), LINES, ids=[words for _, words in LINES])
def test_an_operation_in_a_line(seen: Run | Generation, words: str) -> None:
    """The line shows a status, the first failure, how far a generation is, and the next step."""
    assert words in say(seen)


def test_rows_leave_out_what_the_service_left_out() -> None:
    """A row of a list has no nulls and no empty lists, and keeps what is zero."""
    assert rows([Run(1, "passed", summary=RunSummary())]) == [
        {
            "runId": 1,
            "status": "passed",
            "summary": {"total": 0, "passed": 0, "failed": 0, "other": 0},
        }
    ]
