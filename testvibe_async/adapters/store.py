"""What is stored of a durable batch, and by whom.

It decides who may write what: each turn of a feature's work has a token, the holder, and what an
earlier holder wants to write of the feature is refused. An intent is stored only by the holder, and
only while the batch is not cancelled; what came of an intent may be noted by anybody who knows. It
never asks the service, and the API key is never in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa
from attrs import frozen

from testvibe_async._batch import Entry, EntryState, Plan, is_refusal, read_entry
from testvibe_async._dispatch import Job
from testvibe_async._util.group_commit import GroupCommit
from testvibe_async.adapters.tables import (
    BATCHES,
    ENDED,
    ITEMS,
    TABLES,
    VERSION,
    connected,
    database_time,
)
from testvibe_async.errors import ConfigError, DispatchUnknownError, VibeError
from testvibe_async.refs import Ref, RunRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async.intents import Intent
    from testvibe_async.models import Generation, Run

__all__ = ["Claim", "Enqueue", "Row", "Store"]

Enqueue: TypeAlias = Callable[[sa.Connection, int, int], None]
"""What hands out a feature in a transaction: it is told the place and the turn."""


@frozen
class Claim:
    """A feature, for its holder."""

    place: int
    job: Job
    found: Entry[Run]
    is_to_wait: bool
    """Whether it is the last to be dispatched, while intents of others are open: the run that it
    starts shows that those before it did not begin."""


@frozen
class Row:
    """A feature, as the tables have it."""

    place: int
    job: Job
    found: Entry[Run]
    is_ended: bool


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
        self.engine: sa.Engine = connected(url)
        self.now: sa.ColumnElement[float] = database_time(url)
        """The database's clock."""
        self._mine = ITEMS.c.batch == batch

    def _commit(self, works: list[Callable[[sa.Connection], Any]]) -> list[Any]:
        with self.engine.begin() as connection:
            return [work(connection) for work in works]

    def _disconnect(self) -> None:
        self.engine.dispose()

    async def create_tables(self) -> None:
        """Make the tables that are not there."""
        await self.write(TABLES.create_all)

    async def plan(self) -> Plan | None:
        """Return what the batch is to do; None where there is no such batch.

        Raises:
            ConfigError: The tables are of another version.
        """
        return await self.write(self._plan)

    def _plan(self, connection: sa.Connection) -> Plan | None:
        if not sa.inspect(connection).has_table(BATCHES.name):
            return None
        query = sa.select(BATCHES).where(BATCHES.c.id == self.batch)
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

    async def submit(self, plan: Plan, jobs: Sequence[Job], enqueue: Enqueue) -> bool:
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
        enqueue: Enqueue,
    ) -> bool:
        values = {
            "server": plan.server,
            "project": plan.project,
            "site_url": plan.site_url,
            "options": json.dumps(plan.options),
        }
        planned = self._plan(connection)
        if planned is not None:
            there = [row.job for row in self._rows(connection)]
            if (planned, planned.options, there) != (plan, plan.options, [*jobs]):
                raise ConfigError(
                    f"there is a batch {self.batch!r} of other features or options: take another id"
                )
            return False
        connection.execute(
            BATCHES.insert().values(id=self.batch, version=VERSION, is_cancelled=0, **values)
        )
        rows = [
            {
                "batch": self.batch,
                "place": place,
                "feature": json.dumps(job.feature),
                "name": job.name,
                "config": job.config,
                "state": EntryState.PLANNED,
                "turn": 0,
            }
            for place, job in enumerate(jobs)
        ]
        connection.execute(ITEMS.insert(), rows)
        for place in range(len(jobs)):
            enqueue(connection, place, 0)
        return True

    async def claim(self, place: int, *, turn: int, holder: str, is_first: bool) -> Claim | None:
        """Become, or stay, the holder of a feature.

        Args:
            place: The feature's place in the batch.
            turn: The turn that it was enqueued for; another one has been enqueued since, or not.
            holder: The token.
            is_first: Whether this takes it from any other holder; else it is only kept.

        Returns:
            None where there is nothing to do: it ended, was enqueued anew, has another holder, or
            is not dispatched and its batch is cancelled.
        """
        mine = sa.true() if is_first else ITEMS.c.holder == holder

        def work(connection: sa.Connection) -> Claim | None:
            here = self._at(place)
            taken = connection.execute(
                ITEMS.update()
                .where(here, ITEMS.c.turn == turn, mine, sa.not_(ENDED))
                .values(holder=holder)
            )
            if taken.rowcount == 0:
                return None
            row = connection.execute(sa.select(ITEMS).where(here)).one()
            is_planned = row.state == EntryState.PLANNED
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
        open_ = sa.select(ITEMS.c.place).where(self._mine, ITEMS.c.error.is_(None))
        later = open_.where(ITEMS.c.state == EntryState.PLANNED, ITEMS.c.place > place)
        intended = open_.where(ITEMS.c.state == EntryState.INTENDED)
        query = sa.select(sa.and_(sa.not_(later.exists()), intended.exists()))
        return bool(connection.execute(query).scalar_one())

    async def note_intent(self, place: int, holder: str, intent: Intent) -> bool:
        """Store an intent; False where it may not be sent: see `claim`."""
        statement = (
            ITEMS.update()
            .where(self._at(place), ITEMS.c.holder == holder)
            .where(ITEMS.c.state == EntryState.PLANNED, sa.not_(self._cancelled()))
            .values(
                state=EntryState.INTENDED,
                intent_id=intent.id,
                intent=intent.to_json(),
                noted_at=self.now,
            )
        )
        return await self.changes(statement)

    async def note_result(self, intent: Intent, result: Ref | None) -> bool:
        """Note what came of an intent: its operation, or None where nothing began.

        Returns:
            False where that was noted already, or decided.
        """
        # The generation of a run's missing tests is no end of it: the run is still to be sent.
        is_dispatched = result is not None and result.kind == "run"
        values: dict[str, Any] = {}
        if result is not None and is_dispatched:
            values = {"ref": result.to_json(), "dispatched_at": self.now}
        elif result is not None:
            values = {"generation": result.to_json()}
        statement = (
            ITEMS.update()
            .where(self._mine, ITEMS.c.intent_id == intent.id)
            .values(
                state=EntryState.DISPATCHED if is_dispatched else EntryState.PLANNED,
                intent_id=None,
                intent=None,
                error=None,
                is_absent=0,
                noted_at=self.now,
                **{"ref": None} | values,
            )
        )
        return await self.changes(statement)

    async def note_attempt(self, place: int, holder: str, outcomes: list[Run | Generation]) -> bool:
        """Note the outcomes of attempts that are followed by another."""
        earlier = json.dumps([json.dumps(outcome.to_dict()) for outcome in outcomes])
        statement = (
            ITEMS.update()
            .where(self._at(place), ITEMS.c.holder == holder)
            .values(state=EntryState.PLANNED, ref=None, earlier=earlier, noted_at=self.now)
        )
        return await self.changes(statement)

    async def note_end(
        self,
        place: int,
        holder: str,
        *,
        outcome: Run | Generation | None = None,
        error: VibeError | None = None,
    ) -> bool:
        """Note the end of a feature: its outcome, or why it goes no further.

        Returns:
            False where that was noted already, or nothing is unknown any more.
        """
        values: dict[str, Any] = {"noted_at": self.now}
        if outcome is not None:
            values |= {"state": EntryState.OVER, "outcome": json.dumps(outcome.to_dict())}
        elif is_refusal(error):
            # What was dispatched goes on, also where this key may not read it.
            values["state"] = sa.case(
                (ITEMS.c.state == EntryState.PLANNED, EntryState.REFUSED), else_=ITEMS.c.state
            )
        if error is not None:
            values["error"] = json.dumps(error.to_dict())
            reason = error.reason if isinstance(error, DispatchUnknownError) else None
            values["is_absent"] = int(reason == "absent")
        statement = (
            ITEMS.update()
            .where(self._at(place), ITEMS.c.holder == holder, sa.not_(ENDED))
            .values(**values)
        )
        if isinstance(error, DispatchUnknownError):
            # A worker that was stopped, and goes on, may have noted meanwhile that nothing began.
            statement = statement.where(ITEMS.c.state == EntryState.INTENDED)
        return await self.changes(statement)

    async def refs(self) -> list[Ref]:
        """Return the operations of its server and project that any batch here has dispatched."""
        own = BATCHES.alias()
        is_alike = sa.and_(
            own.c.id == self.batch,
            own.c.server == BATCHES.c.server,
            own.c.project == BATCHES.c.project,
        )

        def work(connection: sa.Connection) -> list[Ref]:
            query = (
                sa.select(ITEMS.c.ref, ITEMS.c.earlier, BATCHES.c.server, BATCHES.c.project)
                .join(BATCHES, BATCHES.c.id == ITEMS.c.batch)
                .join(own, is_alike)
                .where(sa.or_(ITEMS.c.ref.is_not(None), ITEMS.c.earlier != "[]"))
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
        query = sa.select(ITEMS, ENDED.label("is_ended")).where(self._mine)
        return [
            Row(row.place, _job(row), _restored(row), bool(row.is_ended))
            for row in connection.execute(query.order_by(ITEMS.c.place))
        ]

    async def left(self) -> int:
        """Return how many features are still to be worked on."""

        def work(connection: sa.Connection) -> int:
            query = sa.select(sa.func.count()).where(self._mine, sa.not_(ENDED))
            if self._is_cancelled(connection):
                query = query.where(ITEMS.c.state != EntryState.PLANNED)
            return connection.execute(query).scalar_one()

        return await self.write(work)

    async def set_cancelled(self, *, is_cancelled: bool) -> None:
        """Have nothing more dispatched, or go on."""
        statement = BATCHES.update().where(BATCHES.c.id == self.batch)
        await self.changes(statement.values(is_cancelled=int(is_cancelled)))

    async def changes(self, statement: sa.UpdateBase) -> bool:
        """Execute a statement, and return whether it changed anything."""
        return await self.write(lambda connection: connection.execute(statement).rowcount > 0)

    def _at(self, place: int) -> sa.ColumnElement[bool]:
        return sa.and_(self._mine, ITEMS.c.place == place)

    def _cancelled(self) -> sa.Exists:
        query = sa.select(BATCHES.c.id).where(BATCHES.c.id == self.batch)
        return query.where(BATCHES.c.is_cancelled == 1).exists()

    def _is_cancelled(self, connection: sa.Connection) -> bool:
        return bool(connection.execute(sa.select(self._cancelled())).scalar_one())


def _job(row: Any) -> Job:  # noqa: ANN401 - a row of the items
    return Job(json.loads(row.feature), row.name, row.config)


def _restored(row: Any) -> Entry[Run]:  # noqa: ANN401 - a row of the items
    texts = [*json.loads(row.earlier), *([] if row.outcome is None else [row.outcome])]
    document: dict[str, Any] = {
        "feature": json.loads(row.feature),
        "name": row.name,
        "config": row.config,
        "state": row.state,
        "outcomes": [json.loads(text) for text in texts],
    }
    for name in ("intent", "generation", "ref", "error"):
        if (text := getattr(row, name)) is not None:
            is_named = name == "ref" and row.state == EntryState.INTENDED
            document["named" if is_named else name] = json.loads(text)
    return read_entry(row.place, document, kind="run")
