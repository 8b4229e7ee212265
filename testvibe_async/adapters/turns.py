"""Turns of the features of a durable batch: which are handed out again, and when.

A feature is handed out once when it is stored. It decides which get another turn later: where
nobody has them, somebody asks for it, or a later run may prove what became of them. A new turn ends
the one before. What a turn may write is decided in `store`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from testvibe_async._batch import EntryState, check_named
from testvibe_async.adapters.tables import ENDED, ITEMS, UNKNOWN, UNOBSERVED
from testvibe_async.errors import ConfigError
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from testvibe_async.adapters.store import Enqueue, Store

__all__ = ["Turns"]


class Turns:
    """The turns of one batch's features."""

    def __init__(self, store: Store, enqueue: Enqueue) -> None:
        """Make it; no I/O is done.

        Args:
            store: Where the batch is.
            enqueue: Is told the place and the turn of each feature, in the transaction.
        """
        self._store = store
        self._enqueue = enqueue

    async def are_left(self) -> bool:
        """Say whether anything is to be worked on; what may be proved now is enqueued for that."""
        return bool(await self._store.left() or await self.enqueue_absent())

    async def enqueue_left(self) -> None:
        """Enqueue all that is still to be worked on: nobody does."""
        await self._add(sa.not_(ENDED))

    async def enqueue_failed(self) -> list[int | str]:
        """Enqueue what was not dispatched, is unknown, or could not be observed to its end."""
        return await self._add(sa.or_(ITEMS.c.state == EntryState.PLANNED, UNKNOWN, UNOBSERVED))

    async def enqueue_absent(self) -> list[int | str]:
        """Enqueue what nobody knew about, where a later run may now prove that nothing began."""
        others = ITEMS.alias()
        later = sa.select(sa.func.max(others.c.dispatched_at)).where(
            others.c.batch == self._store.batch
        )
        return await self._add(
            UNKNOWN, ITEMS.c.is_absent == 1, ITEMS.c.noted_at < later.scalar_subquery()
        )

    async def decide(self, decision: str | Ref, feature: int | str | None) -> list[int | str]:
        """Decide unknown dispatches: resend, drop, or name their operation.

        Raises:
            ConfigError: Nothing is unknown, or the ref can't be its operation.
        """
        rows, _ = await self._store.rows()
        found = [
            row
            for row in rows
            if row.found.state is EntryState.INTENDED
            and row.is_ended
            and feature in {None, row.job.feature, row.job.name}
        ]
        if not found:
            what = "nothing" if feature is None else f"nothing of feature {feature!r}"
            raise ConfigError(f"{what} is unknown in batch {self._store.batch!r}")
        values: dict[str, Any] = {"holder": None, "ref": None}
        if isinstance(decision, Ref):
            check_named(decision, [row.found for row in found], [row.found for row in rows])
            values["ref"] = decision.to_json()  # A worker polls it before the intent is dropped.
        else:
            state = EntryState.PLANNED if decision == "resend" else EntryState.DROPPED
            values |= {"intent": None, "intent_id": None, "state": state}
        places = [row.place for row in found]
        return await self._add(UNKNOWN, ITEMS.c.place.in_(places), **values)

    async def _add(
        self,
        *conditions: sa.ColumnElement[bool],
        **values: Any,  # noqa: ANN401 - those of the columns
    ) -> list[int | str]:
        """Enqueue features for another turn, in one transaction; return them.

        Args:
            conditions: Which ones; those of this batch.
            values: What else is set of them.
        """
        mine = ITEMS.c.batch == self._store.batch

        def work(connection: sa.Connection) -> list[int | str]:
            query = sa.select(ITEMS).where(mine, *conditions).order_by(ITEMS.c.place)
            rows = connection.execute(query.with_for_update()).all()
            changed: list[int | str] = []
            for row in rows:
                statement = (
                    ITEMS.update()
                    .where(mine, ITEMS.c.place == row.place, ITEMS.c.turn == row.turn)
                    .values(turn=row.turn + 1, error=None, is_absent=0, **values)
                )
                if connection.execute(statement).rowcount:
                    self._enqueue(connection, row.place, row.turn + 1)
                    changed.append(json.loads(row.feature))
            return changed

        return await self._store.write(work)
