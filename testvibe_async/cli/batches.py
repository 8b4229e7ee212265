"""The batches of this user: the one that is meant, and the commands that are about one.

A durable batch is one of them once a command of this machine was about it.

Which batch a word means is decided in `testvibe_async.runner`, and what a journal holds in
`testvibe_async.journal`.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from testvibe_async import ConfigError
from testvibe_async._config import find_settings
from testvibe_async.cli.common import Common, batches_folder
from testvibe_async.cli.output import warn
from testvibe_async.cli.words import NAME, plural, started
from testvibe_async.runner.batches import Batches
from testvibe_async.runner.stored import Batch, BatchRecord, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async.adapters.durable import DurableBatch


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
    from testvibe_async.adapters.durable import DurableBatch  # noqa: PLC0415 - an extra

    return DurableBatch(database, id=name)


async def read_durable(batch: DurableBatch, record: BatchRecord | None) -> Batch:
    """Return the state of a durable batch, without asking the service.

    Args:
        batch: The batch.
        record: Its record here; None if it has none.

    Raises:
        ConfigError: There is no such batch, or its database can't be read.
    """
    found = await batch.status()
    path = Path(batch.id) if record is None else stored_batches().journal_of(record)
    return Batch.of(found, record, path)


async def durable_named(
    word: str, database: str | None, place: Place, *, parent: int | str | None = None
) -> tuple[DurableBatch, BatchRecord | None]:
    """Return the durable batch that a word means, and its record among the batches of this machine.

    With its database named, it gets a number here if it has none.

    Args:
        word: Its name; without a database also its number.
        database: Its database; None for that of its record.
        place: The service and the project in force.
        parent: The batch whose failures it runs again, as its record has it.

    Raises:
        ConfigError: There is no such batch, or its database can't be read.
    """
    stored, record = stored_batches(), None
    if database is None:
        for each in stored.records_named(word, place)[:1]:
            if each.database is not None and each.name is not None:
                return durable_batch(each.database, each.name), each
        raise ConfigError(f"batch {word} is in no database: name one with --on")
    batch = durable_batch(database, word)
    plan = (await batch.status()).plan
    try:
        record = stored.create(
            *(plan.kind, Place(plan.server, plan.project)),
            name=word,
            project_name=plan.options.get("project"),
            parent=parent,
            database=batch.database,
        )
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


def resume_command(journal: Path, place: Sequence[str] = ()) -> str:
    """Return the command that resumes a batch.

    Args:
        journal: Its journal.
        place: The options that name the service and the project.
    """
    return shlex.join([NAME, "resume", str(stored_batches().word_for(journal)), *place])


async def report_interrupted(*, besides: int | str | None) -> None:
    """Report each interrupted batch once: its command did not shut down in order.

    Args:
        besides: The `Batch.word` of the one that the command has described; None for none.
    """
    stored = stored_batches()
    for record, batch in await stored.interrupted():
        if record.number == besides:
            continue
        over = sum(item.outcome is not None for item in batch.items)
        warn(
            f"{record}, {started(batch.created_at)}, was interrupted, with "
            f"{over} of {plural(len(batch.items), 'operation')} over. Resume it: "
            f"{resume_command(stored.journal_of(record))}"
        )
