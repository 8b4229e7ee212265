"""The plan and the entries of a durable batch, in a database that many processes share.

Decides how a batch is stored, read, cancelled and reopened. What a worker may claim and write is
decided in `store`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from attrs import asdict, field, frozen

from testvibe_async._batch import Entry, EntryState, Plan, entry_document, read_entry
from testvibe_async._util.group_commit import GroupCommit
from testvibe_async.adapters.database import BATCHES, ITEMS, OPERATIONS, UNAVAILABLE, VERSION
from testvibe_async.adapters.workers import DEAD_SECONDS, workers_of
from testvibe_async.errors import ConfigError
from testvibe_async.events import logger
from testvibe_async.outcomes import BatchItem, BatchSummary
from testvibe_async.runner.generation_limit import with_limit_named
from testvibe_async.runner.stored import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from testvibe_async._dispatch import Job
    from testvibe_async.adapters.database import Database

ASK_AGAIN_SECONDS = 0.5
"""The pause before a database is asked again that is away."""


@frozen(kw_only=True)
class BatchStatus:
    """The stored state of a durable batch, read without asking the service."""

    plan: Plan
    """The server, the project, the site and the options of the batch."""

    created_at: datetime
    """The time when the batch was stored."""

    is_cancelled: bool
    """True if nothing more is dispatched."""

    workers: Sequence[Worker]
    """The live workers of the batch, and ended ones that left something in flight."""

    entries: Sequence[Entry[Any]] = field(repr=False)
    """The entries in the order planned, for use by the batch alone."""

    @property
    def items(self) -> list[BatchItem[Any]]:
        """One for each feature and configuration, in the order planned."""
        return [with_limit_named(entry.item()) for entry in self.entries]

    @property
    def is_settled(self) -> bool:
        """True if no worker has anything to do; the rest needs `resume` or `decide`."""
        return not any(entry.is_carried for entry in self.entries)

    @property
    def is_over(self) -> bool:
        """True if nothing is left to dispatch, to wait for or to reconcile, as for a journal."""
        return self.is_settled and not any(
            entry.is_left and not (self.is_cancelled and entry.state is EntryState.PLANNED)
            for entry in self.entries
        )

    @property
    def summary(self) -> BatchSummary:
        """Number of features with each verdict."""
        return BatchSummary.of(self.items)


class EntryStore(GroupCommit[sa.Connection]):
    """One batch in a database. Many processes may have it open."""

    def __init__(self, database: Database, batch: str) -> None:
        """Make it; it connects with the first call."""
        super().__init__()
        self.batch = batch
        self.plan: Plan
        """The plan of the batch; see `read_plan`."""
        self._database = database
        self._engine = database.engine()
        self._now = database.now
        self._mine = ITEMS.c.batch == batch
        self._is_patient = False
        """True if the database is asked until it answers."""
        self._used: Any = None
        """The driver's connection of the last transaction."""
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
                    self._used = connection.connection.driver_connection
                    if self._is_patient and self._database.is_missing:
                        raise ConfigError(f"the file of {self} was deleted while it was in use")
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

    async def aclose(self) -> None:
        """Write pending records, and close; cut off a database that hangs for 5 s."""
        cutting = asyncio.get_running_loop().call_later(DEAD_SECONDS, self._cut)
        try:
            await super().aclose()
        finally:
            cutting.cancel()

    def _cut(self) -> None:
        """Give up what is not written: the thread would otherwise keep the process from ending."""
        pending, self._waiting = self._waiting, []
        self._fail(pending, TimeoutError(f"{self} hangs"))
        if self._used is not None:
            self._database.cut(self._used)

    async def read_plan(self) -> None:
        """Read what the batch is to do.

        Raises:
            ConfigError: There is no such batch, or the tables are of another version.
        """
        if self._database.is_missing or await self.write(self._read_plan) is None:
            raise self._no_batch()

    def _no_batch(self) -> ConfigError:
        return ConfigError(f"there is no {self}: store it first, with run --on or submit()")

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
                new = BATCHES.insert().values(
                    id=self.batch,
                    version=VERSION,
                    plan=_document_of(plan),
                    created_at=self._now,
                    max_generations=plan.options["max_generations"],
                )
                connection.execute(new)
                rows = [{"batch": self.batch, "number": e.index, **row_of(e)} for e in entries]
                connection.execute(ITEMS.insert(), rows)
                oldest = sa.select(sa.func.min(BATCHES.c.created_at)).scalar_subquery()
                connection.execute(OPERATIONS.delete().where(OPERATIONS.c.noted_at < oldest))
                return True
            there = [entry.job for entry in self._read(connection).entries]
            if (_document_of(planned), there) != (_document_of(plan), [*jobs]):
                raise ConfigError(
                    f"there is a batch {self.batch!r} of other features or options: "
                    "choose another id, which is the --name of a command"
                )
            return False

        return await self.write(work)

    async def read(self) -> BatchStatus:
        """Return the stored batch."""
        return await self.write(self._read)

    def _read(self, connection: sa.Connection) -> BatchStatus:
        mine = sa.select(BATCHES).where(BATCHES.c.id == self.batch)
        if (batch := connection.execute(mine).one_or_none()) is None:
            raise self._no_batch()  # Its rows were deleted since.
        living = workers_of(connection, self._database, self.batch)
        query = sa.select(ITEMS).where(self._mine).order_by(ITEMS.c.number)
        rows = connection.execute(query).all()
        entries = [self._read_entry(row) for row in rows]
        in_flight: Counter[str] = Counter()
        for entry, row in zip(entries, rows, strict=True):
            is_planned, is_owned = entry.state is EntryState.PLANNED, living.get(row.owner, False)
            if batch.is_cancelled and is_planned and not is_owned:
                entry.end(entry.error)
            if row.owner is not None and entry.is_carried and not is_planned:
                in_flight[row.owner] += 1
        self._documents = {row.number: row.document for row in rows}
        names = [name for name in {**living, **in_flight} if living.get(name) or in_flight[name]]
        return BatchStatus(
            plan=self.plan,
            entries=entries,
            is_cancelled=bool(batch.is_cancelled),
            created_at=datetime.fromtimestamp(batch.created_at, UTC),
            workers=[
                Worker(name=name, is_alive=living.get(name, False), in_flight=in_flight[name])
                for name in sorted(names)
            ],
        )

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

    async def allow(self, generations: int) -> None:
        """Allow so many generations beyond those that were dispatched, whatever the limit was."""
        paid = sa.select(sa.func.coalesce(sa.func.sum(ITEMS.c.paid), 0)).where(self._mine)
        statement = BATCHES.update().where(BATCHES.c.id == self.batch)
        values = statement.values(max_generations=paid.scalar_subquery() + generations)
        await self.write(lambda connection: connection.execute(values))

    async def reopen(self, entries: Iterable[Entry[Any]]) -> list[Entry[Any]]:
        """Have entries carried again, in their present state; return them.

        What has changed since they were read is left: a worker carries it, or somebody else has
        decided it.
        """
        entries = [*entries]
        changes = [
            ITEMS.update()
            .where(self._at(entry.index), ITEMS.c.is_left == 0)
            .where(ITEMS.c.document == self._documents[entry.index])
            .values(**row_of(entry))
            for entry in entries
        ]

        def work(connection: sa.Connection) -> list[bool]:
            return [connection.execute(change).rowcount > 0 for change in changes]

        are_changed = await self.write(work)
        return [entry for entry, is_changed in zip(entries, are_changed, strict=True) if is_changed]

    def _at(self, number: int) -> sa.ColumnElement[bool]:
        return sa.and_(self._mine, ITEMS.c.number == number)


def _document_of(plan: Plan) -> str:
    return json.dumps(asdict(plan))


def row_of(entry: Entry[Any]) -> dict[str, Any]:
    """Return the columns of an unclaimed entry that is to be carried."""
    return {
        "document": json.dumps(entry_document(entry)),
        "state": entry.state,
        "is_left": int(entry.is_left),
        "owner": None,
        "intent": None if entry.intent is None else entry.intent.id,
        "absent_at": None,
    }
