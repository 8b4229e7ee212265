"""Searches that fail by themselves."""

import asyncio

import pytest

from tests.support.ledgers import Notes
from tests.support.raising import raised
from testvibe_async import Client, errors
from testvibe_async._core.dispatch import evidence
from testvibe_async._core.dispatch.record import noted
from testvibe_async.ledger import Row, RowState
from testvibe_async.testing import Emulator, Fault


@pytest.mark.parametrize("is_closed", [False, True])
async def test_a_search_that_fails_by_itself(
    emulator: Emulator, client: Client, monkeypatch: pytest.MonkeyPatch, *, is_closed: bool
) -> None:
    """A fault of the search hides no lost answer; the close of the client ends it."""
    emulator.fail("run_feature", Fault.lost())
    call = asyncio.ensure_future(client.project().run_feature("Checkout"))
    if is_closed:
        emulator.fail("list_runs", Fault.hang(), skip=1)
        await asyncio.sleep(0.5)
        await client.aclose()
    else:

        async def broken(*_arguments: object, **_options: object) -> None:
            raise RuntimeError("broken")

        monkeypatch.setattr(evidence.EvidenceReader, "_runs", broken)
    await raised(errors.DispatchUnknownError, call)
    assert len(emulator.runs) == 1


async def test_a_client_that_closes_within_a_search(
    emulator: Emulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search ends, and the dispatch stays unknown."""
    emulator.fail("run_feature", Fault.lost())

    async def closed(*_arguments: object, **_options: object) -> None:
        raise errors.ClientClosedError

    monkeypatch.setattr(evidence.EvidenceReader, "_runs", closed)
    await raised(errors.DispatchUnknownError, client.project().run_feature("Checkout"))


async def test_a_note_that_is_cancelled() -> None:
    """Only a failure of the ledger is not raised."""
    slow = Notes()
    slow.seconds[RowState.LOST] = 5.0
    row = Row(server="s", project="p", key="k", kind="run", state=RowState.LOST)
    noting = asyncio.ensure_future(noted(slow, row))
    await asyncio.sleep(1)
    noting.cancel()
    await raised(asyncio.CancelledError, noting)
