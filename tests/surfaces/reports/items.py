"""Items of every kind, made by hand, for tests of reports."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from attrs import evolve

from testvibe_async import (
    Artifact,
    BatchItem,
    CaseResult,
    DispatchUnknownError,
    FeatureNotGeneratedError,
    FeatureStatus,
    Generation,
    GenerationLog,
    GenerationRef,
    ObservationError,
    Quarantined,
    Run,
    RunRef,
    RunStatus,
    Verdict,
    WaitTimeoutError,
)
from testvibe_async.models import Section, SectionLog

Item = BatchItem[Run | Generation]

START = datetime(2026, 6, 10, 16, 2, 11, tzinfo=UTC)
ERROR = "TimeoutError: locator.click: Timeout 5000ms exceeded.\nCall log:\n  - waiting"
PASSED = CaseResult("Valid user signs in", "passed", 4210)
FAILED = CaseResult("Locked-out user sees an error", "failed", 9120, ERROR)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def run_ref(run_id: int = 214) -> RunRef:
    return RunRef(
        server="https://testvibe.example", project="p-1", run_id=run_id, dispatched_at=START
    )


def run_item(
    *tests: CaseResult, feature: str = "Login", config: str | None = None, **fields: Any
) -> Item:
    """Make the item of a run: failed where one of its tests failed, unless a status is given."""
    run_id = fields.setdefault("run_id", 214)
    failed = any(test.status == "failed" for test in tests)
    fields.setdefault("status", RunStatus.FAILED if failed else RunStatus.PASSED)
    times: dict[str, Any] = {"created_at": at(0), "started_at": at(8), "finished_at": at(43)}
    run = Run(feature_id=12, feature_name=feature, tests=tests, **times | fields)
    return BatchItem(feature=feature, config=config, ref=run_ref(run_id), outcome=run)


def generation_ref() -> GenerationRef:
    return GenerationRef(
        server="https://testvibe.example",
        project="p-1",
        request_id="a1b2",
        feature_id=15,
        dispatched_at=START,
    )


def generation_item(status: FeatureStatus | str = FeatureStatus.FAILED, **fields: Any) -> Item:
    generation = Generation(
        feature_id=15,
        feature_name="Gift card",
        feature_status=status,
        request_id="a1b2",
        updated_at=at(170),
        **fields,
    )
    return BatchItem(feature="Gift card", ref=generation_ref(), outcome=generation)


LOG = GenerationLog(
    request_id="a1b2",
    sections=(
        SectionLog("valid", "Valid card", conclusion="success", status_reason="All is well"),
        SectionLog(
            "expired",
            "Expired card",
            conclusion="failure",
            status_reason="Tests did not pass verification",
            log=("Exploring…", "Verification: 0/1 passed"),
        ),
        SectionLog("untitled", log=("Nothing to do",)),
    ),
)


def refused_item(feature: str = "Returns", config: str | None = None) -> Item:
    error = FeatureNotGeneratedError(
        "Only generated features can run.",
        status=409,
        code="conflict",
        method="POST",
        url="https://testvibe.example/run",
    )
    return BatchItem(feature=feature, config=config, error=error)


def unseen_item() -> Item:
    error = ObservationError("nothing but 503 for 300 s", ref=run_ref(300))
    return BatchItem(feature="Wishlist", ref=run_ref(300), error=error)


def in_flight_item() -> Item:
    error = WaitTimeoutError(ref=run_ref(301), status="running", elapsed=150)
    return BatchItem(feature="Store locator", config="Mobile", ref=run_ref(301), error=error)


def unknown_item() -> Item:
    url = "https://testvibe.example/projects/p-1/features/Refund/run"
    error = DispatchUnknownError(
        "the answer was lost", method="POST", url=url, project="p-1", feature="Refund"
    )
    return BatchItem(feature="Refund", error=error)


def attempted(item: Item, *earlier: Item) -> Item:
    """Return an item with the outcomes of others as those of its earlier attempts."""
    return evolve(item, earlier=tuple(each.outcome for each in earlier if each.outcome))


def quarantined_item(verdict: Verdict = Verdict.QUARANTINED, *tests: CaseResult) -> Item:
    """Make the item of a feature in quarantine: one that failed, unless tests are given."""
    effect = Quarantined(reason="slow cart", owner="Ann", until=date(2026, 6, 24), verdict=verdict)
    return evolve(run_item(*(tests or (PASSED, FAILED)), feature="Cart"), quarantine=effect)


def flaky_item(**fields: Any) -> Item:
    """Make the item of a feature whose second run passed."""
    passed = CaseResult(FAILED.name, "passed", 8000)
    return attempted(
        run_item(
            PASSED,
            passed,
            run_id=216,
            created_at=at(50),
            started_at=at(51),
            finished_at=at(80),
            **fields,
        ),
        run_item(PASSED, FAILED, run_id=215, **fields),
    )


def skipped_item() -> Item:
    return BatchItem(feature="Newsletter")


def waiting_item() -> Item:
    return BatchItem(feature="Newsletter", is_waiting=True)


def item_of(verdict: Verdict) -> Item:
    """Return an item that has a verdict."""
    others = (unknown_item(), waiting_item(), quarantined_item())
    items = {item.verdict: item for item in (*every_kind(), *others)}
    return items[verdict]


def every_kind() -> list[Item]:
    """Return an item of each kind that reports tell apart."""
    artifact = Artifact("trace", "trace/locked-out.zip", 482_133)
    sections = (Section("expired", conclusion="failure"),)
    return [
        run_item(PASSED, run_id=213, feature="Checkout"),
        run_item(PASSED, FAILED, log="line 1\nline 2", artifacts=(artifact,), config="Mobile"),
        generation_item(sections=sections),
        refused_item(),
        unseen_item(),
        in_flight_item(),
        skipped_item(),
    ]
