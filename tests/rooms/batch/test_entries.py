"""A batch on rows: what they say of an entry, and which features the same call resumes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import evolve

from tests.support.raising import raised
from testvibe_async import Project, Run, RunRef, RunStatus, RunSummary, Verdict, errors
from testvibe_async._core.batch import Entry, EntrySource, Job, JobSource, Plan
from testvibe_async._core.batch.stored import _error_of
from testvibe_async._core.ledger import MemoryLedger
from testvibe_async.ledger import Row, RowState, item_of

SERVER = "https://testvibe.example"
PLAN = Plan(kind="run", server=SERVER, project="p", key="nightly", is_keyed=True)
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
    item = each.end(_error_of(each))
    assert item.verdict is verdict
    assert (item.ref and item.ref.run_id) == run_id
    assert [*item.attempts] == [every.outcome for every in rows if every.outcome is not None]


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


def test_a_row_that_is_completed_replaces_its_own() -> None:
    """The same attempt has one row; the next one has another."""
    each = entry(row(RowState.INTENDED))
    each.add(row(RowState.DISPATCHED, ref=ref()))
    each.add(row(RowState.INTENDED, 2))
    assert [every.number for every in each.rows] == [1, 2]
    assert each.rows[0].ref == ref()


def source(
    features: Any, ledger: MemoryLedger, plan: Plan = PLAN, *, configs: Any = (None,)
) -> EntrySource:
    """Return the entries of a call."""

    async def nothing() -> Any:
        raise AssertionError("it lists the features")

    jobs = JobSource(features, configs, list_features=nothing, default=lambda _: True)
    return EntrySource(plan, jobs, ledger)


async def entries(source: EntrySource) -> list[tuple[Any, int]]:
    """Open a source; return the feature of each entry, and the number of its rows."""
    await source.open()
    found: list[tuple[Any, int]] = []
    while (each := await source.read()) is not None:
        found.append((each.job.feature, len(each.rows)))
    return found


async def begun() -> MemoryLedger:
    """Return a ledger with a batch of two features, of which one was dispatched."""
    ledger = MemoryLedger()
    assert await entries(source(NAMES, ledger)) == [("Checkout", 0), ("Returns", 0)]
    await ledger.insert(row(RowState.INTENDED))
    return ledger


@pytest.mark.parametrize("features", [NAMES, NAMES[::-1], ["checkout", "RETURNS"], None])
async def test_the_same_call_resumes(features: Any) -> None:
    """In the order of the first call, whether the features are named again or not."""
    found = await entries(source(features, await begun()))
    assert found == [("Checkout", 1), ("Returns", 0)]


@pytest.mark.parametrize(
    ("features", "plan", "configs"),
    [
        (["Checkout"], PLAN, (None,)),
        ([*NAMES, "Wishlist"], PLAN, (None,)),
        (NAMES, PLAN, ("Mobile",)),
        (None, PLAN, ("Mobile",)),
        (NAMES, evolve(PLAN, kind="generation"), None),
        (NAMES, evolve(PLAN, site_url="https://other.example"), (None,)),
    ],
)
async def test_another_batch_needs_another_key(features: Any, plan: Plan, configs: Any) -> None:
    """A key has one request; another is refused before anything is dispatched."""
    other = source(features, await begun(), plan, configs=configs)
    await raised(errors.ConfigError, other.open(), match="nightly")


async def test_another_project_has_its_own() -> None:
    """The same key in another project is another batch."""
    found = await entries(source(["Wishlist"], await begun(), evolve(PLAN, project="q")))
    assert found == [("Wishlist", 0)]


async def test_a_key_of_a_single_dispatch_is_no_batch() -> None:
    """The error names what it is."""
    ledger = MemoryLedger()
    await ledger.insert(row(RowState.INTENDED, item=""))
    await raised(errors.ConfigError, source(NAMES, ledger).open(), match="a run of feature")


async def test_two_processes_begin_one_batch() -> None:
    """Whichever is first, the other takes over what it planned."""
    ledger = MemoryLedger()
    both = (entries(source(names, ledger)) for names in (NAMES, NAMES[::-1]))
    first, second = await asyncio.gather(*both)
    assert first == second


async def test_a_batch_without_a_key_keeps_no_plan() -> None:
    """Nobody could make the same call."""
    ledger = MemoryLedger()
    await entries(source(NAMES, ledger, evolve(PLAN, is_keyed=False)))
    assert await ledger.rows(PLAN.key) == []


async def test_a_generator_is_passed_again() -> None:
    """Until it was read to its end, its features are in no plan."""
    ledger = MemoryLedger()
    first = source(iter(NAMES), ledger)
    await first.open()
    await first.read()
    await ledger.insert(row(RowState.INTENDED))
    await raised(errors.ConfigError, source(None, ledger).open(), match="pass it again")
    assert await entries(source(iter(NAMES), ledger)) == [("Checkout", 1), ("Returns", 0)]
    assert await entries(source(None, ledger)) == [("Checkout", 1), ("Returns", 0)]


def test_a_plan_is_what_its_first_call_said() -> None:
    """What a later call leaves out is that of the first; what it says counts for itself."""
    first = evolve(
        PLAN,
        site_url="https://shop.example",
        attempts=3,
        on_conflict="wait",
        missing_only=False,
        options={"ticket": 7},
        jobs=[Job("Checkout", "Checkout", "Mobile", 2)],
    )
    read = Row.from_json(first.row().to_json())
    assert PLAN.with_stored(read) == first
    assert evolve(PLAN, attempts=1).with_stored(read).attempts == 1


async def test_a_defect_is_not_swallowed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen error is raised by the batch as it is, which hangs no task."""

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(project._starter, "start", broken)
    await raised(ZeroDivisionError, project.run_features(["Checkout"]))
