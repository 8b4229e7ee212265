"""A new batch: what it may cost, where it is kept, and who carries it.

Decides when to ask before credits are spent. A batch is carried by this command, with a journal
unless none is wanted, or stored in a database for any number of workers.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve

from testvibe_async import ConfigError, Journal
from testvibe_async.cli.batches import (
    durable_batch,
    durable_named,
    report_interrupted,
    stored_batches,
    work_command,
)
from testvibe_async.cli.exits import ExitCode, worst_of
from testvibe_async.cli.words import NAME, Item, item_name, plural
from testvibe_async.runner.forecast import Forecast, forecast
from testvibe_async.runner.generation_limit import LIMITED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

    from testvibe_async.cli.options import BatchOptions, Consent
    from testvibe_async.cli.watch import Watch
    from testvibe_async.runner.spec import BatchSpec


async def dispatch(  # noqa: PLR0913 - each by name
    watch: Watch,
    spec: BatchSpec,
    jobs: Sequence[Item],
    *,
    has_tests: Mapping[int | str, bool],
    generating: Collection[int | str] = (),
    consent: Consent,
    question: str | None,
    options: BatchOptions,
    parent: int | None = None,
    waits: bool,
) -> ExitCode:
    """Carry out a new batch, or store it for the workers of a database; return the exit code.

    Args:
        watch: The command.
        spec: The description of the batch.
        jobs: An item for each operation.
        has_tests: True or False for each feature of the jobs; missing if it is unknown.
        generating: The features that are being generated, likewise.
        consent: The generations that are allowed.
        question: The question asked before generations are dispatched, with {} for the number of
            features; None if they were requested by name.
        options: The options of the command for its batch.
        parent: The number of the batch whose failures run again.
        waits: True to wait for the dispatched operations.

    Raises:
        ConfigError: A database does not take it.
    """
    foreseen = partial(forecast, spec, has_tests=has_tests)
    if options.dry_run:
        most, jobs = consent.max_generations, spec.repeated(jobs)
        return _say_plan(watch, spec, foreseen(jobs, generating=generating, max_generations=most))
    if options.on is not None and (spec.repeat > 1 or spec.max_failures is not None):
        raise ConfigError("--on takes no --repeat and no --max-failures")
    if spec.may_generate:
        # A generation that is under way now may be over when its feature is dispatched.
        number = len(foreseen(jobs).generated)
        question = question and question.format(plural(number, "feature"))
        await consent.allow(watch.generations, number, question=question)
    if options.on is not None:
        return await _store(watch, spec, jobs, consent, options, parent=parent, waits=waits)
    if not waits:
        spec = evolve(spec, max_in_flight=len(jobs))
        if spec.waits_first:
            watch.connection.output.note(f"{spec.waits_first} first: minutes each.")
    async with _kept(watch, spec, options, parent=parent, is_named=waits) as journal:
        return await watch.perform(spec, jobs, journal, waits=waits)


def _say_plan(watch: Watch, spec: BatchSpec, plan: Forecast) -> ExitCode:
    """Print the dispatches that would be made, and their possible cost."""
    output, jobs = watch.connection.output, plan.dispatched
    output.rows(
        [{"feature": job.feature_name, "config": job.config} for job in jobs],
        ("Feature", "Config"),
        lambda job: [*job.values()],
    )
    costs = ", and each costs credits" if spec.kind == "generation" else ""
    if spec.kind == "run" and plan.generated:
        number = plural(len(plan.generated), "generation")
        costs = f", after {number} at most, which cost credits"
    output.note(f"{plural(len(jobs), spec.kind)} would be dispatched{costs}.")
    why = "without tests" if spec.kind == "run" else "being generated"
    ends = {
        f"refused, {why}": (plan.refused, ExitCode.REFUSED),
        LIMITED: (plan.limited, ExitCode.IN_FLIGHT),
    }
    for word, (items, _) in ends.items():
        if items:
            output.note(f"{len(items)} {word}: {', '.join(map(item_name, items))}.")
    return worst_of(code for items, code in ends.values() if items)


async def _store(  # noqa: PLR0913 - each by name
    watch: Watch,
    spec: BatchSpec,
    jobs: Sequence[Item],
    consent: Consent,
    options: BatchOptions,
    *,
    parent: int | None,
    waits: bool,
) -> ExitCode:
    """Store a batch in a database, and follow it if asked to."""
    output, name, database = watch.connection.output, options.name, options.on
    assert name is not None
    assert database is not None
    batch = durable_batch(database, name)
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
    batch, record = await durable_named(name, database, watch.place, output, parent=parent)
    if waits:
        return await watch.follow(batch, record, works=False)
    said = f"{record or f'Batch {name}'} {'is stored' if is_new else 'was stored before'}."
    document = {"batch": record and str(record.number), "name": name, "isNew": is_new}
    output.result(document, said)
    output.note(f"Work on it, on any machine: {work_command(name, batch.database)}")
    return ExitCode.PASSED


@asynccontextmanager
async def _kept(
    watch: Watch,
    spec: BatchSpec,
    options: BatchOptions,
    *,
    parent: int | None,
    is_named: bool,
) -> AsyncGenerator[Journal | None]:
    """Open a journal for a batch, and name it in a note; None if no journal is wanted.

    A file of the caller's own that has a batch is continued, where the same one was asked for. A
    journal that was not asked for is no reason to fail: where it can't be written, a note says so.
    An earlier interrupted batch is reported too, independent of the options.

    Args:
        watch: The command.
        spec: The description of the batch.
        options: The options of the command.
        parent: The number of the batch whose failures it runs again.
        is_named: True to name the batch now; otherwise its name is printed at the end.

    Raises:
        ConfigError: The file that was asked for can't be used.
    """
    output, stored = watch.connection.output, stored_batches()
    path = None if options.no_journal else options.journal
    project = watch.connection.project_name
    typed = {"batch": spec.to_dict(), "files": watch.outputs.files.kept, "project": project}
    async with AsyncExitStack() as stack:
        journal: Journal | None = None
        if not options.no_journal:
            await report_interrupted()
        if path is not None:
            # To begin anew what the file may have held would do its work twice.
            if path.exists() and not path.stat().st_size:
                raise ConfigError(
                    f"{path} is empty, and may have held a batch: remove it to begin another"
                )
            journal = await stack.enter_async_context(Journal(path, options=typed))
            if journal.plan is not None and journal.is_over:
                raise ConfigError(
                    f"{path} has a batch that is over: see {NAME} report {path}, or name another "
                    "file"
                )
        elif not options.no_journal:
            try:
                record = stored.create(
                    *(spec.kind, watch.place),
                    name=options.name,
                    project_name=project,
                    parent=parent,
                )
                journal = await stack.enter_async_context(stored.working_on(record, options=typed))
            except (ConfigError, OSError) as error:
                output.note(f"No journal is kept, so a crash would lose this batch: {error}")
            else:
                if is_named:
                    output.say(f"{record}.")
        yield journal
