"""The entries of a durable batch, in a database that many workers share.

Decides which worker carries an entry, and what a worker may write. An entry has one owner at a
time; what another worker writes of it changes nothing. A worker owns what it has claimed until the
entry is at its end, or the worker is dead. The row of an intent is claim and fence at once: it is
written by the owner alone, right before the first byte of the dispatch. It never asks the service.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import asynccontextmanager, suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import sqlalchemy as sa
from attrs import define

from testvibe_async._batch import Entry, EntryState, Plan
from testvibe_async.adapters.database import BATCHES, ITEMS, OPERATIONS, UNAVAILABLE, WORKERS
from testvibe_async.adapters.entries import EntryStore, row_of
from testvibe_async.adapters.workers import DEAD_SECONDS, beat, has_no_owner, new_worker
from testvibe_async.errors import DispatchUnknownError, RecorderError, VibeError
from testvibe_async.events import logger
from testvibe_async.intents import Intent
from testvibe_async.runner.generation_limit import GenerationLimitError
from testvibe_async.runner.kinds import POLICIES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from testvibe_async.adapters.database import Database
    from testvibe_async.refs import Ref

BEAT_SECONDS = 1.0
"""The time between two heartbeats of a worker."""

CLAIM_SECONDS = 0.5
"""Seconds after which an idle worker asks for more entries."""

CLAIMED_AT_ONCE = 32
"""Maximum number of entries claimed at once, since another worker may be idle."""

NEW_OPERATION = sa.text(
    "INSERT INTO testvibe_operations VALUES (:key, :now) "
    "ON CONFLICT (key) DO UPDATE SET noted_at = :now"
)
"""Notes an operation, in words that SQLite and PostgreSQL share."""


class ClaimLostError(Exception):
    """Another worker owns the entry, or its batch was cancelled: nothing may be sent."""


@define
class _Claim:
    """An entry that this worker claimed."""

    token: str
    """Names the claim: a worker may take an entry again."""

    paid: int
    """The entry's generations that started or may have started, before the open intent."""

    is_recovery: bool
    """True if the entry was claimed to reconcile its intent."""

    intent: Intent | None
    """The intent that has no known result yet."""


class DurableStore(EntryStore):
    """One batch in a database, for one of its workers."""

    def __init__(self, database: Database, batch: str) -> None:
        """Make it; it connects with the first call."""
        super().__init__(database, batch)
        self.entries: list[Entry[Any]] = []
        """No entries: a worker claims them one by one."""
        self.is_complete: bool = True
        """All entries of the batch are planned."""
        self.is_leaving: bool = False
        """True if the worker ends, and leaves what has no end yet to others."""
        self.worker: str = new_worker()
        """The name of this process as a worker."""
        self._max_in_flight = 1
        self._claiming = asyncio.Lock()
        self._claimed: deque[Entry[Any]] = deque()
        self._carried: dict[int, Entry[Any]] = {}
        self._claims: dict[Entry[Any], _Claim] = {}

    @asynccontextmanager
    async def working(self, *, max_in_flight: int) -> AsyncGenerator[None]:
        """Be a worker of the batch: alive to the others, and patient with the database."""
        self._max_in_flight = max_in_flight
        await self.write(self._beat)
        self._is_patient = True
        beating = asyncio.create_task(self._beat_on(), name="testvibe_async heartbeat")
        try:
            yield
        finally:
            self._is_patient = False
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            # What was under way meanwhile is withdrawn, and saved with it.
            with suppress(TimeoutError, *UNAVAILABLE):
                async with asyncio.timeout(DEAD_SECONDS):
                    await self.write(self._forget)

    def begin(self, plan: Plan) -> Plan:  # noqa: ARG002 - that of the journal's protocol
        """Return the stored plan, for `run_features`."""
        return self.plan

    def complete(self) -> None:
        """Do nothing: all entries are planned."""

    async def claim(self) -> Entry[Any] | None:
        """Return an entry that this worker owns now; None once nothing is left to do."""
        async with self._claiming:
            while not self._claimed:
                free = max(1, self._max_in_flight - len(self._carried))
                asked = {"carried": [*self._carried], "most": min(free, CLAIMED_AT_ONCE)}
                entries, is_over = await self.write(partial(self._claim, asked))
                if is_over:
                    return None
                self._carried |= {entry.index: entry for entry in entries}
                self._claimed += entries
                if not entries:
                    await asyncio.sleep(CLAIM_SECONDS)
            return self._claimed.popleft()

    def _claim(
        self, asked: dict[str, Any], connection: sa.Connection
    ) -> tuple[list[Entry[Any]], bool]:
        rows = connection.execute(self._claimable, asked).all()
        token = uuid4().hex
        taken = ITEMS.update().where(self._mine, ITEMS.c.number.in_([row.number for row in rows]))
        if rows:
            connection.execute(taken.values(owner=self.worker, claim=token, is_left=1))
        entries = [self._read_entry(row) for row in rows]
        for entry, row in zip(entries, rows, strict=True):
            paid = row.paid - _is_paid(entry.intent)
            self._claims[entry] = _Claim(token, paid, entry.intent is not None, entry.intent)
        return entries, not rows and not self._is_any_left(connection)

    @cached_property
    def _claimable(self) -> sa.Select[Any]:
        """The query of the unclaimed entries that may be carried now.

        That nothing started is proved by a later dispatch alone. So the last planned entry is held
        back until each other one is dispatched, and what was found absent is carried again after a
        later one. The parameters are the entries `carried` here, and how many to return at `most`.
        """
        others = ITEMS.alias()
        mine = others.c.batch == self.batch
        left = sa.and_(mine, others.c.is_left == 1)
        planned = sa.select(sa.func.max(others.c.number)).where(
            left, others.c.state == EntryState.PLANNED
        )
        last = planned.scalar_subquery()
        undispatched = sa.select(others.c.number).where(
            left,
            others.c.state.in_([EntryState.PLANNED, EntryState.INTENDED]),
            others.c.number != last,
        )
        dispatched = sa.select(sa.func.max(others.c.dispatched_at)).where(mine)
        is_to_dispatch = sa.and_(
            sa.not_(self._is_cancelled()),
            sa.or_(ITEMS.c.number < last, sa.not_(undispatched.exists())),
        )
        is_due = sa.or_(ITEMS.c.state != EntryState.PLANNED, is_to_dispatch)
        # A claim may have been committed although the database went away before it said so.
        carried: sa.BindParameter[int] = sa.bindparam("carried", expanding=True)
        is_lost = sa.and_(ITEMS.c.owner == self.worker, ITEMS.c.number.not_in(carried))
        is_anothers = sa.and_(ITEMS.c.owner != self.worker, has_no_owner())
        query = sa.select(ITEMS).where(
            self._mine,
            sa.or_(ITEMS.c.owner.is_(None), is_lost, is_anothers),
            sa.or_(
                sa.and_(ITEMS.c.is_left == 1, is_due),
                ITEMS.c.absent_at < dispatched.scalar_subquery(),
            ),
        )
        query = query.order_by(ITEMS.c.state == EntryState.PLANNED, ITEMS.c.number)
        query = query.limit(sa.bindparam("most", type_=sa.Integer))
        return query.with_for_update(skip_locked=True, of=ITEMS)

    def _is_any_left(self, connection: sa.Connection) -> bool:
        is_planned = ITEMS.c.state == EntryState.PLANNED
        is_skipped = sa.and_(is_planned, self._is_cancelled(), has_no_owner())
        left = sa.select(ITEMS.c.number).where(self._mine, ITEMS.c.is_left == 1)
        found = sa.select(left.where(sa.not_(is_skipped)).exists())
        return bool(connection.execute(found).scalar_one())

    async def known(self, refs: Sequence[Ref]) -> list[object]:
        """Return which of some operations entries have, and the open intents, of all batches.

        Either is stored before the service shows the operation, so a search that came first has
        shown nothing that is not known here. An operation from before this batch does not count:
        once a service is reset, its ids begin anew.
        """
        keys = {_key_of(ref): ref for ref in refs}
        since = sa.select(BATCHES.c.created_at).where(BATCHES.c.id == self.batch)
        taken = sa.select(OPERATIONS.c.key).where(
            OPERATIONS.c.key.in_(keys), OPERATIONS.c.noted_at >= since.scalar_subquery()
        )
        intended = sa.select(ITEMS.c.document).where(ITEMS.c.state == EntryState.INTENDED)

        def work(connection: sa.Connection) -> list[object]:
            documents = [json.loads(text) for text in connection.execute(intended).scalars()]
            return [
                *(keys[key] for key in connection.execute(taken).scalars()),
                *(Intent.from_dict(document["intent"]) for document in documents),
            ]

        return await self.write(work)

    async def save_intent(self, entry: Entry[Any]) -> None:
        """Save an entry that is about to be sent, and return once it is durable.

        Raises:
            ClaimLostError: Another worker owns it, or the batch was cancelled.
            GenerationLimitError: It is a generation beyond the limit.
        """
        intent, claim = entry.intent, self._claims[entry]
        assert intent is not None
        if self._carried.get(entry.index) is not entry:  # It was taken, and claimed again.
            raise ClaimLostError
        claim.intent, values = intent, self._values(entry)
        saved = ITEMS.update().where(
            self._at(entry.index),
            self._is_claimed(entry),
            # An earlier try of this transaction may have been committed after all.
            sa.or_(ITEMS.c.state == EntryState.PLANNED, ITEMS.c.intent == intent.id),
            sa.not_(self._is_cancelled()),
        )
        saved = saved.values(**values)

        def work(connection: sa.Connection) -> Exception | None:
            if claim.intent is not intent:  # It was withdrawn while the database was away.
                return ClaimLostError()
            if _is_paid(intent) and not self._may_pay(connection, entry, values["paid"]):
                return GenerationLimitError()
            return None if connection.execute(saved).rowcount else ClaimLostError()

        if (error := await self.write(work)) is not None:
            raise error

    def _may_pay(self, connection: sa.Connection, entry: Entry[Any], paid: int) -> bool:
        """Return whether an entry may have so many generations; one worker counts at a time."""
        mine = sa.select(BATCHES.c.max_generations).where(BATCHES.c.id == self.batch)
        limit = connection.execute(mine.with_for_update()).scalar_one()
        if limit is None:
            return True
        others = sa.select(sa.func.coalesce(sa.func.sum(ITEMS.c.paid), 0))
        others = others.where(self._mine, ITEMS.c.number != entry.index)
        return bool(connection.execute(others).scalar_one() + paid <= limit)

    def save(self, entry: Entry[Any]) -> None:
        """Save an entry as it stands now, with the next transaction, if this worker owns it.

        The result of an intent is saved also where another worker has taken the entry, and does not
        know it yet; this worker owns it again then.
        """
        number, claim = entry.index, self._claims[entry]
        started: Ref | None = None
        intent = claim.intent if entry.intent is None else None
        owned: sa.ColumnElement[bool] = sa.false()
        if intent is not None:
            owned, claim.intent = ITEMS.c.intent == intent.id, None
            if entry.state is EntryState.DISPATCHED:
                started = entry.ref
            elif _is_paid(intent):
                started = entry.generation
            claim.paid += started is not None and _is_paid(intent)
        values = self._values(entry)
        if self._carried.get(number) is entry:
            owned = sa.or_(owned, self._is_claimed(entry))
            if not entry.is_carried:
                del self._carried[number]
        saved = ITEMS.update().where(self._at(number), owned).values(**values)
        if entry.intent is not None:  # One that was not stored was not sent either.
            saved = saved.where(ITEMS.c.intent == entry.intent.id)
        operations = [each for each in (entry.ref, entry.generation) if each and entry.is_carried]

        def work(connection: sa.Connection) -> None:
            is_saved = connection.execute(saved).rowcount > 0
            if operations:
                now = connection.execute(sa.select(self._now)).scalar_one()
                notes = [{"key": _key_of(each), "now": now} for each in operations]
                connection.execute(NEW_OPERATION, notes)
            if not is_saved and started is not None:
                logger.warning("it was decided before the result of %s came: %s", intent, started)

        self.write_soon(work)

    def _values(self, entry: Entry[Any]) -> dict[str, Any]:
        """Return the columns of an entry of this worker."""
        values, error, claim = row_of(entry), entry.error, self._claims[entry]
        values["paid"] = claim.paid + _is_paid(entry.intent)
        if entry.is_carried:
            values |= {"owner": self.worker, "claim": claim.token}
            if entry.state is EntryState.DISPATCHED:
                values["dispatched_at"] = self._now
        elif error is not None and entry.is_left and not self.is_leaving:
            is_first = not claim.is_recovery
            values["is_left"] = int(_is_not_recorded(error) or (is_first and _is_lost(error)))
            if isinstance(error, DispatchUnknownError) and error.reason == "absent":
                values["absent_at"] = self._now
        return values

    def _is_claimed(self, entry: Entry[Any]) -> sa.ColumnElement[bool]:
        """Return the condition that this worker owns an entry, by the claim that took it."""
        return sa.and_(ITEMS.c.owner == self.worker, ITEMS.c.claim == self._claims[entry].token)

    def _is_cancelled(self) -> sa.Exists:
        query = sa.select(BATCHES.c.id).where(BATCHES.c.id == self.batch)
        return query.where(BATCHES.c.is_cancelled == 1).exists()

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.write(self._beat)
            except Exception as error:  # noqa: BLE001 - whatever else failed in its transaction
                logger.warning("%s: a heartbeat failed, and is repeated: %r", self, error)

    def _beat(self, connection: sa.Connection) -> None:
        if dead := beat(connection, self._database, self.batch, self.worker):
            logger.warning("%s: taking over from %s", self, ", ".join(dead))

    def _forget(self, connection: sa.Connection) -> None:
        connection.execute(WORKERS.delete().where(WORKERS.c.id == self.worker))


def _key_of(ref: Ref) -> str:
    """Return the name of an operation, unique among those of all servers."""
    return json.dumps([ref.server, *ref.key])


def _is_not_recorded(error: VibeError) -> bool:
    """Return whether an intent came too late, or is another worker's: it will be sent."""
    is_late = isinstance(error.__cause__, TimeoutError | ClaimLostError | None)
    return isinstance(error, RecorderError) and is_late


def _is_lost(error: VibeError) -> bool:
    """Return whether to find out what a lost answer started: nothing else may have started it."""
    return isinstance(error, DispatchUnknownError) and error.reason in {"absent", "unseen"}


def _is_paid(intent: Intent | None) -> bool:
    return intent is not None and POLICIES[intent.kind].costs_credits
