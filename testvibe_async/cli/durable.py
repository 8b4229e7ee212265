"""Durable batches: `run --on`, `testvibe-async work` and `cancel`, and how each is followed.

Decides how the state of a durable batch is followed and shown, while this process works on it or
not. The fate of a batch is decided in `testvibe_async.adapters.durable`, which is an extra, and is
loaded when it is used.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from typing import TYPE_CHECKING

from testvibe_async import ConfigError
from testvibe_async.cli.batches import (
    On,
    durable_batch,
    durable_named,
    place_of,
    read_durable,
    work_command,
)
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.options import NO_FILES, Files
from testvibe_async.cli.result import live_line, result_of
from testvibe_async.cli.watch import watching
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from testvibe_async.adapters.durable import DurableBatch
    from testvibe_async.cli.batches import JournalOptions
    from testvibe_async.cli.options import Consent
    from testvibe_async.cli.watch import Watch, Work
    from testvibe_async.runner.batches import BatchRecord

__all__ = ["cancel", "dispatch", "follow", "work"]

FOLLOW_SECONDS = 2.0
"""Seconds between two reads of a batch that is followed."""


async def dispatch(  # noqa: PLR0913 - each by name
    watch: Watch,
    work: Work,
    *,
    consent: Consent,
    journal: JournalOptions,
    dry_run: bool,
    waits: bool,
) -> ExitCode:
    """Carry out a new batch, as `Watch.dispatch` does, or store it for the workers of a database.

    Raises:
        ConfigError: A database does not take it.
    """
    if journal.on is None or dry_run or not work.jobs:
        return await watch.dispatch(
            work, consent=consent, journal=journal, dry_run=dry_run, waits=waits
        )
    spec, output, name = work.spec, watch.connection.output, journal.name
    assert name is not None
    if spec.repeat > 1 or spec.max_failures is not None:
        raise ConfigError("--on takes no --repeat, --max-failures or --stop-on-failure")
    if spec.may_generate:
        await consent.allow(watch.generations, len(work.jobs), question=work.question)
    batch = durable_batch(journal.on, name)
    is_new = await batch.submit(
        watch.client,
        work.jobs,
        kind=spec.kind,
        project=watch.project.id,
        site_url=spec.site_url,
        on_conflict=spec.on_conflict,
        attempts=spec.attempts,
        max_in_flight=spec.max_in_flight,
        max_generations=consent.max_generations,
        missing_only=spec.is_all,
    )
    if not is_new and (await batch.status()).is_over:
        raise ConfigError(f"batch {name!r} in {batch.database} is over: choose another --name")
    batch, record = await durable_named(name, journal.on, watch.place, output, parent=work.parent)
    if waits:
        return await follow(watch, batch, record, works=False)
    label = record or f"Batch {name}"
    document = {"batch": record and str(record.number), "name": name, "isNew": is_new}
    output.document(document)
    output.say(f"{label} is stored." if is_new else f"{label} was stored before.")
    output.note(f"Work on it, on any machine: {work_command(name, batch.database)}")
    return ExitCode.PASSED


async def work(
    batch: str,
    /,
    *,
    on: On = None,
    files: Files = NO_FILES,
    common: Common = COMMON,
) -> ExitCode:
    """Work on a durable batch until it is over, together with all others that do.

    'run --on' stores such a batch. Stop this with Ctrl-C at any time: what is in flight continues,
    and any other worker resumes it.

    For example:

        testvibe-async work nightly --on postgresql://db.example/tests
        testvibe-async work 12 --report junit.xml

    The exit codes are those of run --wait.

    Args:
        batch: Its name; or its number on this machine.
        on: Its database, as with run; by default that of the batch of that name or number here.
        files: The files to write.
        common: The options of every command.
    """
    files.check()
    found, record = await durable_named(batch, on, place_of(common), common.output)
    async with watching(common, files=files, has_events=common.json_lines) as watch:
        watch.generations.allowed = sys.maxsize  # The batch has a limit of its own.
        return await follow(watch, found, record, works=True)
    return ExitCode.INTERRUPTED


async def cancel(batch: str, /, *, on: On = None, common: Common = COMMON) -> None:
    """Dispatch nothing more of a durable batch. What is in flight is waited for by its workers.

    'resume' undoes that. A batch that is not in a database is stopped by Ctrl-C.

    For example:

        testvibe-async cancel nightly --on postgresql://db.example/tests

    Args:
        batch: Its name; or its number on this machine.
        on: Its database, as with work.
        common: The options of every command.
    """
    try:
        found, record = await durable_named(batch, on, place_of(common), common.output)
    except ConfigError as error:
        hint = f"for the generation of a feature, {NAME} generation cancel {shlex.quote(batch)}"
        raise ConfigError(f"{error}; {hint}") from error
    await found.cancel()
    result = result_of(await read_durable(found, record), common)
    common.output.result(result.document, result.last_line)


async def follow(
    watch: Watch, batch: DurableBatch, record: BatchRecord | None, *, works: bool
) -> ExitCode:
    """Follow a durable batch to its end or the time limit, and return the exit code.

    Args:
        watch: The command.
        batch: The batch.
        record: Its record here; None if it has none.
        works: True to work on it meanwhile.

    Raises:
        VibeError: This worker can do nothing for it any more.
    """
    found = await read_durable(batch, record)

    async def note_changes() -> None:
        nonlocal found
        line, noted = live_line(found), ""
        while found.is_live:
            if line != noted:
                watch.connection.output.note(noted := line)
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                found = await read_durable(batch, record)
                line = live_line(found)
            except ConfigError as error:  # The batch goes on where the database is reached.
                line = str(error)

    watch.progress.follow(lambda: list(map(watch.quarantine.mark, found.items)), is_shared=True)
    watch.outputs.journal = None if record is None else found.path
    noting = asyncio.create_task(note_changes())
    limit = asyncio.timeout(watch.limit.remaining)
    try:
        async with limit:
            await (batch.work(watch.client) if works else noting)
            found = await read_durable(batch, record)
    except TimeoutError:
        if not limit.expired():
            raise
    finally:
        noting.cancel()
        await asyncio.wait([noting])
    for item in found.items:
        watch.outputs.fetch(item, watch.client)
    return await watch.conclude(found)
