"""Which database a batch is kept in: a SQLite file, or PostgreSQL.

Decides what a URL means, and how it is called in messages. It reads and writes nothing itself.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import exc

from testvibe_async.adapters.store import Store
from testvibe_async.adapters.tables import UNAVAILABLE
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Database"]


class Database:
    """The place of a database. It is opened by `store`, each time anew."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        """Make it; no I/O is done.

        Args:
            url: A SQLite file, or `postgresql://…`.

        Raises:
            ConfigError: It is neither.
        """
        self.url: sa.URL = _parse(os.fspath(url))
        """As SQLAlchemy names it, with the password."""

    @property
    def is_file(self) -> bool:
        """Whether it is a SQLite file, for the workers of one machine."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def may_have_batches(self) -> bool:
        """False for a SQLite file that does not exist: reading it would make it."""
        return not self.is_file or Path(str(self.url.database)).exists()

    @property
    def name(self) -> str:
        """What to call it in a message: without a password."""
        if self.is_file:
            return str(self.url.database)
        return self.url.render_as_string(hide_password=True)

    @property
    def address(self) -> str:
        """The whole URL, with the password, for DBOS."""
        return self.url.render_as_string(hide_password=False)

    def open(self, batch: str) -> Store:
        """Return the store of a batch, which the caller closes. No I/O is done yet."""
        return Store(self.url, batch)

    @asynccontextmanager
    async def store(self, batch: str) -> AsyncGenerator[Store]:
        """Open the store of a batch.

        Raises:
            ConfigError: The database can't be used, at the beginning or later.
        """
        store = self.open(batch)
        try:
            yield store
        except UNAVAILABLE as error:
            raise ConfigError(f"the database {self.name} can't be used: {error.orig}") from error
        finally:
            await store.aclose()


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
