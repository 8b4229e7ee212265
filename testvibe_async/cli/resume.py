"""`testvibe-async resume` and `run --failed`: the rest of a batch, and a further attempt.

Decides which batch is meant, how many attempts it may have, and the decision on unknown dispatches.
To resume a batch is to make the same call with its key, which is decided in `testvibe_async.batch`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import evolve
from cyclopts import Parameter

from testvibe_async import ConfigError, Run, RunRef, Verdict
from testvibe_async.cli.common import common, stored_batches
from testvibe_async.cli.options import Consent, Files, Timeout
from testvibe_async.cli.watch import watching
from testvibe_async.ledger import folded, undecided
from testvibe_async.runner.codes import ExitCode  # noqa: TC001 - cyclopts reads it
from testvibe_async.runner.outcome import has_failed, is_left
from testvibe_async.runner.quarantine import Quarantine
from testvibe_async.runner.words import command, counted, item_name, started

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from testvibe_async.cli.watch import Watch
    from testvibe_async.ledger import Row
    from testvibe_async.runner.history import KeptBatch, Place
    from testvibe_async.runner.spec import BatchSpec


async def resume(  # noqa: PLR0913 - each an option of its own
    batch: str | None = None,
    /,
    *,
    unknown: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    feature: str | None = None,
    timeout: Timeout = None,
    consent: Consent = Consent(),
    files: Files = Files(),
) -> ExitCode:
    """Resume a batch that was interrupted by a crash, Ctrl-C or a time-out.

    What was dispatched is waited for, what may have been dispatched is looked for, and the rest is
    dispatched: nothing is done twice. The original options are used again, such as --attempts and
    --report, except for --max-failures; those given here override them.

    For example:

        testvibe-async resume
        testvibe-async resume 12 --report junit.xml
        testvibe-async resume --unknown adopt 214 --feature Checkout

    The exit codes are those of run --wait.

    Args:
        batch: Its number or its key; by default the last one of this project that is not over.
        unknown: What to do with a dispatch that may have started (resend, adopt ID, drop): resend
            may do the work twice, adopt takes the id of the run that it was.
        feature: The feature that --unknown is for, as it is shown; all by default.
        timeout: Maximum duration of the batch.
        consent: The generations that may be dispatched, if any are left. By default it asks.
        files: The files to write.
    """
    if feature is not None and not unknown:
        raise ConfigError("--feature needs --unknown")
    async with stored_batches() as (batches, place):
        found = await batches.to_resume(batch, place)
    decision = _decision(found, unknown) if unknown else None
    if found.is_running:
        common.get().output.note(f"{found} is still running; this command shares its work.")
    spec = evolve(found.spec, max_failures=None)
    async with _watching(found, place, files=files, timeout=timeout) as watch:
        return await resume_batch(
            watch, found, spec, consent=consent, decision=decision, feature=feature
        )


async def run_failed(
    batch: str | None, asked: BatchSpec, *, files: Files, timeout: float | None
) -> ExitCode:
    """Resume a batch of runs, with further attempts for what failed.

    Args:
        batch: Its number or its key; None for the last one of this project.
        asked: The options of the command.
        files: The files to write.
        timeout: Maximum duration in seconds.

    Raises:
        ConfigError: There is no such batch, it has generations, is running, or repeats its runs.
    """
    async with stored_batches() as (batches, place):
        found = (await batches.meant(batch, place, kind="run")).judged(Quarantine.read())
    if found.kind != "run":
        shows = command("report", str(found.number))
        raise ConfigError(f"{found} has {found.kind}s, and --failed repeats runs: see {shows}")
    if found.is_running:
        raise ConfigError(f"{found} is still running: wait for its end")
    failed, total = sum(map(has_failed, found.items)), len(found.items)
    note = f"{found}, {started(found.started_at)}; to run again: {failed} of {total}."
    common.get().output.note(note)
    made = max((len(item.attempts) for item in found.items), default=0)
    attempts = max(found.attempts, made + asked.attempts) if failed else found.attempts
    spec = evolve(
        found.spec,
        attempts=attempts,
        max_failures=asked.max_failures,
        max_in_flight=asked.max_in_flight or found.spec.max_in_flight,
    )
    async with _watching(found, place, files=files, timeout=timeout) as watch:
        return await resume_batch(watch, found, spec, consent=None)


@asynccontextmanager
async def _watching(
    batch: KeptBatch, place: Place, *, files: Files, timeout: float | None
) -> AsyncGenerator[Watch]:
    """Open a client for a batch, which may be of another place than that in force."""
    given = common.get()
    # What is suggested names the project only if another one is in force here.
    is_here = place.server and place.project and place.has(batch)
    if place != batch.place or given.project:
        common.set(evolve(given, server=batch.server, project=batch.project))
    async with watching(files=files.or_kept(batch.spec.files), timeout=timeout) as watch:
        if is_here:
            watch.know(place=given.place)
        yield watch


async def resume_batch(  # noqa: PLR0913 - each by name
    watch: Watch,
    batch: KeptBatch,
    spec: BatchSpec,
    *,
    consent: Consent | None,
    decision: Literal["resend", "drop"] | RunRef | None = None,
    feature: str | None = None,
    waits: bool = True,
) -> ExitCode:
    """Resume a batch, and return the exit code.

    Args:
        watch: The command.
        batch: The batch.
        spec: Its description; that of its first command if the present one says nothing else.
        consent: The generations that are allowed; None for none.
        decision: What to do with dispatches that may have started; None to look for them alone.
        feature: The feature that the decision is for; None for all.
        waits: True to wait for the operations.
    """
    if consent is not None and batch.kind != "run":
        may_resend = decision in {None, "resend"} or feature is not None
        left = sum(
            is_left(item) and (may_resend or item.verdict is not Verdict.UNKNOWN)
            for item in batch.items
        )
        question = (
            f"{batch}, {started(batch.started_at)}, may dispatch "
            f"{counted(left, 'generation')}, and each costs credits. Resume it?"
        )
        await consent.allow(watch.generations, left, question=question)
    if decision is not None:  # Nothing is decided where the rest is refused.
        await _decide(watch, batch, decision, feature)
    return await watch.perform(spec, None, key=batch.key, waits=waits)


async def _decide(
    watch: Watch,
    batch: KeptBatch,
    decision: Literal["resend", "drop"] | RunRef,
    feature: str | None,
) -> None:
    """Note the decision on unknown dispatches in the ledger.

    Raises:
        ConfigError: It is not for these, or the run is another feature's.
        NotFoundError: There is no such run.
    """
    ledger, config = watch.generations, None
    for item in batch.items:  # A name with its configuration, as they are shown.
        if item.config is not None and feature == item_name(item):
            feature, config = str(item.feature), item.config
    if isinstance(decision, RunRef):
        run = await watch.connection.project.get_run(decision.run_id)
        for row in undecided(await ledger.rows(batch.key)):
            names = {str(row.feature), row.name or ""}
            is_meant = row.project == batch.project and config in {None, row.config}
            is_meant = is_meant and (feature is None or folded(feature) in map(folded, names))
            if is_meant and (problem := row.contradiction(run) or _other_name(row, run)):
                raise ConfigError(f"{decision} is not what was dispatched: {problem}")
    if decision == "resend":
        watch.output.note("Lost requests may still take effect for up to a minute; waiting.")
    place = {"server": batch.server, "project": batch.project}
    await ledger.decide(batch.key, decision, feature=feature, config=config, **place)


def _other_name(row: Row, run: Run) -> str | None:
    """Return that a run is of a feature of another name than was requested; None if it is not."""
    asked = row.name or (row.feature if isinstance(row.feature, str) else None)
    if asked is None or not run.feature_name or asked.isdecimal():
        return None
    if folded(asked) == folded(run.feature_name):
        return None
    return f"it is a run of {run.feature_name!r}, and {asked!r} was requested"


def _decision(batch: KeptBatch, words: Sequence[str]) -> Literal["resend", "drop"] | RunRef:
    """Return the decision on unknown dispatches that words are.

    Raises:
        ConfigError: They are none.
    """
    match [word for each in words for word in each.split("=")]:
        case ["resend"]:
            return "resend"
        case ["drop"]:
            return "drop"
        case ["adopt", number] if number.isdecimal() and batch.kind == "run":
            return RunRef(server=batch.server, project=batch.project, run_id=int(number))
        case _:
            raise ConfigError(
                "--unknown takes resend, drop, or adopt and the id of a run: --unknown adopt 214"
            )
