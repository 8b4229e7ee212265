"""The search for the operation of a dispatch whose answer was lost.

`evidence` reads what the service shows, `candidates` decides what follows from it, and this module
stores an operation that is certain. Of two dispatches that search at once, each sees what the other
has stored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import evolve

from testvibe_async._core.dispatch.candidates import decide
from testvibe_async._core.dispatch.dispatch import State
from testvibe_async._core.dispatch.evidence import EvidenceReader
from testvibe_async._core.dispatch.record import NOTE_SECONDS, last_row
from testvibe_async._core.dispatch.unknown import unknown_error
from testvibe_async._core.util import escape
from testvibe_async.events import logger
from testvibe_async.ledger import RowState, is_awaited

if TYPE_CHECKING:
    from testvibe_async._core.dispatch.dispatch import Dispatch
    from testvibe_async.ledger import Row
    from testvibe_async.operations import ClientParts
    from testvibe_async.refs import Ref


class Searcher:
    """Searches for the operations of one client's lost dispatches."""

    def __init__(self, parts: ClientParts) -> None:
        self._poller = parts.poller
        self._reader = EvidenceReader(parts.transport)
        self._settling = asyncio.Lock()
        """Held while a candidate is chosen and stored, so that no two dispatches choose one."""
        self.aclose = self._reader.aclose

    async def search(self, dispatch: Dispatch[Any], *, is_last: bool = False) -> State | None:
        """Search once; return the state that follows from what is known then, if any does.

        Args:
            dispatch: The dispatch.
            is_last: True to prove an absence; see `EvidenceReader.read`.

        Raises:
            DispatchUnknownError: The ledger failed, and the request may have taken effect.
        """
        record, search = dispatch.record, dispatch.search
        row = record.row
        assert row is not None
        # In memory, callers share a row: more may be known of the attempt already.
        if (known := known_state(row)) is not None:
            return known
        search.begin(row.identity)
        state = row.state
        found = await self._reader.read(row, is_last=is_last)
        search.shown |= {ref: (operation, ref) for operation, ref in found.shown}
        search.evidence = evolve(found, shown=[*search.shown.values()])
        refs = [*search.shown]
        async with self._settling:
            related, current = await _read_rows(dispatch, row, refs)
            if current is not None and (current.identity, current.state) != (row.identity, state):
                record.replace(current)
                if (news := _state_by(current, searched=row)) is not None:
                    return news
            attached = [ref for ref in refs if ref in self._poller.known]
            awaited = [*filter(is_awaited, related)]
            decision = decide(row, search.evidence, related, attached=attached, awaited=awaited)
            search.note(decision)
            if decision.ref is None:
                return None
            await record.note(RowState.DISPATCHED, ref=decision.ref, adopted=True)
        return State.STARTED


async def _read_rows(
    dispatch: Dispatch[Any], row: Row, refs: list[Ref]
) -> tuple[list[Row], Row | None]:
    """Read the rows that may own what a search has shown, and the last attempt.

    The call that made the attempt may have had its answer meanwhile, or have made another.

    Raises:
        DispatchUnknownError: The ledger failed, and the request may have taken effect.
    """
    ledger = dispatch.record.ledger
    try:
        async with asyncio.timeout(NOTE_SECONDS):
            related = await ledger.related(row.server, row.project, refs)
            current = next((each for each in related if each.identity == row.identity), None)
            if current is None:
                rows = await ledger.rows(row.key)
                current = last_row(rows, row.server, row.project, row.item)
    except Exception as error:  # noqa: BLE001 - a caller's ledger may raise anything
        logger.error("the ledger could not be read: %s", escape(repr(error)))
        search = dispatch.search
        search.why = f"the ledger could not be read: {str(error) or 'it took too long'}"
        raise unknown_error(dispatch) from search.failure
    return related, current


def _state_by(row: Row, *, searched: Row) -> State | None:
    """Return the state that follows from what is known of an attempt; None to search on.

    Args:
        row: The last attempt, as the ledger has it now.
        searched: The attempt that was searched; evidence of it proves nothing of another one.
    """
    return State.RECALL if row.identity != searched.identity else known_state(row)


def known_state(row: Row) -> State | None:
    """Return the state that follows from an attempt that need not be searched for, if so."""
    match row.state:
        case RowState.DISPATCHED | RowState.FINISHED:
            return State.STARTED
        case RowState.NOT_STARTED | RowState.UNKNOWN | RowState.DROPPED:
            return State.RECALL
        case _:
            return None
