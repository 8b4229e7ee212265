"""The batches of this user: their folder, the one that is meant, and the options of a journal.

A durable batch is one of them once a command of this machine was about it.

Which batch a word means is decided in `testvibe_async.runner`, and what a journal holds in
`testvibe_async.journal`.
"""

from __future__ import annotations

import re
import shlex
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import platformdirs
from attrs import frozen
from cyclopts import Parameter

from testvibe_async import ConfigError
from testvibe_async._config import find_settings
from testvibe_async.cli.common import MORE
from testvibe_async.cli.output import warn
from testvibe_async.cli.words import NAME, clock_time, plural

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from testvibe_async.adapters.durable import DurableBatch
    from testvibe_async.cli.common import Common
    from testvibe_async.cli.output import Output
    from testvibe_async.journal import Journal
    from testvibe_async.runner.batches import Batch, Batches, BatchRecord, Place

__all__ = [
    "NO_OPTIONS",
    "BatchOptions",
    "On",
    "durable_batch",
    "durable_named",
    "folder",
    "kept",
    "opened",
    "place_of",
    "read_durable",
    "report_interrupted",
    "resume_command",
    "stored_batches",
    "work_command",
]

On = Annotated[str | None, Parameter(metavar="DATABASE"), MORE]
"""The type of the option that names the database of durable batches."""

_BATCH_NAME = re.compile(r"(?!\d+$)[\w-]+")
"""A name that is neither a number nor looks like a file."""


@Parameter(name="*")
@frozen(kw_only=True)
class BatchOptions:
    """The options of a command for its batch."""

    dry_run: Annotated[bool, MORE] = False
    """Only show what would be dispatched, refused and stopped at the limit; the exit code is the
    one that the command would end with, if known."""

    name: str | None = None
    """A name for the batch, beside its number; for 'resume NAME' and 'run --failed NAME'. Not with
    --journal: there the file is its name."""

    journal: Annotated[Path | None, MORE] = None
    """Keep the journal of the batch in this file, for 'resume FILE' after a crash; else it is in
    your state folder, where the last 50 are kept for 30 days."""

    no_journal: Annotated[bool, MORE] = False
    """Keep none."""

    on: On = None
    """Store the batch in this database, under its --name, for 'work' on any machine to carry: a
    SQLite file for the workers of one machine, or postgresql://…."""

    def check(self) -> None:
        """Refuse a name that is none, or that nothing would have.

        Raises:
            ConfigError: It is a number or has other characters than names have, or no numbered
                journal is kept.
        """
        if self.on is not None and self.name is None:
            raise ConfigError("--on is for a batch with a name of its own: add --name")
        if self.name is None:
            return
        if not _BATCH_NAME.fullmatch(self.name):
            raise ConfigError(
                f"--name {self.name}: a name has letters, digits, - and _, and not digits alone"
            )
        if self.journal is not None or self.no_journal:
            raise ConfigError("--name is for batches in your state folder: leave out --journal")


NO_OPTIONS = BatchOptions()
"""The options if none was given."""


def folder() -> Path:
    """Return the folder of the batches."""
    return platformdirs.user_state_path(NAME) / "batches"


def stored_batches() -> Batches:
    """Return the batches of the state folder."""
    # It brings the event loop, which `settings`, that names the folder, does without.
    from testvibe_async.runner.batches import Batches  # noqa: PLC0415

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

    return Batches(folder(), read_durable=read)


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
    from testvibe_async.runner.batches import Batch, spec_of  # noqa: PLC0415 - see `stored_batches`
    from testvibe_async.runner.generation_limit import with_limit_named  # noqa: PLC0415

    found = await batch.status()
    path = Path(batch.id) if record is None else stored_batches().journal_of(record)
    return Batch(
        path=path,
        unfinished=path,
        record=record,
        kind=found.plan.kind,
        server=found.plan.server,
        project=found.plan.project,
        project_name=None if record is None else record.project_name,
        spec=spec_of(found.plan),
        fails_on_flaky=False,
        created_at=found.created_at,
        items=[with_limit_named(item) for item in found.items],
        is_over=found.is_over,
        is_complete=True,
        is_live=not found.is_settled,
        workers=found.workers,
    )


async def durable_named(
    word: str, database: str | None, place: Place, output: Output, *, parent: int | None = None
) -> tuple[DurableBatch, BatchRecord | None]:
    """Return the durable batch that a word means, and its record among the batches of this machine.

    With its database named, it gets a number here if it has none.

    Args:
        word: Its name; without a database also its number.
        database: Its database; None for that of its record.
        place: The service and the project in force.
        output: The output for notes.
        parent: The number of the batch whose failures it runs again.

    Raises:
        ConfigError: There is no such batch, or its database can't be read.
    """
    from testvibe_async.runner.batches import Place  # noqa: PLC0415 - see `stored_batches`

    stored, record = stored_batches(), None
    if database is None:
        record = stored.record_named(word, place)
        if record is None or record.database is None or record.name is None:
            raise ConfigError(f"batch {word} is in no database: name one with --on")
        return durable_batch(record.database, record.name), record
    batch = durable_batch(database, word)
    plan = (await batch.status()).plan
    there = Place(plan.server, plan.project)
    try:
        record = stored.create(plan.kind, there, name=word, parent=parent, database=batch.database)
    except OSError as error:
        output.note(f"Batch {word} gets no number here: {error}")
    return batch, record


def place_of(common: Common) -> Place:
    """Return the place in force, without asking the service.

    Raises:
        ConfigError: A setting is wrong.
    """
    from testvibe_async.runner.batches import Place  # noqa: PLC0415 - see above

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
    return shlex.join([NAME, "resume", stored_batches().word_for(journal), *place])


@asynccontextmanager
async def kept(  # noqa: PLR0913 - each by name
    options: BatchOptions,
    output: Output,
    kind: Literal["run", "generation"],
    place: Place,
    *,
    typed: Mapping[str, Any],
    parent: int | None,
    is_named: bool,
) -> AsyncGenerator[Journal | None]:
    """Open a journal for a batch, and name it in a note; None if no journal is wanted.

    A file of the caller's own that has a batch is continued, where the same one was asked for. A
    journal that was not asked for is no reason to fail: where it can't be written, a note says so.
    An earlier interrupted batch is reported too, independent of the options.

    Args:
        options: The options of the command.
        output: The output for notes.
        kind: The kind of the batch's operations.
        place: The service and the project in force.
        typed: The options that the batch was called with, for `resume`.
        parent: The number of the batch whose failures it runs again.
        is_named: True to name the batch now; otherwise its name is printed at the end.

    Raises:
        ConfigError: The file that was asked for can't be used.
    """
    from testvibe_async.journal import Journal  # noqa: PLC0415 - see `stored_batches`
    from testvibe_async.runner.batches import require_whole  # noqa: PLC0415

    path, stored = options.journal, stored_batches()
    if options.no_journal:
        yield None
        return
    await report_interrupted()
    if path is not None:
        require_whole(path)
        async with Journal(path, options=typed) as journal:
            if journal.plan is not None and journal.is_over:
                raise ConfigError(
                    f"{path} has a batch that is over: see {NAME} report {path}, or name another "
                    "file"
                )
            yield journal
        return
    async with AsyncExitStack() as stack:
        kept_in: Journal | None = None
        try:
            record = stored.create(
                kind, place, name=options.name, project_name=typed["project"], parent=parent
            )
            kept_in = await stack.enter_async_context(stored.working_on(record, options=typed))
        except (ConfigError, OSError) as error:
            output.note(f"No journal is kept, so a crash would lose this batch: {error}")
        else:
            if is_named:
                output.say(f"{record}.")
        yield kept_in


@asynccontextmanager
async def opened(word: str, place: Place, output: Output) -> AsyncGenerator[Journal]:
    """Open the journal of a batch to resume it, name it, and record the process that runs it.

    Args:
        word: Its number, its name or its file.
        place: The service and the project in force.
        output: The output for notes.

    Raises:
        ConfigError: There is none, or it can't be used, or holds no batch.
    """
    from testvibe_async.journal import Journal  # noqa: PLC0415 - see `stored_batches`
    from testvibe_async.runner.batches import require_batch, require_existing  # noqa: PLC0415

    stored = stored_batches()
    record = stored.record_named(word, place)
    path = Path(word) if record is None else stored.journal_of(record)
    require_existing(path)
    if record is not None:
        await stored.read(record)  # Of one that runs elsewhere it says where.
    async with Journal(path) if record is None else stored.working_on(record) as journal:
        require_batch(journal)
        if record is not None:
            output.say(f"{record}.")
        yield journal


async def report_interrupted() -> None:
    """Report each interrupted batch once: its command did not shut down in order."""
    stored = stored_batches()
    for record, batch in await stored.interrupted():
        over = sum(item.outcome is not None for item in batch.items)
        warn(
            f"{record} of {clock_time(batch.created_at)} was interrupted, with "
            f"{over} of {plural(len(batch.items), 'operation')} over. Resume it: "
            f"{resume_command(stored.journal_of(record))}"
        )
