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
from testvibe_async.mcp_server.answers import rows, say
from testvibe_async.models import Section

AT = datetime(2026, 6, 10, tzinfo=UTC)

MORE = "(diagnose_run says more)"

FAILED = CaseResult("Out", "failed", error="\nTimeoutError: 30 s\n  at line 7")


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (Run(7, RunStatus.RUNNING, 12), "Run 7 of feature 12 is running (queued)."),
        (
            Run(7, RunStatus.RUNNING, feature_name="Login", started_at=AT),
            "Run 7 of Login is running (active).",
        ),
        (
            Run(7, RunStatus.PASSED, feature_name="Login", summary=RunSummary(total=1, passed=1)),
            "Run 7 of Login passed (1 test).",
        ),
        (
            Run(7, RunStatus.FAILED, feature_name="Login"),
            "Run 7 of Login failed (0 tests; diagnose_run says more).",
        ),
        (
            Run(7, RunStatus.FAILED, feature_name="Login", tests=(FAILED, CaseResult("In"))),
            (
                "Run 7 of Login failed: 1 of 2 tests failed, first 'Out': "
                f'"TimeoutError: 30 s" {MORE}.'
            ),
        ),
        (
            Run(7, RunStatus.FAILED, feature_name="Login", tests=(CaseResult("Out", "failed"),)),
            f"Run 7 of Login failed: 1 of 1 test failed, first 'Out': no error given {MORE}.",
        ),
        (
            Run(7, "aborted", feature_name="Login", finished_at=AT),
            (
                "Run 7 of Login is over. Its status 'aborted' is not documented: it is neither "
                "success nor failure."
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_in_a_line(run: Run, line: str) -> None:
    """The line shows a run's status, and for a failed run its first failure and the next step."""
    assert say(run) == line


@pytest.mark.parametrize(
    ("generation", "line"),
    [
        (Generation(), "The generation of a feature was never started (its status is unknown)."),
        (
            Generation(feature_name="Login", feature_status="draft"),
            "The generation of Login was never started (its status is draft).",
        ),
        (
            Generation(
                feature_name="Login", feature_status=FeatureStatus.GENERATING, request_id="a"
            ),
            "The generation of Login is generating (queued, 0 of 0 sections done).",
        ),
        (
            Generation(
                feature_name="Login",
                feature_status=FeatureStatus.GENERATING,
                request_id="a",
                runner_started=True,
                sections=(Section("a", conclusion="success"), Section("b")),
            ),
            "The generation of Login is generating (active, 1 of 2 sections done).",
        ),
        (
            Generation(feature_name="Login", feature_status=FeatureStatus.GENERATED),
            "The generation of Login is over: tests were generated.",
        ),
        (
            Generation(feature_name="Login", feature_status=FeatureStatus.FAILED),
            "The generation of Login is over: failed (get_generation_log says why).",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_generation_in_a_line(generation: Generation, line: str) -> None:
    """The line shows a generation's status, how many sections are done, and the next step."""
    assert say(generation) == line


def test_rows_leave_out_what_the_service_left_out() -> None:
    """A row of a list has no nulls and no empty lists, and keeps what is zero."""
    assert rows([Run(1, "passed", summary=RunSummary())]) == [
        {
            "runId": 1,
            "status": "passed",
            "summary": {"total": 0, "passed": 0, "failed": 0, "other": 0},
        }
    ]
