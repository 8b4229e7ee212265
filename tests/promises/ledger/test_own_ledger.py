"""The contract of a ledger's four methods: of those of the package, and of a service's own."""

from collections.abc import AsyncGenerator, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.support.ledgers import OwnLedger
from testvibe_async import MemoryLedger, RunRef, SqliteLedger
from testvibe_async.ledger import Ledger, Row, RowState
from testvibe_async.testing import Emulator, Fault

LEDGERS: dict[str, Callable[[Path], Ledger]] = {
    "memory": lambda _: MemoryLedger(),
    "file": SqliteLedger,
    "own": lambda _: OwnLedger(),
}

PLACE: dict[str, Any] = {"server": "https://testvibe.example", "project": "p", "kind": "run"}


@pytest.fixture(params=LEDGERS)
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Ledger]:
    """Each of the ledgers, opened."""
    ledger = LEDGERS[request.param](tmp_path / "ledger")
    async with ledger if isinstance(ledger, SqliteLedger) else nullcontext():
        yield ledger


def row_of(key: str = "pr-1", **values: Any) -> Row:
    """Return a row of a run of "Checkout"."""
    usual: dict[str, Any] = {**PLACE, "key": key, "feature": "Checkout"}
    return Row(**usual | values)


def ref_of(run_id: int) -> RunRef:
    """Return the ref of a run."""
    return RunRef(server=PLACE["server"], project=PLACE["project"], run_id=run_id)


async def test_an_insertion_is_a_claim(ledger: Ledger) -> None:
    """Of several rows of one identity the first is stored, and the others return that."""
    first = row_of(expires_after=1.0)
    assert await ledger.insert(first) is first
    again = await ledger.insert(row_of(expires_after=2.0))
    assert again.expires_after == 1.0
    for other in (row_of(number=2), row_of(item="x"), row_of("pr-2"), row_of(project="q")):
        assert await ledger.insert(other) is other


async def test_rows_come_by_number(ledger: Ledger) -> None:
    """The rows of a key are those of any item, server and project, by their numbers."""
    for number in (2, 0, 1):
        await ledger.insert(row_of(number=number))
    await ledger.insert(row_of("pr-2", number=3))
    await ledger.insert(row_of(number=3, server="https://other.example"))
    assert [row.number for row in await ledger.rows("pr-1")] == [0, 1, 2, 3]
    assert await ledger.rows("pr-3") == []


async def test_a_note_replaces_a_row(ledger: Ledger) -> None:
    """What became known is read back; a found operation replaces none that an answer named."""
    row = row_of()
    await ledger.insert(row)
    row.state, row.ref = RowState.DISPATCHED, ref_of(1)
    await ledger.note(row)
    (stored,) = await ledger.rows("pr-1")
    assert (stored.state, stored.ref) == (RowState.DISPATCHED, ref_of(1))
    if not isinstance(ledger, MemoryLedger):  # Its rows are those of its one process.
        await ledger.note(evolve(row, ref=ref_of(2), adopted=True))
        (stored,) = await ledger.rows("pr-1")
        assert (stored.ref, stored.adopted) == (ref_of(1), False)


async def test_an_answer_outweighs_a_search(ledger: Ledger) -> None:
    """The operation that an answer names replaces one that another process has found."""
    row = row_of()
    await ledger.insert(row)
    for run_id, adopted in ((2, True), (1, False)):
        row.state, row.ref, row.adopted = RowState.DISPATCHED, ref_of(run_id), adopted
        await ledger.note(row)
    (stored,) = await ledger.rows("pr-1")
    assert (stored.ref, stored.adopted) == (ref_of(1), False)


async def test_related_rows_are_open_or_own_an_operation(ledger: Ledger) -> None:
    """They are the open rows of a project, and those that own one of some operations."""
    states = {
        "open": (RowState.LOST, None),
        "owner": (RowState.FINISHED, ref_of(1)),
        "other": (RowState.DISPATCHED, ref_of(2)),
        "refused": (RowState.NOT_STARTED, None),
    }
    for key, (state, ref) in states.items():
        await ledger.insert(row_of(key, state=state, ref=ref))
    await ledger.insert(row_of("elsewhere", project="q"))
    found = await ledger.related(PLACE["server"], PLACE["project"], [ref_of(1), ref_of(9)])
    assert sorted(row.key for row in found) == ["open", "owner"]


async def test_a_batch_on_it_is_resumed(emulator: Emulator, ledger: Ledger) -> None:
    """A client with any of them resumes what another left, and dispatches nothing twice."""
    emulator.fail("run_feature", Fault.lost(), times=1)
    async with client_of(emulator, ledger=ledger) as client:
        await client.project().run_features(["Checkout", "Returns"], key="nightly", timeout=1)
    async with client_of(emulator, ledger=ledger) as client:
        items = await client.project().run_features(key="nightly")
    assert [item.outcome is not None for item in items] == [True, True]
    assert emulator.count("run_feature") == 2


class Rereading(OwnLedger):
    """A ledger that returns what its database has stored, and not the row that it was given."""

    async def insert(self, row: Row) -> Row:
        """Store a row, and read it."""
        await super().insert(row)
        return (await self.rows(row.key))[-1]


@pytest.mark.parametrize("kind", ["single", "batch"])
async def test_a_stored_row_may_be_another_object(emulator: Emulator, kind: str) -> None:
    """A claim is recognized by the row's content: an insertion may return what it reads back."""
    async with client_of(emulator, ledger=Rereading()) as client:
        if kind == "single":
            assert (await client.project().run_feature("Checkout", key="pr-1").wait()).is_success
        else:
            (item,) = await client.project().run_features(["Checkout"], key="pr-1")
            assert item.outcome is not None
    assert emulator.count("run_feature") == 1
