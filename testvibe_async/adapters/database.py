"""The databases that batches are kept in: a SQLite file, or PostgreSQL.

Decides what a URL means, how a database is connected to, which tables it has, and which clock all
workers share. It reads and writes nothing itself.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from testvibe_async.errors import ConfigError

UNAVAILABLE = (exc.OperationalError, exc.InternalError, exc.InterfaceError)
"""The errors of a database after which the same may be asked again."""

VERSION = 7
"""The version of the tables."""

CONNECT_ARGS: dict[str, int | str] = {
    "connect_timeout": 5,
    # Of a machine that has vanished the system would wait a quarter of an hour for an answer.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    # A stopped process must not keep others from taking over what it has locked.
    "options": "-c idle_in_transaction_session_timeout=5000",
}
"""The options of a connection to PostgreSQL, in seconds and milliseconds."""

SUBMIT_LOCK = 0x54564A31
"""The key of PostgreSQL's lock that one transaction holds while it stores a batch."""

TABLES = sa.MetaData()

BATCHES = sa.Table(
    "testvibe_batches",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("is_cancelled", sa.Integer, nullable=False, default=0),
    sa.Column("max_generations", sa.Integer),
)

ITEMS = sa.Table(
    "testvibe_items",
    TABLES,
    sa.Column("batch", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("is_left", sa.Integer, nullable=False, default=1),
    sa.Column("owner", sa.Text),
    sa.Column("claim", sa.Text),
    sa.Column("intent", sa.Text),
    sa.Column("dispatched_at", sa.Float),
    sa.Column("absent_at", sa.Float),
    sa.Column("paid", sa.Integer, nullable=False, default=0),
    sa.Index("testvibe_items_left", "batch", "is_left", "state", "number"),
)

OPERATIONS = sa.Table(
    "testvibe_operations",
    TABLES,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("noted_at", sa.Float, nullable=False),
)
"""The operations of all batches: each belongs to one dispatch."""

WORKERS = sa.Table(
    "testvibe_workers",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("batch", sa.Text, nullable=False),
    sa.Column("machine", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("beat_at", sa.Float, nullable=False),
)


class Database:
    """The place of a database."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        """Make it; no I/O is done.

        Args:
            url: A SQLite file, or `postgresql://…`.

        Raises:
            ConfigError: It is neither.
        """
        self._url = _parse(os.fspath(url))

    def __str__(self) -> str:
        """Return its file, or its URL without a password."""
        if self._is_file:
            return str(self._url.database)
        shown = self._url._replace(drivername="postgresql", password=None)
        shown = shown.difference_update_query(["password", "sslpassword"])
        return shown.render_as_string(hide_password=False)

    @property
    def _is_file(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def is_missing(self) -> bool:
        """True if it is a SQLite file that does not exist: to read it would make it."""
        return self._is_file and not Path(str(self._url.database)).exists()

    @property
    def now(self) -> sa.ColumnElement[float]:
        """The seconds since 1970 by the database's clock, which all workers share."""
        if self._is_file:
            return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float)
        return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float)

    def create_tables(self, connection: sa.Connection) -> None:
        """Make the tables that are not there; one transaction at a time gets past this."""
        if not self._is_file:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SUBMIT_LOCK)))
        TABLES.create_all(connection)

    def engine(self) -> sa.Engine:
        """Return an engine of it for one store, which closes it; nothing is connected yet."""
        if self._is_file:
            engine = sa.create_engine(self._url, connect_args={"timeout": 30.0})
            event.listen(engine, "connect", _set_up_file)
            event.listen(engine, "begin", _begin)
            return engine
        return sa.create_engine(self._url, pool_pre_ping=True, connect_args=CONNECT_ARGS)

    def cut(self, connection: Any) -> None:  # noqa: ANN401 - the driver's
        """Have what another thread does with a connection fail."""
        if self._is_file:
            connection.interrupt()
        elif not connection.closed:
            with socket.socket(fileno=os.dup(connection.fileno())) as copy, suppress(OSError):
                copy.shutdown(socket.SHUT_RDWR)


def _parse(text: str) -> sa.URL:
    if "://" not in text:
        return sa.URL.create("sqlite", database=str(Path(text).absolute()))
    try:
        found = sa.make_url(text)
    except exc.ArgumentError:
        found = None
    if found is not None and found.get_backend_name() in {"postgresql", "postgres"}:
        return found.set(drivername="postgresql+psycopg")
    raise ConfigError("a batch is kept in a SQLite file or in postgresql://…; this is neither")


def _set_up_file(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
    connection.isolation_level = None  # The driver would begin a transaction at its first write.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: sa.Connection) -> None:
    """Begin a transaction of SQLite; no other process writes between its reads and writes."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
