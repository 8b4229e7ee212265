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

from attrs import evolve

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
from testvibe_async.cli.words import NAME, plural
from testvibe_async.runner.forecast import forecast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async.adapters.durable import DurableBatch
    from testvibe_async.cli.batches import BatchOptions
    from testvibe_async.cli.options import Consent
    from testvibe_async.cli.watch import Watch
    from testvibe_async.cli.words import Item
    from testvibe_async.runner.batches import BatchRecord
    from testvibe_async.runner.spec import BatchSpec

__all__ = ["cancel", "dispatch", "follow", "work"]

FOLLOW_SECONDS = 2.0
"""Seconds between two reads of a batch that is followed."""


async def dispatch(  # noqa: PLR0913 - each by name
    watch: Watch,
    spec: BatchSpec,
    jobs: Sequence[Item],
    *,
    has_tests: Mapping[int | str, bool],
    consent: Consent,
    question: str | None,
    options: BatchOptions,
    parent: int | None = None,
    waits: bool,
) -> ExitCode:
    """Carry out a new batch, as `Watch.dispatch` does, or store it for the workers of a database.

    Args:
        watch: The command.
        spec: The description of the batch.
        jobs: An item for each operation.
        has_tests: True or False for each feature of the jobs; missing if it is unknown.
        consent: The generations that are allowed.
        question: The question asked before generations are dispatched, with {} for the number of
            features; None if they were requested by name.
        options: The options of the command for its batch.
        parent: The number of the batch whose failures run again.
        waits: True to wait for the dispatched operations.

    Raises:
        ConfigError: A database does not take it.
    """
    if options.dry_run:
        most = consent.max_generations
        return watch.say_plan(
            spec,
            forecast(spec, spec.repeated(jobs), has_tests=has_tests, max_generations=most),
        )
    if options.on is not None and (spec.repeat > 1 or spec.max_failures is not None):
        raise ConfigError("--on takes no --repeat and no --max-failures")
    if spec.may_generate:
        number = len(forecast(spec, jobs, has_tests=has_tests).generated)
        question = question and question.format(plural(number, "feature"))
        await consent.allow(watch.generations, number, question=question)
    if options.on is None:
        return await watch.dispatch(spec, jobs, options=options, parent=parent, waits=waits)
    output, name = watch.connection.output, options.name
    assert name is not None
    batch = durable_batch(options.on, name)
    is_new = await batch.submit(
        watch.client,
        jobs,
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
    batch, record = await durable_named(name, options.on, watch.place, output, parent=parent)
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
    async with watching(common, files=files) as watch:
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
        line, noted = "" if works else live_line(found), ""  # It is no worker yet.
        while found.is_live:
            if line != noted:
                watch.connection.output.note(noted := line)
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                found = await read_durable(batch, record)
                line = live_line(found)
            except ConfigError as error:  # The batch continues on machines that reach the database.
                line = str(error)

    mark = watch.quarantine.mark
    watch.progress.follow(watch.client, (), lambda: list(map(mark, found.items)), is_shared=True)
    watch.result = evolve(watch.result, journal=None if record is None else found.path)
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
