"""A batch on rows: what they say of an entry, and which features the same call resumes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.raising import raised
from testvibe_async import Project, Run, RunRef, RunStatus, RunSummary, Verdict, errors
from testvibe_async._core.batch import Entry, Job, items_of_rows
from testvibe_async.ledger import Row, RowState, item_of

SERVER = "https://testvibe.example"
NAMES = ["Checkout", "Returns"]
ITEM = item_of("Checkout", None, 1)


def row(state: RowState, number: int = 1, *, item: str = ITEM, **values: Any) -> Row:
    """Return the row of an attempt."""
    place: Any = {"server": SERVER, "project": "p", "key": "nightly", "kind": "run"}
    return Row(**place, item=item, feature="Checkout", number=number, state=state, **values)


def ref(number: int = 214) -> RunRef:
    return RunRef(server=SERVER, project="p", run_id=number)


def entry(*rows: Row) -> Entry[Run]:
    """Return the entry of rows."""
    return Entry(index=0, job=Job("Checkout"), item=ITEM, rows=[*rows])


def finished(status: str, number: int = 1) -> Row:
    """Return the row of a finished attempt."""
    summary = RunSummary(total=1, passed=int(status == "passed"), failed=int(status == "failed"))
    outcome = Run(213 + number, RunStatus(status), feature_name="Checkout", summary=summary)
    return row(RowState.FINISHED, number, ref=ref(213 + number), outcome=outcome)


UNKNOWN = errors.DispatchUnknownError(
    "lost", kind="run", method="POST", url=SERVER, project="p", feature="Checkout"
)
REFUSED = errors.ConflictError("no", status=409, code="conflict", method="POST", url=SERVER)

CASES: dict[str, tuple[list[Row], Verdict, int | None]] = {
    "no row": ([], Verdict.SKIPPED, None),
    "intended": ([row(RowState.INTENDED)], Verdict.UNKNOWN, None),
    "lost": ([row(RowState.LOST)], Verdict.UNKNOWN, None),
    "accepted": ([row(RowState.ACCEPTED)], Verdict.UNKNOWN, None),
    "unknown": ([row(RowState.UNKNOWN, error=UNKNOWN)], Verdict.UNKNOWN, None),
    "refused": ([row(RowState.NOT_STARTED, error=REFUSED)], Verdict.ERROR, None),
    "in flight": ([row(RowState.DISPATCHED, ref=ref())], Verdict.IN_FLIGHT, 214),
    "succeeded": ([finished("passed")], Verdict.SUCCEEDED, 214),
    "failed": ([finished("failed")], Verdict.FAILED, 214),
    "flaky": ([finished("failed"), finished("passed", 2)], Verdict.SUCCEEDED, 215),
    "runs again": (
        [finished("failed"), row(RowState.DISPATCHED, 2, ref=ref(215))],
        Verdict.IN_FLIGHT,
        215,
    ),
    "failed, and not sent then": (
        [finished("failed"), row(RowState.NOT_STARTED, 2)],
        Verdict.FAILED,
        214,
    ),
    "refused, and then sent": (
        [row(RowState.NOT_STARTED, error=REFUSED), row(RowState.DISPATCHED, 2, ref=ref())],
        Verdict.IN_FLIGHT,
        214,
    ),
}


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_what_rows_say(case: str, *, is_read: bool) -> None:
    """The item of a batch that nobody runs is decided by its rows, also by those on a disk."""
    rows, verdict, run_id = CASES[case]
    each = entry(*(Row.from_json(every.to_json()) if is_read else every for every in rows))
    item = each.end(each.stored_error)
    assert item.verdict is verdict
    assert (item.ref and item.ref.run_id) == run_id
    assert [*item.attempts] == [every.outcome for every in rows if every.outcome is not None]


@pytest.mark.parametrize("case", CASES)
def test_what_rows_say_of_a_running_batch(case: str) -> None:
    """The items of a batch that runs elsewhere are decided by all its rows alone."""
    rows, verdict, _ = CASES[case]
    plan = {"attempts": 1, "jobs": [["Checkout", None, None, 1]]}
    first = row(RowState.PLANNED, item="", plan=plan)
    (item,) = items_of_rows([first, *rows])
    assert item.verdict in {verdict, Verdict.WAITING}


@pytest.mark.parametrize(
    ("statuses", "attempts", "is_to_repeat"),
    [
        ([], 2, False),
        (["passed"], 2, False),
        (["failed"], 1, False),
        (["failed"], 2, True),
        (["failed", "failed"], 2, False),
        (["failed", "passed"], 3, False),
    ],
)
def test_what_runs_again(statuses: list[str], attempts: int, *, is_to_repeat: bool) -> None:
    """A failed attempt is followed by another, as often as the batch says in total."""
    each = entry(*(finished(status, number) for number, status in enumerate(statuses, 1)))
    assert each.is_to_repeat(attempts) is is_to_repeat


async def test_a_defect_is_not_swallowed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen error is raised by the batch as it is, which hangs no task."""

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(project._starter, "start", broken)
    await raised(ZeroDivisionError, project.run_features(["Checkout"]))
