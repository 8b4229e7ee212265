"""The entries of a durable batch, in a database that many workers share.

Decides which worker carries an entry, and what a worker may write. An entry has one owner at a
time; what another worker writes of it changes nothing. A worker owns what it has claimed until the
entry is at its end, or the worker is dead. The row of an intent is claim and fence at once: it is
written by the owner alone, right before the first byte of the dispatch. It never asks the service.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import sqlalchemy as sa
from attrs import asdict, define

from testvibe_async._batch import Entry, EntryState, Plan, entry_document, read_entry
from testvibe_async._util.group_commit import GroupCommit
from testvibe_async.adapters.database import (
    BATCHES,
    ITEMS,
    NEW_OPERATION,
    OPERATIONS,
    UNAVAILABLE,
    VERSION,
    WORKERS,
)
from testvibe_async.errors import (
    ConfigError,
    DispatchUnknownError,
    RecorderError,
)
from testvibe_async.events import logger
from testvibe_async.intents import Intent
from testvibe_async.runner.generation_limit import GenerationLimitError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from testvibe_async._dispatch import Job
    from testvibe_async.adapters.database import Database
    from testvibe_async.errors import VibeError
    from testvibe_async.refs import Ref

__all__ = ["ClaimLostError", "DurableStore"]

BEAT_SECONDS = 1.0
"""The time between two heartbeats of a worker."""

DEAD_SECONDS = 5.0
"""After how long without a heartbeat a worker is dead."""

CLAIM_SECONDS = 0.5
"""Seconds after which an idle worker asks for more entries."""

CLAIMED_AT_ONCE = 32
"""Maximum number of entries claimed at once, since another worker may be idle."""

ASK_AGAIN_SECONDS = 0.5
"""The pause before a database is asked again that is away."""


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


class DurableStore(GroupCommit[sa.Connection]):
    """One batch in a database. Many processes may have it open."""

    def __init__(self, database: Database, batch: str) -> None:
        """Make it; it connects with the first call."""
        super().__init__()
        self.batch = batch
        self.plan: Plan
        """The plan of the batch; see `read_plan`."""
        self.entries: list[Entry[Any]] = []
        """No entries: a worker claims them one by one."""
        self.is_complete: bool = True
        """All entries of the batch are planned."""
        self.worker: str = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        """The name of this process as a worker."""
        self._database = database
        self._engine = database.engine()
        self._now = database.now
        self._mine = ITEMS.c.batch == batch
        self._is_patient = False
        """True if the database is asked until it answers."""
        self.is_leaving: bool = False
        """True if the worker ends, and leaves what has no end yet to others."""
        self._max_in_flight = 1
        self._claiming = asyncio.Lock()
        self._claimed: deque[Entry[Any]] = deque()
        self._carried: dict[int, Entry[Any]] = {}
        self._claims: dict[Entry[Any], _Claim] = {}
        self._documents: dict[int, str] = {}
        """The documents of all entries, as they were read last."""

    def __str__(self) -> str:
        """Return the batch and its database, for messages."""
        return f"batch {self.batch!r} in {self._database}"

    def _commit(self, works: list[Callable[[sa.Connection], Any]]) -> list[Any]:
        away_since: float | None = None
        while True:
            try:
                with self._engine.begin() as connection:
                    results = [work(connection) for work in works]
            except UNAVAILABLE as error:
                if not self._is_patient or self._is_closed:
                    raise
                if away_since is None:
                    away_since = time.monotonic()
                    text = "%s can't be used, and is asked again until it answers: %s"
                    logger.warning(text, self, error.orig)
                time.sleep(ASK_AGAIN_SECONDS)
                continue
            if away_since is not None:
                away = time.monotonic() - away_since
                logger.warning("%s answers again, after %.1f s", self, away)
            return results

    def _disconnect(self) -> None:
        self._engine.dispose()

    # The batch.

    async def read_plan(self) -> None:
        """Read what the batch is to do.

        Raises:
            ConfigError: There is no such batch, or the tables are of another version.
        """
        if self._database.is_missing or await self.write(self._read_plan) is None:
            raise ConfigError(f"there is no {self}: submit it first")

    def _read_plan(self, connection: sa.Connection) -> Plan | None:
        if not sa.inspect(connection).has_table(BATCHES.name):
            return None
        for version in connection.execute(sa.select(BATCHES.c.version).distinct()).scalars():
            if version != VERSION:
                raise ConfigError(
                    f"{self._database} has batches of version {version}, and this release reads "
                    f"version {VERSION}: resume them with the release that wrote them"
                )
        query = sa.select(BATCHES.c.plan).where(BATCHES.c.id == self.batch)
        text = connection.execute(query).scalar_one_or_none()
        if text is None:
            return None
        self.plan = Plan(**json.loads(text))
        return self.plan

    async def submit(self, plan: Plan, jobs: Sequence[Job]) -> bool:
        """Store a new batch, all or nothing.

        Returns:
            False if it is there already; nothing was changed.

        Raises:
            ConfigError: There is another one of that id.
        """
        entries = [Entry[Any](index=i, job=job, kind=plan.kind) for i, job in enumerate(jobs)]

        def work(connection: sa.Connection) -> bool:
            self._database.create_tables(connection)
            planned = self._read_plan(connection)
            if planned is None:
                values = {"id": self.batch, "version": VERSION, "plan": _document_of(plan)}
                connection.execute(BATCHES.insert().values(values))
                rows = [{"batch": self.batch, "number": e.index, **_row_of(e)} for e in entries]
                connection.execute(ITEMS.insert(), rows)
                return True
            there = [entry.job for entry in self._read(connection)[0]]
            if (_document_of(planned), there) != (_document_of(plan), [*jobs]):
                raise ConfigError(
                    f"there is a batch {self.batch!r} of other features or options: take another id"
                )
            return False

        return await self.write(work)

    async def read(self) -> tuple[list[Entry[Any]], bool, list[str]]:
        """Return all entries in the order planned, whether they are cancelled, and the workers.

        An entry is carried if a worker carries it, or is to; a worker is named if it is alive.
        """
        return await self.write(self._read)

    def _read(self, connection: sa.Connection) -> tuple[list[Entry[Any]], bool, list[str]]:
        is_cancelled = bool(connection.execute(sa.select(self._is_cancelled())).scalar_one())
        workers = [worker for worker, is_dead in self._read_workers(connection) if not is_dead]
        query = sa.select(ITEMS).where(self._mine).order_by(ITEMS.c.number)
        rows = connection.execute(query).all()
        entries = [self._read_entry(row) for row in rows]
        for entry, row in zip(entries, rows, strict=True):
            if is_cancelled and entry.state is EntryState.PLANNED and row.owner not in workers:
                entry.end(entry.error)
        self._documents = {row.number: row.document for row in rows}
        return entries, is_cancelled, workers

    def _read_entry(self, row: Any) -> Entry[Any]:  # noqa: ANN401 - a row of the items
        entry = read_entry(row.number, json.loads(row.document), kind=self.plan.kind)
        if row.is_left:
            entry.resume()
        elif entry.state is EntryState.PLANNED:
            entry.end(entry.error)
        return entry

    async def set_cancelled(self, *, is_cancelled: bool) -> None:
        """Have nothing more dispatched, or continue."""
        statement = BATCHES.update().where(BATCHES.c.id == self.batch)
        values = statement.values(is_cancelled=int(is_cancelled))
        await self.write(lambda connection: connection.execute(values))

    async def reopen(self, entries: Iterable[Entry[Any]]) -> list[Entry[Any]]:
        """Have entries carried again, as they are now; return those.

        What has changed since they were read is left: a worker carries it, or somebody else has
        decided it.
        """
        entries = [*entries]
        changes = [
            ITEMS.update()
            .where(self._at(entry.index), ITEMS.c.is_left == 0)
            .where(ITEMS.c.document == self._documents[entry.index])
            .values(**_row_of(entry))
            for entry in entries
        ]

        def work(connection: sa.Connection) -> list[bool]:
            return [connection.execute(change).rowcount > 0 for change in changes]

        are_changed = await self.write(work)
        return [entry for entry, is_changed in zip(entries, are_changed, strict=True) if is_changed]

    # What a worker carries, and what it may write.

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
            with suppress(*UNAVAILABLE):
                forgotten = WORKERS.delete().where(WORKERS.c.id == self.worker)
                await self.write(lambda connection: connection.execute(forgotten))

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
                query = self._claimable().limit(min(free, CLAIMED_AT_ONCE))
                entries, is_over = await self.write(partial(self._claim, query))
                if is_over:
                    return None
                self._carried |= {entry.index: entry for entry in entries}
                self._claimed += entries
                if not entries:
                    await asyncio.sleep(CLAIM_SECONDS)
            return self._claimed.popleft()

    def _claim(
        self, query: sa.Select[Any], connection: sa.Connection
    ) -> tuple[list[Entry[Any]], bool]:
        rows = connection.execute(query).all()
        token = uuid4().hex
        taken = ITEMS.update().where(self._mine, ITEMS.c.number.in_([row.number for row in rows]))
        if rows:
            connection.execute(taken.values(owner=self.worker, claim=token, is_left=1))
        entries = [self._read_entry(row) for row in rows]
        for entry, row in zip(entries, rows, strict=True):
            paid = row.paid - _is_of_generation(entry.intent)
            self._claims[entry] = _Claim(token, paid, entry.intent is not None, entry.intent)
        return entries, not rows and not self._is_any_left(connection)

    def _claimable(self) -> sa.Select[Any]:
        """Return the query of the entries that nobody carries and that may be carried now.

        That nothing started is proved by a later dispatch alone. So the last planned entry is held
        back while intents are open, and what was found absent is carried again after a later one.
        """
        others = ITEMS.alias()
        mine = others.c.batch == self.batch
        left = sa.and_(mine, others.c.is_left == 1)
        last = sa.select(sa.func.max(others.c.number)).where(
            left, others.c.state == EntryState.PLANNED
        )
        is_open = sa.select(others.c.number).where(left, others.c.state == EntryState.INTENDED)
        dispatched = sa.select(sa.func.max(others.c.dispatched_at)).where(mine)
        is_to_dispatch = sa.and_(
            sa.not_(self._is_cancelled()),
            sa.or_(ITEMS.c.number < last.scalar_subquery(), sa.not_(is_open.exists())),
        )
        is_due = sa.or_(ITEMS.c.state != EntryState.PLANNED, is_to_dispatch)
        # A claim may have been committed although the database went away before it said so.
        is_lost = sa.and_(ITEMS.c.owner == self.worker, ITEMS.c.number.not_in([*self._carried]))
        is_anothers = sa.and_(ITEMS.c.owner != self.worker, _has_no_owner())
        query = sa.select(ITEMS).where(
            self._mine,
            sa.or_(ITEMS.c.owner.is_(None), is_lost, is_anothers),
            sa.or_(
                sa.and_(ITEMS.c.is_left == 1, is_due),
                ITEMS.c.absent_at < dispatched.scalar_subquery(),
            ),
        )
        query = query.order_by(ITEMS.c.state == EntryState.PLANNED, ITEMS.c.number)
        return query.with_for_update(skip_locked=True, of=ITEMS)

    def _is_any_left(self, connection: sa.Connection) -> bool:
        is_planned = ITEMS.c.state == EntryState.PLANNED
        is_skipped = sa.and_(is_planned, self._is_cancelled(), _has_no_owner())
        left = sa.select(ITEMS.c.number).where(self._mine, ITEMS.c.is_left == 1)
        found = sa.select(left.where(sa.not_(is_skipped)).exists())
        return bool(connection.execute(found).scalar_one())

    async def known(self, refs: Sequence[Ref]) -> list[object]:
        """Return which of some operations entries have, and the open intents, of all batches.

        Either is stored before the service shows the operation, so a search that came first has
        shown nothing that is not known here.
        """
        keys = {_key_of(ref): ref for ref in refs}
        taken = sa.select(OPERATIONS.c.key).where(
            OPERATIONS.c.server == self.plan.server, OPERATIONS.c.key.in_(keys)
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

        An entry that may not be sent is another worker's from then on.

        Raises:
            ClaimLostError: Another worker owns it, or the batch was cancelled.
            GenerationLimitError: It is a generation beyond those that are allowed.
        """
        intent, claim = entry.intent, self._claims[entry]
        assert intent is not None
        if self._carried.get(entry.index) is not entry:  # It was taken, and claimed anew.
            raise ClaimLostError
        claim.intent, values = intent, self._values(entry)
        owned = ITEMS.update().where(
            self._at(entry.index),
            self._is_claimed(entry),
            # An earlier try of this transaction may have been committed after all.
            sa.or_(ITEMS.c.state == EntryState.PLANNED, ITEMS.c.intent == intent.id),
        )

        def work(connection: sa.Connection) -> Exception | None:
            if intent.kind == "generation" and not self._may_pay(connection, entry, values["paid"]):
                return GenerationLimitError()
            saved = owned.where(sa.not_(self._is_cancelled())).values(**values)
            if connection.execute(saved).rowcount:
                return None
            connection.execute(owned.values(owner=None))
            return ClaimLostError()

        if (error := await self.write(work)) is not None:
            claim.intent = None
            if isinstance(error, ClaimLostError):
                del self._carried[entry.index]
            raise error

    def _may_pay(self, connection: sa.Connection, entry: Entry[Any], paid: int) -> bool:
        """Return whether an entry may have so many generations; one worker counts at a time."""
        limit = self.plan.options["max_generations"]
        if limit is None:
            return True
        mine = sa.select(BATCHES.c.id).where(BATCHES.c.id == self.batch)
        connection.execute(mine.with_for_update())
        others = sa.select(sa.func.coalesce(sa.func.sum(ITEMS.c.paid), 0))
        others = others.where(self._mine, ITEMS.c.number != entry.index)
        return bool(connection.execute(others).scalar_one() + paid <= limit)

    def save(self, entry: Entry[Any]) -> None:
        """Save an entry as it stands now, with the next transaction, if this worker owns it.

        The result of an intent is saved also where another worker has taken the entry, and does not
        know it yet; this worker owns it again then.
        """
        number, claim, ref = entry.index, self._claims[entry], entry.ref or entry.generation
        intent = claim.intent if entry.intent is None else None
        owned: sa.ColumnElement[bool] = sa.false()
        if intent is not None:
            owned, claim.intent = ITEMS.c.intent == intent.id, None
            is_started = entry.state is EntryState.DISPATCHED or entry.generation is not None
            claim.paid += is_started and _is_of_generation(intent)
        values = self._values(entry)
        if self._carried.get(number) is entry:
            owned = sa.or_(owned, self._is_claimed(entry))
            if not entry.is_carried:
                del self._carried[number]
        saved = ITEMS.update().where(self._at(number), owned).values(**values)
        if entry.intent is not None:  # One that was not stored was not sent either.
            saved = saved.where(ITEMS.c.intent == entry.intent.id)
        operations = [
            {"server": each.server, "key": _key_of(each)}
            for each in (entry.ref, entry.generation)
            if each is not None and entry.is_carried
        ]

        def work(connection: sa.Connection) -> None:
            is_saved = connection.execute(saved).rowcount > 0
            if operations:
                connection.execute(NEW_OPERATION, operations)
            if not is_saved and intent is not None and ref is not None:
                logger.warning("it was decided before the result of %s came: %s", intent, ref)

        self.write_soon(work)

    def _values(self, entry: Entry[Any]) -> dict[str, Any]:
        """Return the columns of an entry of this worker."""
        values, error, claim = _row_of(entry), entry.error, self._claims[entry]
        values["paid"] = claim.paid + _is_of_generation(entry.intent)
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

    def _at(self, number: int) -> sa.ColumnElement[bool]:
        return sa.and_(self._mine, ITEMS.c.number == number)

    def _is_cancelled(self) -> sa.Exists:
        query = sa.select(BATCHES.c.id).where(BATCHES.c.id == self.batch)
        return query.where(BATCHES.c.is_cancelled == 1).exists()

    # Heartbeats.

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self.write(self._beat)

    def _beat(self, connection: sa.Connection) -> None:
        """Note that this worker is alive, and forget those that are dead: others own their work."""
        values = {"machine": _machine(), "pid": os.getpid(), "beat_at": self._now}
        here = WORKERS.update().where(WORKERS.c.id == self.worker)
        if connection.execute(here.values(**values)).rowcount == 0:
            connection.execute(WORKERS.insert().values(id=self.worker, **values))
        dead = [worker for worker, is_dead in self._read_workers(connection) if is_dead]
        if dead:
            logger.warning("%s: taking over from %s", self, ", ".join(dead))
            connection.execute(WORKERS.delete().where(WORKERS.c.id.in_(dead)))

    def _read_workers(self, connection: sa.Connection) -> list[tuple[str, bool]]:
        """Return the workers of the database, and whether each is dead."""
        age = (self._now - WORKERS.c.beat_at).label("age")
        query = sa.select(WORKERS.c.id, WORKERS.c.machine, WORKERS.c.pid, age)
        return [
            (row.id, row.age > DEAD_SECONDS or _has_ended(row.machine, row.pid))
            for row in connection.execute(query)
        ]


def _document_of(plan: Plan) -> str:
    return json.dumps(asdict(plan))


def _row_of(entry: Entry[Any]) -> dict[str, Any]:
    """Return the columns of an entry that nobody carries, and that is to be carried."""
    return {
        "document": json.dumps(entry_document(entry)),
        "state": entry.state,
        "is_left": int(entry.is_left),
        "owner": None,
        "intent": None if entry.intent is None else entry.intent.id,
        "absent_at": None,
    }


def _key_of(ref: Ref) -> str:
    """Return the name of an operation among those of its server."""
    return json.dumps(ref.key)


def _is_not_recorded(error: VibeError) -> bool:
    """Return whether the database was away too long: nothing was sent, and it will be."""
    is_late = error.__cause__ is None or isinstance(error.__cause__, TimeoutError)
    return isinstance(error, RecorderError) and is_late


def _is_lost(error: VibeError) -> bool:
    """Return whether to find out what a lost answer started: nothing else may have started it."""
    return isinstance(error, DispatchUnknownError) and error.reason in {"absent", "unseen"}


def _has_no_owner() -> sa.ColumnElement[bool]:
    """Return the condition of an entry that no living worker owns."""
    owner = ITEMS.c.owner
    return sa.or_(owner.is_(None), owner.not_in(sa.select(WORKERS.c.id)))


def _is_of_generation(intent: Intent | None) -> bool:
    return intent is not None and intent.kind == "generation"


@cache
def _machine() -> str:
    """Return what names the processes among which a pid is one; empty if that is unknown.

    Machines and containers may share a host name, and containers may share a machine.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return boot.strip() + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _has_ended(machine: str, pid: int) -> bool:
    """Return whether a process of this machine has ended."""
    if not machine or machine != _machine():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
