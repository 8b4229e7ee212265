"""The limit on generations: never one too many, and none for what provably did not start."""

from __future__ import annotations

import asyncio

import pytest

from testvibe_async import MemoryLedger
from testvibe_async.ledger import Row, RowState
from testvibe_async.runner.ledgers import LimitedLedger
from testvibe_async.runner.limit import GenerationLimitError


def row(key: str) -> Row:
    """Return the intent of a generation."""
    return Row(server="https://testvibe.example", project="p-1", key=key, kind="generation")


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
