"""The tables of durable batches: SQLite for one machine, PostgreSQL for many.

It decides who may write what: each turn of a feature's work has a token, the holder, and what an
earlier holder wants to write of the feature is refused. An intent is stored only by the holder, and
only while the batch is not cancelled; what came of an intent may be noted by anybody who knows. It
never asks the service, and the API key is never in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from attrs import asdict, frozen
from sqlalchemy import event, exc

from testvibe_async import stored
from testvibe_async._dispatch import Job
from testvibe_async._util.group_commit import GroupCommit
from testvibe_async.errors import ConfigError, DispatchUnknownError, VibeError
from testvibe_async.intents import Intent
from testvibe_async.journal import Plan
from testvibe_async.refs import Ref, RunRef
from testvibe_async.stored import ItemState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from testvibe_async.models import Generation, Run
    from testvibe_async.stored import Restored

__all__ = ["UNAVAILABLE", "Claim", "Row", "Store", "StoreError", "Worker"]

T = TypeVar("T")

StoreError = exc.SQLAlchemyError
"""What the store raises where the database fails."""

UNAVAILABLE = (exc.OperationalError, exc.InternalError, exc.InterfaceError)
"""Those of them after which the same may be asked again."""

VERSION = 1
"""The version of the tables."""

IDLE_SECONDS = 5
"""How long a stopped process may hold a transaction open before PostgreSQL ends it."""

_tables = sa.MetaData()

_batches = sa.Table(
    "testvibe_batches",
    _tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("site_url", sa.Text),
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("is_cancelled", sa.Integer, nullable=False, default=0),
)

_items = sa.Table(
    "testvibe_items",
    _tables,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("feature", sa.Text, nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("config", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("holder", sa.Text),
    sa.Column("intent_id", sa.Text),
    sa.Column("intent", sa.Text),
    sa.Column("ref", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("is_absent", sa.Integer, nullable=False, default=0),
    sa.Column("earlier", sa.Text, nullable=False, default="[]"),
    sa.Column("noted_at", sa.Float),
    sa.Column("dispatched_at", sa.Float),
    sa.Index("testvibe_items_by_state", "batch", "state"),
    sa.Index("testvibe_items_by_intent", "intent_id"),
)

_workers = sa.Table(
    "testvibe_workers",
    _tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("beat_at", sa.Float, nullable=False),
)

_ENDED = sa.or_(
    _items.c.state.in_([ItemState.OVER, ItemState.REFUSED, ItemState.DROPPED]),
    _items.c.error.is_not(None),
)
"""What nobody works on any more: it is over, or an error says why it goes no further."""

_UNKNOWN = sa.and_(_items.c.state == ItemState.INTENDED, _items.c.error.is_not(None))


@frozen
class Claim:
    """A feature, for its holder."""

    place: int
    job: Job
    found: Restored
    is_to_wait: bool
    """Whether it is the last to be dispatched, while intents of others are open: the run that it
    starts shows that those before it did not begin."""


@frozen
class Row:
    """A feature, as the tables have it."""

    place: int
    job: Job
    found: Restored
    is_ended: bool


@frozen
class Worker:
    """A process that works on batches."""

    id: str
    host: str
    pid: int
    age: float
    """Seconds since it was last there."""


class Store(GroupCommit[sa.Connection]):
    """One batch in a database. Many processes may have it open."""

    def __init__(self, url: sa.URL, batch: str) -> None:
        """Make it; it connects with the first call.

        Args:
            url: The database, as SQLAlchemy names it.
            batch: The batch's id.
        """
        super().__init__()
        self.url = url
        self.batch = batch
        self.engine: sa.Engine = _engine(url)
        self._is_closed = False
        self._mine = _items.c.batch == batch

    def _commit(self, works: list[Callable[[sa.Connection], Any]]) -> list[Any]:
        with self.engine.begin() as connection:
            return [work(connection) for work in works]

    def _disconnect(self) -> None:
        self.engine.dispose()

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Call a function in a transaction; see `GroupCommit.write`.

        Raises:
            StoreError: The database failed, or the store is closed.
        """
        if self._is_closed:
            raise StoreError(f"the store of batch {self.batch!r} is closed")
        return await super().write(work)

    async def aclose(self) -> None:
        """Write what waits, and disconnect."""
        self._is_closed = True
        await super().aclose()
        self.engine.dispose()

    async def create_tables(self) -> None:
        """Make the tables that are not there."""
        await self.write(_tables.create_all)

    async def plan(self) -> Plan | None:
        """Return what the batch is to do; None where there is no such batch.

        Raises:
            ConfigError: The tables are of another version.
        """
        return await self.write(self._plan)

    def _plan(self, connection: sa.Connection) -> Plan | None:
        if not sa.inspect(connection).has_table(_batches.name):
            return None
        query = sa.select(_batches).where(_batches.c.id == self.batch)
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if row.version != VERSION:
            raise ConfigError(
                f"batch {self.batch!r} is of version {row.version}, and this release reads version "
                f"{VERSION}: go on with it with the release that wrote it"
            )
        options = json.loads(row.options)
        return Plan(
            kind="run",
            server=row.server,
            project=row.project,
            site_url=row.site_url,
            options=options,
        )

    async def submit(
        self, plan: Plan, jobs: Sequence[Job], enqueue: Callable[[sa.Connection, int, int], None]
    ) -> bool:
        """Store a new batch and have its features enqueued, all or nothing.

        Returns:
            False where it is there already; nothing was changed.

        Raises:
            ConfigError: There is another one of that id.
        """
        return await self.write(lambda connection: self._submit(connection, plan, jobs, enqueue))

    def _submit(
        self,
        connection: sa.Connection,
        plan: Plan,
        jobs: Sequence[Job],
        enqueue: Callable[[sa.Connection, int, int], None],
    ) -> bool:
        values = {**asdict(plan), "options": json.dumps(plan.options)}
        del values["kind"]
        planned = self._plan(connection)
        if planned is not None:
            there = [row.job for row in self._rows(connection)]
            if (planned, planned.options, there) != (plan, plan.options, [*jobs]):
                raise ConfigError(
                    f"there is a batch {self.batch!r} of other features or options: take another id"
                )
            return False
        connection.execute(
            _batches.insert().values(id=self.batch, version=VERSION, is_cancelled=0, **values)
        )
        rows = [
            {
                "batch": self.batch,
                "place": place,
                "feature": json.dumps(job.feature),
                "name": job.name,
                "config": job.config,
                "state": ItemState.PLANNED,
                "turn": 0,
            }
            for place, job in enumerate(jobs)
        ]
        connection.execute(_items.insert(), rows)
        for place in range(len(jobs)):
            enqueue(connection, place, 0)
        return True

    async def claim(self, place: int, *, turn: int, holder: str, is_first: bool) -> Claim | None:
        """Become, or stay, the holder of a feature.

        Args:
            place: The feature's place in the batch.
            turn: The turn that it was enqueued for; another one has been enqueued since, or not.
            holder: The token.
            is_first: Whether this takes it from whoever has it; else it is kept.

        Returns:
            None where there is nothing to do: it ended, was enqueued anew, has another holder, or
            is not dispatched and its batch is cancelled.
        """
        mine = sa.true() if is_first else _items.c.holder == holder

        def work(connection: sa.Connection) -> Claim | None:
            here = self._at(place)
            taken = connection.execute(
                _items.update()
                .where(here, _items.c.turn == turn, mine, sa.not_(_ENDED))
                .values(holder=holder)
            )
            if taken.rowcount == 0:
                return None
            row = connection.execute(sa.select(_items).where(here)).one()
            is_planned = row.state == ItemState.PLANNED
            if is_planned and self._is_cancelled(connection):
                return None
            return Claim(
                place,
                _job(row),
                _restored(row),
                is_planned and self._is_to_wait(connection, place),
            )

        return await self.write(work)

    def _is_to_wait(self, connection: sa.Connection, place: int) -> bool:
        open_ = sa.select(_items.c.place).where(self._mine, _items.c.error.is_(None))
        later = open_.where(_items.c.state == ItemState.PLANNED, _items.c.place > place)
        intended = open_.where(_items.c.state == ItemState.INTENDED)
        query = sa.select(sa.and_(sa.not_(later.exists()), intended.exists()))
        return bool(connection.execute(query).scalar_one())

    async def note_intent(self, place: int, holder: str, intent: Intent) -> bool:
        """Store an intent; False where it may not be sent: see `claim`."""
        statement = (
            _items.update()
            .where(self._at(place), _items.c.holder == holder)
            .where(_items.c.state == ItemState.PLANNED, sa.not_(self._cancelled()))
            .values(
                state=ItemState.INTENDED,
                intent_id=intent.id,
                intent=intent.to_json(),
                noted_at=self._now,
            )
        )
        return await self._changes(statement)

    async def note_result(self, intent: Intent, result: Ref | None) -> bool:
        """Note what came of an intent: its operation, or None where nothing began.

        Returns:
            False where that was noted already, or decided.
        """
        # The generation of a run's missing tests is no end of it: the run is still to be sent.
        is_dispatched = result is not None and result.kind == "run"
        statement = (
            _items.update()
            .where(self._mine, _items.c.intent_id == intent.id)
            .values(
                state=ItemState.DISPATCHED if is_dispatched else ItemState.PLANNED,
                ref=result.to_json() if result is not None and is_dispatched else None,
                intent_id=None,
                intent=None,
                error=None,
                is_absent=0,
                noted_at=self._now,
                **({"dispatched_at": self._now} if is_dispatched else {}),
            )
        )
        return await self._changes(statement)

    async def note_attempt(self, place: int, holder: str, outcomes: list[Run | Generation]) -> bool:
        """Note the outcomes of attempts that are followed by another."""
        earlier = json.dumps([json.dumps(outcome.to_dict()) for outcome in outcomes])
        statement = (
            _items.update()
            .where(self._at(place), _items.c.holder == holder)
            .values(state=ItemState.PLANNED, ref=None, earlier=earlier, noted_at=self._now)
        )
        return await self._changes(statement)

    async def note_end(
        self,
        place: int,
        holder: str,
        *,
        outcome: Run | Generation | None = None,
        error: VibeError | None = None,
    ) -> bool:
        """Note the end of a feature: its outcome, or why it goes no further."""
        values: dict[str, Any] = {"noted_at": self._now}
        if outcome is not None:
            values |= {"state": ItemState.OVER, "outcome": json.dumps(outcome.to_dict())}
        elif stored.is_refusal(error):
            values["state"] = ItemState.REFUSED
        if error is not None:
            values["error"] = json.dumps(error.to_dict())
            reason = error.reason if isinstance(error, DispatchUnknownError) else None
            values["is_absent"] = int(reason == "absent")
        statement = (
            _items.update()
            .where(self._at(place), _items.c.holder == holder, sa.not_(_ENDED))
            .values(**values)
        )
        return await self._changes(statement)

    async def refs(self) -> list[Ref]:
        """Return the operations that any batch of the database has dispatched."""

        def work(connection: sa.Connection) -> list[Ref]:
            query = (
                sa.select(_items.c.ref, _items.c.earlier, _batches.c.server, _batches.c.project)
                .join(_batches, _batches.c.id == _items.c.batch)
                .where(sa.or_(_items.c.ref.is_not(None), _items.c.earlier != "[]"))
            )
            found: list[Ref] = []
            for row in connection.execute(query):
                if row.ref is not None:
                    found.append(Ref.from_json(row.ref))
                for outcome in map(json.loads, json.loads(row.earlier)):
                    run_id = outcome["runId"]
                    found.append(RunRef(server=row.server, project=row.project, run_id=run_id))
            return found

        return await self.write(work)

    async def rows(self) -> tuple[list[Row], bool]:
        """Return all features in the order planned, and whether the batch is cancelled."""
        return await self.write(
            lambda connection: (self._rows(connection), self._is_cancelled(connection))
        )

    def _rows(self, connection: sa.Connection) -> list[Row]:
        query = sa.select(_items, _ENDED.label("is_ended")).where(self._mine)
        return [
            Row(row.place, _job(row), _restored(row), bool(row.is_ended))
            for row in connection.execute(query.order_by(_items.c.place))
        ]

    async def left(self) -> int:
        """Return how many features are still to be worked on."""

        def work(connection: sa.Connection) -> int:
            query = sa.select(sa.func.count()).where(self._mine, sa.not_(_ENDED))
            if self._is_cancelled(connection):
                query = query.where(_items.c.state != ItemState.PLANNED)
            return connection.execute(query).scalar_one()

        return await self.write(work)

    async def set_cancelled(self, *, is_cancelled: bool) -> None:
        """Have nothing more dispatched, or go on."""
        statement = _batches.update().where(_batches.c.id == self.batch)
        await self._changes(statement.values(is_cancelled=int(is_cancelled)))

    async def enqueue(
        self,
        enqueue: Callable[[sa.Connection, int, int], None],
        *conditions: sa.ColumnElement[bool],
        **values: Any,  # noqa: ANN401 - those of the columns
    ) -> list[int | str]:
        """Enqueue features for another turn, in one transaction; return them.

        Args:
            enqueue: Is told the place and the turn of each.
            conditions: Which ones; those of this batch.
            values: What else is set of them.
        """

        def work(connection: sa.Connection) -> list[int | str]:
            query = sa.select(_items).where(self._mine, *conditions).order_by(_items.c.place)
            rows = connection.execute(query.with_for_update()).all()
            changed: list[int | str] = []
            for row in rows:
                statement = (
                    _items.update()
                    .where(self._at(row.place), _items.c.turn == row.turn)
                    .values(turn=row.turn + 1, error=None, is_absent=0, **values)
                )
                if connection.execute(statement).rowcount:
                    enqueue(connection, row.place, row.turn + 1)
                    changed.append(_job(row).feature)
            return changed

        return await self.write(work)

    async def enqueue_left(self, enqueue: Callable[[sa.Connection, int, int], None]) -> None:
        """Enqueue all that is still to be worked on: nobody does."""
        await self.enqueue(enqueue, sa.not_(_ENDED))

    async def enqueue_failed(
        self, enqueue: Callable[[sa.Connection, int, int], None]
    ) -> list[int | str]:
        """Enqueue what was not dispatched, or is unknown."""
        return await self.enqueue(enqueue, sa.or_(_items.c.state == ItemState.PLANNED, _UNKNOWN))

    async def enqueue_absent(
        self, enqueue: Callable[[sa.Connection, int, int], None]
    ) -> list[int | str]:
        """Enqueue what nobody knew about, where a later run may now prove that nothing began."""
        others = _items.alias()
        later = sa.select(sa.func.max(others.c.dispatched_at)).where(others.c.batch == self.batch)
        return await self.enqueue(
            enqueue, _UNKNOWN, _items.c.is_absent == 1, _items.c.noted_at < later.scalar_subquery()
        )

    async def decide(
        self,
        decision: str | Ref,
        feature: int | str | None,
        enqueue: Callable[[sa.Connection, int, int], None],
    ) -> list[int | str]:
        """Decide what becomes of dispatches that nobody knows about; see `Journal.decide`.

        Raises:
            ConfigError: Nothing is unknown, or a ref was given for several.
        """
        rows, _ = await self.rows()
        places = [
            row.place
            for row in rows
            if row.found.state is ItemState.INTENDED
            and row.is_ended
            and feature in {None, row.job.feature, row.job.name}
        ]
        if not places:
            what = "nothing" if feature is None else f"nothing of feature {feature!r}"
            raise ConfigError(f"{what} is unknown in batch {self.batch!r}")
        if isinstance(decision, Ref) and len(places) > 1:
            raise ConfigError(
                f"{decision} is of one dispatch, and {len(places)} are unknown: name the feature"
            )
        values: dict[str, Any] = {"intent": None, "intent_id": None, "holder": None}
        if isinstance(decision, Ref):
            values |= {"state": ItemState.DISPATCHED, "ref": decision.to_json()}
        else:
            values["state"] = ItemState.PLANNED if decision == "resend" else ItemState.DROPPED
        condition = sa.and_(_UNKNOWN, _items.c.place.in_(places))
        return await self.enqueue(enqueue, condition, **values)

    async def beat(self, worker: str, host: str, pid: int) -> None:
        """Note, by the database's clock, that a worker is there."""

        def work(connection: sa.Connection) -> None:
            values = {"host": host, "pid": pid, "beat_at": self._now}
            here = _workers.update().where(_workers.c.id == worker).values(**values)
            if connection.execute(here).rowcount == 0:
                connection.execute(_workers.insert().values(id=worker, **values))

        await self.write(work)

    async def workers(self) -> list[Worker]:
        """Return the workers of the database, and when each was last there."""
        age = (self._now - _workers.c.beat_at).label("age")

        def work(connection: sa.Connection) -> list[Worker]:
            query = sa.select(_workers.c.id, _workers.c.host, _workers.c.pid, age)
            return [Worker(*row) for row in connection.execute(query)]

        return await self.write(work)

    async def forget(self, workers: Iterable[str]) -> None:
        """Remove workers that are gone."""
        await self._changes(_workers.delete().where(_workers.c.id.in_([*workers])))

    async def _changes(self, statement: sa.UpdateBase) -> bool:
        """Execute a statement, and return whether it changed anything."""
        return await self.write(lambda connection: connection.execute(statement).rowcount > 0)

    def _at(self, place: int) -> sa.ColumnElement[bool]:
        return sa.and_(self._mine, _items.c.place == place)

    def _cancelled(self) -> sa.Exists:
        query = sa.select(_batches.c.id).where(_batches.c.id == self.batch)
        return query.where(_batches.c.is_cancelled == 1).exists()

    def _is_cancelled(self, connection: sa.Connection) -> bool:
        return bool(connection.execute(sa.select(self._cancelled())).scalar_one())

    @property
    def _now(self) -> sa.ColumnElement[float]:
        """The seconds since 1970 by the database's clock, which all workers share."""
        if self.url.get_backend_name() == "sqlite":
            return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float)
        return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float)


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        # A stopped process must not keep others from taking over what it has locked.
        options = f"-c idle_in_transaction_session_timeout={IDLE_SECONDS * 1000}"
        arguments = {"connect_timeout": 10, "options": options}
        return sa.create_engine(url, pool_pre_ping=True, connect_args=arguments)
    engine = sa.create_engine(url, connect_args={"timeout": 30.0})

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
        # Two transactions that read and then write would else fail rather than wait.
        connection.isolation_level = "IMMEDIATE"
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    return engine


def _job(row: Any) -> Job:  # noqa: ANN401 - a row of the items
    return Job(json.loads(row.feature), row.name, row.config)


def _restored(row: Any) -> Restored:  # noqa: ANN401 - a row of the items
    return stored.restored(
        ItemState(row.state),
        kind="run",
        ref=row.ref,
        outcome=row.outcome,
        error=row.error,
        intent=None if row.intent is None else Intent.from_json(row.intent),
        earlier=json.loads(row.earlier),
    )
