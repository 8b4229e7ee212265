"""Items of every kind, made by hand, for tests of reports."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from attrs import evolve

from testvibe_async import BatchItem, CaseResult, GenerationRef, RunRef, errors, models
from testvibe_async.models import Section, SectionLog
from testvibe_async.outcomes import Quarantined, Verdict

Item = BatchItem[models.Run | models.Generation]

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
    fields.setdefault("status", models.RunStatus.FAILED if failed else models.RunStatus.PASSED)
    times: dict[str, Any] = {"created_at": at(0), "started_at": at(8), "finished_at": at(43)}
    run = models.Run(feature_id=12, feature_name=feature, tests=tests, **times | fields)
    return BatchItem(feature=feature, config=config, ref=run_ref(run_id), outcome=run)


def generation_ref() -> GenerationRef:
    return GenerationRef(
        server="https://testvibe.example",
        project="p-1",
        request_id="a1b2",
        feature_id=15,
        dispatched_at=START,
    )


def generation_item(status: Any = models.FeatureStatus.FAILED, **fields: Any) -> Item:
    generation = models.Generation(
        feature_id=15,
        feature_name="Gift card",
        feature_status=status,
        request_id="a1b2",
        updated_at=at(170),
        **fields,
    )
    return BatchItem(feature="Gift card", ref=generation_ref(), outcome=generation)


LOG = models.GenerationLog(
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


def lost(**more: Any) -> errors.DispatchUnknownError:
    url = "https://testvibe.example/projects/p-1/features/Refund/run"
    return errors.DispatchUnknownError(
        "the answer was lost",
        kind="run",
        method="POST",
        url=url,
        project="p-1",
        feature="Refund",
        **more,
    )


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
    times: dict[str, Any] = {"created_at": at(50), "started_at": at(51), "finished_at": at(80)}
    second = run_item(PASSED, passed, run_id=216, **times, **fields)
    return attempted(second, run_item(PASSED, FAILED, run_id=215, **fields))


_REFUSED = errors.FeatureNotGeneratedError(
    "Only generated features can run.",
    status=409,
    code="conflict",
    method="POST",
    url="https://testvibe.example/run",
)
_WAITING: dict[str, Any] = {"ref": run_ref(301), "status": "running"}

ITEMS: dict[str, Item] = {
    "passed": run_item(PASSED),
    "failed": run_item(PASSED, FAILED),
    "no tests": run_item(),
    "failed without tests": run_item(status=models.RunStatus.FAILED),
    "generation failed": generation_item(),
    "generation in flight": BatchItem(feature="Gift card", ref=generation_ref()),
    "refused": BatchItem(feature="Returns", error=_REFUSED),
    "unseen": BatchItem(
        feature="Wishlist",
        ref=run_ref(300),
        error=errors.ObservationError("nothing but 503 for 300 s", ref=run_ref(300)),
    ),
    "not seen": BatchItem(
        feature="Wishlist",
        ref=run_ref(301),
        error=errors.WaitTimeoutError(**_WAITING, elapsed=60, last_seen_at=at(3), failures=2),
    ),
    "in flight": BatchItem(
        feature="Store locator",
        config="Mobile",
        ref=run_ref(301),
        error=errors.WaitTimeoutError(**_WAITING, elapsed=150),
    ),
    "unknown": BatchItem(feature="Refund", error=lost()),
    "dropped": BatchItem(feature="Refund", is_dropped=True),
    "skipped": BatchItem(feature="Newsletter"),
    "waiting": BatchItem(feature="Newsletter", is_waiting=True),
    "quarantined": quarantined_item(),
    "flaky": flaky_item(),
}
"""An item of each kind, by its name."""


def every_kind() -> list[Item]:
    """Return an item of each kind that reports tell apart."""
    artifact = models.Artifact("trace", "trace/locked-out.zip", 482_133)
    sections = (Section("expired", conclusion="failure"),)
    return [
        run_item(PASSED, run_id=213, feature="Checkout"),
        run_item(PASSED, FAILED, log="line 1\nline 2", artifacts=(artifact,), config="Mobile"),
        generation_item(sections=sections),
        *(ITEMS[name] for name in ("refused", "unseen", "in flight", "skipped")),
    ]
