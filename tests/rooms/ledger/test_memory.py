"""The ledger in memory: it keeps each open row, and not every other one for ever."""

from typing import Any

import pytest

from testvibe_async import RunRef
from testvibe_async._core.ledger import MemoryLedger, memory
from testvibe_async.ledger import Row, RowState

SERVER = "https://testvibe.example"
KEPT = 10


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "KEPT_ROWS", KEPT)


def row(key: str, **values: Any) -> Row:
    return Row(server=SERVER, project="p", key=key, kind="run", feature="Checkout", **values)


def ref(number: int) -> RunRef:
    return RunRef(server=SERVER, project="p", run_id=number)


async def insert(ledger: MemoryLedger, state: RowState, *, same_ref: bool = False) -> None:
    """Insert five times as many rows as are kept, and note a state of each."""
    has_ref = state in {RowState.DISPATCHED, RowState.FINISHED}
    for number in range(5 * KEPT):
        each = await ledger.insert(row(f"{number}"))
        each.state = state
        each.ref = ref(1 if same_ref else number + 1) if has_ref else None
        await ledger.note(each)


async def kept(ledger: MemoryLedger) -> list[str]:
    """Return the keys of which it still has rows."""
    return [key for number in range(5 * KEPT) if await ledger.rows(key := f"{number}")]


@pytest.mark.parametrize(
    "state", [RowState.NOT_STARTED, RowState.DROPPED, RowState.DISPATCHED, RowState.FINISHED]
)
async def test_the_latest_rows_are_kept(state: RowState) -> None:
    """Of rows that are not open the oldest are forgotten, with all that refers to them."""
    ledger = MemoryLedger()
    await insert(ledger, state)
    assert await kept(ledger) == [f"{number}" for number in range(4 * KEPT, 5 * KEPT)]
    assert not await ledger.related(SERVER, "p", [ref(1)])
    assert len(ledger._rows) <= KEPT


@pytest.mark.parametrize("state", [RowState.INTENDED, RowState.LOST, RowState.UNKNOWN])
async def test_open_rows_are_kept(state: RowState) -> None:
    """The operation of each may still be found."""
    ledger = MemoryLedger()
    await insert(ledger, state)
    assert len(await kept(ledger)) == 5 * KEPT
    assert len(await ledger.related(SERVER, "p", [])) == 5 * KEPT


async def test_rows_that_join_one_operation_are_bounded() -> None:
    """One generation may be joined again and again."""
    ledger = MemoryLedger()
    await insert(ledger, RowState.DISPATCHED, same_ref=True)
    assert len(await kept(ledger)) <= KEPT


async def test_a_batch_is_forgotten_row_by_row() -> None:
    """The rows of one key are counted each for itself."""
    ledger = MemoryLedger()
    for number in range(3 * KEPT):
        each = await ledger.insert(row("nightly", item=f"{number}"))
        each.state, each.ref = RowState.FINISHED, ref(number + 1)
        await ledger.note(each)
    assert len(await ledger.rows("nightly")) == KEPT


async def test_a_note_of_a_row_that_was_never_inserted() -> None:
    """It is no claim: nothing is kept of it."""
    ledger = MemoryLedger()
    await ledger.note(row("pr-1", state=RowState.FINISHED, ref=ref(1)))
    assert not await ledger.rows("pr-1")
