"""The limit on generations: never one too many, and none for what provably did not start."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from testvibe_async import MemoryLedger
from testvibe_async.ledger import Row, RowState
from testvibe_async.runner.ledgers import LimitedLedger
from testvibe_async.runner.limit import GenerationLimitError


def row(
    key: str,
    kind: Literal["run", "generation"] = "generation",
    *,
    number: int = 1,
    state: RowState = RowState.INTENDED,
) -> Row:
    """Return a row of one attempt."""
    return Row(
        server="https://testvibe.example",
        project="p-1",
        key=key,
        kind=kind,
        number=number,
        state=state,
    )


class SlowLedger(MemoryLedger):
    """Lets others run before it stores, and fails if it is told to."""

    fails = False

    async def insert(self, row: Row) -> Row:
        await asyncio.sleep(0)
        if self.fails:
            raise OSError(28, "No space left on device")
        return await super().insert(row)


@pytest.fixture
def limit() -> LimitedLedger:
    limit = LimitedLedger(SlowLedger())
    limit.allowed = 2
    return limit


async def test_many_at_once_are_not_one_too_many(limit: LimitedLedger) -> None:
    """Of concurrent intents as many are stored as are allowed."""
    stored = await asyncio.gather(
        *(limit.insert(row(f"{number}")) for number in range(5)), return_exceptions=True
    )
    assert [isinstance(each, GenerationLimitError) for each in stored] == [False] * 2 + [True] * 3
    assert limit.is_reached
    assert not await limit.rows("4")


async def test_what_costs_nothing_is_not_counted(limit: LimitedLedger) -> None:
    """Runs, descriptions of batches and joined operations are stored in any case."""
    limit.allowed = 0
    await limit.insert(row("run", "run"))
    await limit.insert(row("batch", state=RowState.PLANNED))
    await limit.insert(row("joined", state=RowState.DISPATCHED))
    with pytest.raises(GenerationLimitError):
        await limit.insert(row("generation"))


async def test_what_did_not_start_is_counted_no_more(limit: LimitedLedger) -> None:
    """A refusal, a row that is there already and a ledger that failed leave the limit as it was."""
    limit.allowed = 1
    refused = await limit.insert(row("refused"))
    assert limit.is_reached
    refused.state = RowState.NOT_STARTED
    await limit.note(refused)
    assert (await limit.insert(row("refused"))) is refused
    assert isinstance(limit.ledger, SlowLedger)
    limit.ledger.fails = True
    with pytest.raises(OSError, match="No space left"):
        await limit.insert(row("failed"))
    limit.ledger.fails = False
    assert not limit.is_reached
    lost = await limit.insert(row("lost"))
    lost.state = RowState.LOST
    await limit.note(lost)
    assert limit.is_reached
