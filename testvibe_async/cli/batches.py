"""The batches of this user: the one that is meant, and the commands that are about one.

A durable batch is one of them once a command of this machine was about it.

Which batch a word means is decided in `testvibe_async.runner`, and what a journal holds in
`testvibe_async.journal`.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, TypeAlias

from testvibe_async import ConfigError
from testvibe_async._config import find_settings
from testvibe_async.cli.common import Common, batches_folder
from testvibe_async.cli.output import warn
from testvibe_async.cli.words import NAME, plural, started
from testvibe_async.runner.batches import Batches
from testvibe_async.runner.records import BatchRecord, Place
from testvibe_async.runner.stored import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

DurableBatch: TypeAlias = Any


def stored_batches() -> Batches:
    """Return the batches of the state folder."""
    failed: dict[str, ConfigError] = {}

    async def read(record: BatchRecord) -> Batch:
        database, name = record.database, record.name
        assert database is not None
        assert name is not None
        if database in failed:  # It would have each of its batches waited for.
            raise failed[database]
        try:
            return await read_durable(durable_batch(database, name), record)
        except ConfigError as error:
            if error.__cause__ is not None:
                failed[database] = error
            raise

    return Batches(batches_folder(), read_durable=read)


def durable_batch(database: str, name: str) -> DurableBatch:
    """Return a durable batch; nothing is read yet.

    Raises:
        ConfigError: The database is none.
    """
    raise ConfigError(f"batch {name} is in {database}, and no database can be read")


async def read_durable(batch: DurableBatch, record: BatchRecord) -> Batch:
    """Return the state of a durable batch, without asking the service.

    Raises:
        ConfigError: There is no such batch, or its database can't be read.
    """
    return Batch.of(await batch.status(), record)


async def durable_named(
    word: str, database: str | None, place: Place, *, parent: int | str | None = None
) -> tuple[DurableBatch, BatchRecord]:
    """Return the durable batch that a word means, and its record.

    With its database named, it gets a number here if it has none, and if one can be written.

    Args:
        word: Its name; without a database also its number.
        database: Its database; None for that of its record.
        place: The service and the project in force.
        parent: The batch whose failures it runs again, as its record has it.

    Raises:
        ConfigError: There is no such batch, or its database can't be read.
    """
    stored = stored_batches()
    if database is None:
        for each in stored.records_named(word, place)[:1]:
            if each.database is not None and each.name is not None:
                return durable_batch(each.database, each.name), each
        raise ConfigError(f"batch {word} is in no database: name one with --on")
    batch = durable_batch(database, word)
    plan = (await batch.status()).plan
    record = BatchRecord.of(plan, name=word, parent=parent, database=batch.database)
    try:
        record = stored.add(record)
    except OSError as error:
        warn(f"Batch {word} gets no number here: {error}")
    return batch, record


def place_of(common: Common) -> Place:
    """Return the place in force, without asking the service.

    Raises:
        ConfigError: A setting is wrong.
    """
    found = find_settings(common.server, project=common.project)
    server, project = found.server, found.project
    return Place(server.value if server else None, project.value if project else None)


def work_command(name: str, database: str) -> str:
    """Return the command that works on a durable batch, on any machine."""
    return shlex.join([NAME, "work", name, "--on", database])


def resume_command(word: int | str, place: Sequence[str] = ()) -> str:
    """Return the command that resumes a batch.

    Args:
        word: The argument that names it.
        place: The options that name the service and the project.
    """
    return shlex.join([NAME, "resume", str(word), *place])


async def report_interrupted(*, besides: int | str | None) -> None:
    """Report each interrupted batch once: its command did not shut down in order.

    Args:
        besides: The `word` of the one that the command has described; None for none.
    """
    for batch in await stored_batches().interrupted():
        word = batch.record.word
        assert word is not None
        if word != besides:
            over = sum(item.outcome is not None for item in batch.items)
            warn(
                f"{batch.record}, {started(batch.created_at)}, was interrupted, with "
                f"{over} of {plural(len(batch.items), 'operation')} over. Resume it: "
                f"{resume_command(word)}"
            )
