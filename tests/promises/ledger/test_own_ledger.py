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
from testvibe_async.ledger import Decision, Ledger, Row, RowState
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
    staging = "https://staging.example"
    differing: tuple[dict[str, Any], ...] = (
        {"number": 2},
        {"item": "x"},
        {"key": "pr-2"},
        {"project": "q"},
        {"server": staging},
    )
    for values in differing:
        assert await ledger.insert(other := row_of(**values)) is other


async def test_rows_come_by_number(ledger: Ledger) -> None:
    """The rows of a key are those of any item, server and project, by their numbers."""
    for number in (2, 0, 1):
        await ledger.insert(row_of(number=number))
    await ledger.insert(row_of("pr-2", number=3))
    await ledger.insert(row_of(number=3, server="https://other.example"))
    assert [row.number for row in await ledger.rows("pr-1")] == [0, 1, 2, 3]
    assert await ledger.rows("pr-3") == []


S = RowState

Fact = tuple[RowState, int | None, bool]
"""The state, the run, and whether it is adopted."""

NOTES: list[tuple[Fact, Fact, bool]] = [
    # What is known is not forgotten, and an outcome least of all.
    ((S.INTENDED, None, False), (S.LOST, None, False), True),
    ((S.DISPATCHED, 1, False), (S.LOST, None, False), False),
    ((S.DISPATCHED, 1, True), (S.LOST, None, False), False),
    ((S.DISPATCHED, 1, False), (S.FINISHED, 1, False), True),
    ((S.DISPATCHED, 1, False), (S.FINISHED, 1, True), True),
    ((S.FINISHED, 1, False), (S.DISPATCHED, 1, False), False),
    ((S.FINISHED, 1, True), (S.DISPATCHED, 1, False), False),
    ((S.FINISHED, 1, True), (S.UNKNOWN, None, True), False),
    # The answer to a dispatch outweighs what a search found, in whichever order they come.
    ((S.LOST, None, False), (S.DISPATCHED, 1, True), True),
    ((S.DISPATCHED, 1, True), (S.DISPATCHED, 1, False), True),
    ((S.DISPATCHED, 1, True), (S.DISPATCHED, 2, False), True),
    ((S.FINISHED, 1, True), (S.DISPATCHED, 2, False), True),
    ((S.DISPATCHED, 1, True), (S.DISPATCHED, 2, True), False),
    ((S.DISPATCHED, 1, False), (S.DISPATCHED, 2, True), False),
    ((S.DISPATCHED, 1, False), (S.FINISHED, 2, True), False),
    # What the service accepted has started; only a decision leaves it at that.
    ((S.ACCEPTED, None, False), (S.NOT_STARTED, None, False), False),
    ((S.ACCEPTED, None, False), (S.UNKNOWN, None, False), False),
    ((S.NOT_STARTED, None, False), (S.ACCEPTED, None, False), True),
    ((S.ACCEPTED, None, False), (S.DROPPED, None, False), True),
    # A late note undoes no decision, unless it names the operation.
    ((S.NOT_STARTED, None, False), (S.LOST, None, False), False),
    ((S.NOT_STARTED, None, False), (S.UNKNOWN, None, False), False),
    ((S.DROPPED, None, False), (S.LOST, None, False), False),
    ((S.DROPPED, None, False), (S.UNKNOWN, None, False), False),
    ((S.DROPPED, None, False), (S.DISPATCHED, 1, False), True),
    # An adopted operation that proves to be another's is taken back, and decided again.
    ((S.DISPATCHED, 1, True), (S.UNKNOWN, None, True), True),
    ((S.DISPATCHED, 1, False), (S.UNKNOWN, None, True), False),
    ((S.UNKNOWN, None, True), (S.DISPATCHED, 2, True), True),
    ((S.UNKNOWN, None, True), (S.NOT_STARTED, None, True), True),
    ((S.NOT_STARTED, None, True), (S.UNKNOWN, None, True), False),
]


async def test_a_note_forgets_nothing(ledger: Ledger) -> None:
    """Of two notes on one attempt, by two processes, the one that knows more is kept."""
    for number, (first, then, is_replaced) in enumerate(NOTES):
        row = await ledger.insert(row_of(f"{number}"))
        for state, run_id, adopted in (first, then):
            ref = None if run_id is None else ref_of(run_id)
            await ledger.note(evolve(row, state=state, ref=ref, adopted=adopted))
        (stored,) = await ledger.rows(f"{number}")
        found = stored.state, stored.ref and stored.ref.key[-1], stored.adopted
        assert found == (then if is_replaced else first), (first, then)


async def test_a_note_is_of_one_insertion(ledger: Ledger) -> None:
    """A call whose row was not stored notes nothing on that of another call."""
    await ledger.insert(row_of())
    await ledger.note(row_of(state=S.DISPATCHED, ref=ref_of(1)))
    assert [row.state for row in await ledger.rows("pr-1")] == [S.INTENDED]


@pytest.mark.parametrize("decision", ["resend", "drop", ref_of(2)])
async def test_an_answer_outweighs_a_decision(
    ledger: Ledger, decision: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision returns what is stored: the operation, if its answer came meanwhile."""
    row = await ledger.insert(row_of())
    note = ledger.note

    async def note_late(decided: Row) -> None:
        await note(evolve(row, state=S.DISPATCHED, ref=ref_of(1)))
        await note(decided)

    monkeypatch.setattr(ledger, "note", note_late)
    (stored,) = await ledger.decide("pr-1", decision)
    assert (stored.state, stored.ref) == (S.DISPATCHED, ref_of(1))


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
    for place in ({"project": "q"}, {"server": "https://staging.example"}):
        await ledger.insert(row_of("elsewhere", **place))
        await ledger.insert(row_of("theirs", state=S.FINISHED, ref=ref_of(9), **place))
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
