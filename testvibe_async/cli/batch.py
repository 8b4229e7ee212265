"""`testvibe-async batch`: batches in a database, which workers on any machine work on.

Decides where the database is, and how a batch is shown. The fate of a batch is decided in
`testvibe_async.adapters.durable`, which is an extra, and is loaded when it is used.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import platformdirs
from cyclopts import App, Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import ConfigError
from testvibe_async.cli.batches import decision_of, stored_batches
from testvibe_async.cli.closing import conclude
from testvibe_async.cli.common import COMMON, Common, connected
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.options import NO_CONSENT, NO_FILES, Consent, Files
from testvibe_async.cli.outputs import Outputs
from testvibe_async.cli.result import Result
from testvibe_async.cli.words import NAME, plural
from testvibe_async.runner.batches import Place
from testvibe_async.runner.generation_limit import GenerationLimit
from testvibe_async.runner.selection import select
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from testvibe_async.adapters.durable import BatchStatus, DurableBatch

__all__ = ["app"]

app: App = App(
    name="batch",
    help="Run batches that outlive every process, with workers on one machine or many.",
)

Database = Annotated[str | None, Parameter(name="--db")]
"""The type of the option that names the database of batches."""

_QUESTION = "May the workers dispatch generations? Each one costs credits."

WATCH_SECONDS = 2.0
"""Seconds between two reads of a batch that is watched."""


@app.command
async def start(  # noqa: PLR0913 - each an option of its own
    name: str,
    *features: str,
    all_: bool = False,
    db: Database = None,
    config: tuple[str, ...] = (),
    site_url: str | None = None,
    kind: Literal["run", "generation"] = "run",
    on_conflict: Literal["raise", "generate", "attach", "wait"] = "raise",
    consent: Consent = NO_CONSENT,
    attempts: PositiveInt = 1,
    max_in_flight: PositiveInt | None = None,
    common: Common = COMMON,
) -> None:
    """Store a batch, for `batch work` to work on. The same one again does nothing.

    For example:

        testvibe-async batch start nightly --all
        testvibe-async batch start nightly 'Log*' Checkout --db postgresql://db.example/tests

    Args:
        name: The name of the batch.
        features: Names, ids, or globs such as 'Log*'.
        all_: All features: those that have tests, or for generations those that have none.
        db: Database of the batches: a SQLite file for the workers of one machine, or
            postgresql://…; by default a file in your state folder.
        config: The run configuration; several, and each feature runs with each.
        site_url: The site to test, in place of the project's own.
        kind: The operation to dispatch for each feature.
        on_conflict: The treatment of a feature that has no tests, or is generating, as with run and
            generate.
        consent: The generations that are allowed, for all workers together.
        attempts: Maximum number of runs of a feature, as with run.
        max_in_flight: Maximum operations in flight per worker; 100 runs or 10 generations by
            default.
        common: The options of every command.
    """
    async with connected(common) as connection:
        project = connection.project
        spec = BatchSpec(
            kind=kind, features=features, is_all=all_, configs=config, on_conflict=on_conflict
        )
        chosen = await select(project, spec)
        for note in chosen.notes:
            common.output.note(note)
        if spec.may_generate:
            await consent.allow(GenerationLimit(), 1, question=_QUESTION)
        is_new = await _batch(name, db).submit(
            connection.client,
            chosen.features,
            kind=kind,
            project=project.id,
            config=chosen.configs,
            site_url=site_url,
            on_conflict=on_conflict,
            attempts=attempts,
            max_in_flight=max_in_flight,
            max_generations=consent.max_generations,
        )
    output = common.output
    output.document({"batch": name, "isNew": is_new})
    output.say(f"Batch {name} is stored." if is_new else f"Batch {name} was stored before.")
    output.note(f"Work on it, on any machine: {NAME} batch work {name}{_option(db)}")


@app.command
async def work(
    name: str,
    *,
    db: Database = None,
    files: Files = NO_FILES,
    common: Common = COMMON,
) -> ExitCode:
    """Work on a batch until it is over, together with all others that do.

    Once it is over, it is kept as a batch of your state folder too, with a number, for report,
    history and run --failed. Stop it with Ctrl-C at any time: what is in flight continues, and any
    worker resumes it.

    For example:

        testvibe-async batch work nightly --report junit.xml

    The exit codes are those of run --wait.

    Args:
        name: The name of the batch.
        db: Database of the batch, as with start.
        files: The files to write.
        common: The options of every command.
    """
    files.check()
    batch, outputs = _batch(name, db), Outputs(files, common.output)
    async with connected(common) as connection:
        before = await batch.status()
        await batch.work(connection.client)
        found = await batch.status()
        if found.is_over and not (before.is_over or found.is_cancelled):
            await _keep(batch, connection.project_name, common)
        for item in found.items:
            outputs.fetch(item, connection.client)
        return await _conclude(name, found, common, db=db, outputs=outputs)


@app.command
async def status(
    name: str,
    *,
    watch: bool = False,
    files: Files = NO_FILES,
    db: Database = None,
    common: Common = COMMON,
) -> ExitCode:
    """Show how far a batch has come, and report on it, without asking the service.

    For example:

        testvibe-async batch status nightly --watch
        testvibe-async batch status nightly --report junit.xml --report report.html

    With --watch or --report the exit codes are those of run --wait.

    Args:
        name: The name of the batch.
        watch: Show each change until the batch is over.
        files: The files to write.
        db: Database of the batch, as with start.
        common: The options of every command.
    """
    files.check(can_download=False)
    batch, output = _batch(name, db), common.output
    found = await batch.status()
    shown = ""
    while watch and not found.is_settled:
        if (line := _line(name, found)) != shown:
            output.note(line)
            shown = line
        await asyncio.sleep(WATCH_SECONDS)
        found = await batch.status()
    code = await _conclude(name, found, common, db=db, outputs=Outputs(files, output))
    return code if watch or files != NO_FILES else ExitCode.PASSED


@app.command
async def cancel(name: str, *, db: Database = None, common: Common = COMMON) -> None:
    """Dispatch nothing more of a batch; operations in flight continue.

    For example:

        testvibe-async batch cancel nightly

    Args:
        name: The name of the batch.
        db: Database of the batch, as with start.
        common: The options of every command.
    """
    batch = _batch(name, db)
    await batch.cancel()
    await _conclude(name, await batch.status(), common, db=db)


@app.command
async def resume(name: str, *, db: Database = None, common: Common = COMMON) -> None:
    """Resume a batch after cancel, with dispatches that could not be sent or are unknown.

    After a crash no resume is needed: `batch work` continues.

    For example:

        testvibe-async batch resume nightly

    Args:
        name: The name of the batch.
        db: Database of the batch, as with start.
        common: The options of every command.
    """
    features = await _batch(name, db).resume()
    common.output.document({"batch": name, "features": features})
    common.output.say(f"Batch {name} resumes with {plural(len(features), 'feature')}.")


@app.command
async def decide(
    name: str,
    *decision: str,
    feature: str | None = None,
    db: Database = None,
    common: Common = COMMON,
) -> None:
    """Decide unknown dispatches, which may or may not have taken effect.

    For example:

        testvibe-async batch decide nightly resend
        testvibe-async batch decide nightly adopt 214 --feature Checkout

    Args:
        name: The name of the batch.
        decision: Resend, which may do the work twice, drop, or adopt and the id of the run.
        feature: The feature that the decision is for; all by default.
        db: Database of the batch, as with start.
        common: The options of every command.
    """
    batch = _batch(name, db)
    decided = decision_of(await batch.plan(), decision)
    features = await batch.decide(decided, feature=feature)
    common.output.document({"batch": name, "features": features})
    common.output.say(f"Decided for {plural(len(features), 'feature')}: {' '.join(decision)}.")


async def _keep(batch: DurableBatch, project_name: str | None, common: Common) -> None:
    """Copy a batch that is over to the batches of the state folder."""
    plan, stored = await batch.plan(), stored_batches()
    place = Place(plan.server, plan.project)
    try:
        record = stored.create(plan.kind, place, name=batch.id, project_name=project_name)
        async with stored.working_on(record) as journal:
            await batch.copy_to(journal)
    except (OSError, ConfigError) as error:
        common.output.note(f"It could not be kept in your state folder: {error}")
    else:
        common.output.note(f"It is kept as batch {record.number}: {NAME} report {record.number}")


def _batch(name: str, db: str | None) -> DurableBatch:
    """Return a batch; nothing is asked yet.

    Raises:
        ConfigError: The database is no such thing.
    """
    from testvibe_async.adapters.durable import DurableBatch  # noqa: PLC0415 - an extra

    if db is None:
        folder = platformdirs.user_state_path(NAME)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = str(folder / "batches.sqlite")
    return DurableBatch(db, id=name)


async def _conclude(
    name: str,
    found: BatchStatus,
    common: Common,
    *,
    db: str | None,
    outputs: Outputs | None = None,
) -> ExitCode:
    """Write the reports, print how far a batch has come, and return the exit code."""
    outputs = outputs or Outputs(NO_FILES, common.output)
    result = Result.stored(
        found.items,
        common.place,
        fails_on_flaky=outputs.files.fail_on_flaky,
        facts={
            "batch": name,
            "isOver": found.is_over,
            "isCancelled": found.is_cancelled,
            "workers": [*found.workers],
        },
        headline=_line(name, found),
    )
    code = await conclude(result, outputs, common)
    if not found.is_settled and not found.workers:
        work = f"{NAME} batch work {name}{_option(db)}"
        common.output.note(f"No worker is running; start one: {work}")
    if result.summary.unknown:
        common.output.note(
            f"Decide what is unknown: {NAME} batch decide {name} resend, drop, or adopt ID"
            f"{_option(db)}"
        )
    return code


def _line(name: str, found: BatchStatus) -> str:
    state = "over" if found.is_settled else "cancelled" if found.is_cancelled else "running"
    workers = plural(len(found.workers), "worker")
    return f"Batch {name}, {state}, {workers}: {found.summary}"


def _option(db: str | None) -> str:
    """Return the option that names a database; one with a password is not repeated."""
    if db is None:
        return ""
    return f" --db {db}" if "@" not in db else " --db postgresql://…"
