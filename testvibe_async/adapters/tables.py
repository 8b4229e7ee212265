"""The tables of durable batches: in SQLite for one machine, in PostgreSQL for many.

It decides how a database is connected to. What is written is decided in `store`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from testvibe_async._batch import EntryState

__all__ = [
    "BATCHES",
    "ENDED",
    "ITEMS",
    "TABLES",
    "UNAVAILABLE",
    "UNKNOWN",
    "UNOBSERVED",
    "VERSION",
    "WORKERS",
    "StoreError",
    "connected",
    "database_time",
]

StoreError = exc.SQLAlchemyError
"""What the store raises where the database fails."""

UNAVAILABLE = (exc.OperationalError, exc.InternalError, exc.InterfaceError)
"""Those of them after which the same may be asked again."""

VERSION = 1
"""The version of the tables."""

IDLE_SECONDS = 5
"""How long a stopped process may hold a transaction open before PostgreSQL ends it."""

TABLES = sa.MetaData()

BATCHES = sa.Table(
    "testvibe_batches",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("site_url", sa.Text),
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("is_cancelled", sa.Integer, nullable=False, default=0),
)

ITEMS = sa.Table(
    "testvibe_items",
    TABLES,
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
    sa.Column("generation", sa.Text),
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

WORKERS = sa.Table(
    "testvibe_workers",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("beat_at", sa.Float, nullable=False),
)

ENDED = sa.or_(
    ITEMS.c.state.in_([EntryState.OVER, EntryState.REFUSED, EntryState.DROPPED]),
    ITEMS.c.error.is_not(None),
)
"""What nobody works on any more: it is over, or an error says why it goes no further."""

UNKNOWN = sa.and_(ITEMS.c.state == EntryState.INTENDED, ITEMS.c.error.is_not(None))
"""What nobody can say whether it began."""

UNOBSERVED = sa.and_(ITEMS.c.state == EntryState.DISPATCHED, ITEMS.c.error.is_not(None))
"""What began, and could not be polled any more: for too long, or with this key."""


def connected(url: sa.URL) -> sa.Engine:
    """Return the engine of a database; nothing is connected yet."""
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


def database_time(url: sa.URL) -> sa.ColumnElement[float]:
    """Return the seconds since 1970 by the database's clock, which all workers share."""
    if url.get_backend_name() == "sqlite":
        return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float)
    return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float)
