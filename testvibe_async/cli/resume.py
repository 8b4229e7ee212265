"""`testvibe-async wait` and `resume`: earlier dispatches.

Decides which operations or which batch is meant, and the decision on unknown dispatches. To resume
a batch is to make the same call with its key, which is decided in `testvibe_async.batch`.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from attrs import evolve
from cyclopts import Parameter

from testvibe_async import BatchItem, ConfigError, Run, RunRef, Verdict, VibeError
from testvibe_async.cli.common import common, stored_batches
from testvibe_async.cli.names import operations_of, read_dispatches, read_ref
from testvibe_async.cli.options import Consent, Files, Timeout
from testvibe_async.cli.text import STDIN, read_text
from testvibe_async.cli.watch import watching
from testvibe_async.ledger import folded, undecided
from testvibe_async.models import DEFAULT_CONFIG
from testvibe_async.runner.codes import ExitCode  # noqa: TC001 - cyclopts reads it
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.words import (
    NAME,
    counted,
    item_name,
    started,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from testvibe_async import Client, Operation
    from testvibe_async.cli.text import Item
    from testvibe_async.cli.watch import Watch
    from testvibe_async.errors import KindName
    from testvibe_async.ledger import Row
    from testvibe_async.runner.history import KeptBatch


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
    --report, except for --max-failures; those given here override them. What 'run --failed' ran
    again of it since is part of it, as with 'report'.

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
    given = common.get()
    async with stored_batches() as (batches, place):
        found = await batches.to_resume(batch, place)
    decision = _decision(found, unknown) if unknown else None
    if found.is_running:
        given.output.note(f"{found} is still running; this command shares its work.")
    # What is suggested names the project only if another one is in force here.
    is_here = place.server and place.project and place.has(found)
    suggested = given.place if is_here else None
    if (place.server, place.project) != (found.server, found.project) or given.project:
        common.set(evolve(given, server=found.server, project=found.project))
    files = files.or_kept(found.spec.files)
    async with watching(files=files, timeout=timeout) as watch:
        if suggested is not None:
            watch.know(place=suggested)
        spec = evolve(found.spec, max_failures=None)
        return await resume_batch(
            watch, found, spec, consent=consent, decision=decision, feature=feature
        )


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
    may_resend = decision in {None, "resend"} or feature is not None
    left = sum(
        batch.kind == "generation"
        and _is_left(item)
        and (may_resend or item.verdict is not Verdict.UNKNOWN)
        for item in batch.items
    )
    if consent is not None:
        question = (
            f"{batch}, {started(batch.started_at)}, may dispatch "
            f"{counted(left, 'generation')}, and each costs credits. Resume it?"
        )
        await consent.allow(watch.generations, left, question=question)
    await watch.resume(batch)
    if decision is not None:  # Nothing is decided where the rest is refused.
        await _decide(watch, batch, decision, feature)
    return await watch.perform(spec, None, batch.items, key=batch.key, waits=waits)


def _is_left(item: Item) -> bool:
    """Return whether to resume a batch may dispatch an item's operation, also a refused one."""
    return item.ref is None and item.outcome is None and not item.is_dropped


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


async def wait(*operations: str, timeout: Timeout = None, files: Files = Files()) -> ExitCode:
    """Wait for runs and generations that were dispatched before, by any client.

    An operation is the id of a run, the name of a feature for what it has in flight, or a ref: what
    the other commands print of an operation with --json. Standard input has refs, one a line, or
    the batch that 'run --json' or 'generate --json' printed. A feature of a batch that was refused,
    or whose dispatch is unknown, is named, and counts for the exit code.

    For example:

        testvibe-async wait 214 215 --timeout 120 --report junit.xml
        testvibe-async wait Checkout
        testvibe-async wait < runs.json
        testvibe-async run Checkout --json | testvibe-async wait

    The exit codes are those of run --wait.

    Args:
        operations: Ids of runs, names of features, or refs as JSON; else those on standard input.
        timeout: Maximum time to wait.
        files: The files to write.
    """
    words = [each for each in operations if not each.startswith("{")]
    named = [read_ref(each) for each in operations if each.startswith("{")]
    others: list[Item] = []
    kind: KindName = "run"
    if not operations and not sys.stdin.isatty():
        named, others, kind = read_dispatches(read_text(Path(STDIN)))
    if not (words or named or others):
        raise ConfigError(
            "nothing to wait for: give run ids, features or refs, or the output of 'run --json' "
            f"on standard input; to continue the last batch: {NAME} resume"
        )

    async with watching(files=files, timeout=timeout) as watch:
        watch.know(spec=BatchSpec(kind=kind))
        client = watch.connection.client
        async with watch.limit.waiting_for("what is in flight"):
            seen = await asyncio.gather(*(operations_of(watch.connection, word) for word in words))
        all_named = {ref.key: ref for each in (named, *seen) for ref in each}
        # One of another server is refused before any is waited for.
        awaited = [client.attach(ref) for ref in all_named.values()]
        in_flight = {each.ref.key: item_of(each) for each in awaited}
        mark = watch.quarantine.mark

        async def completions() -> AsyncGenerator[Item]:
            for item in others:
                yield item
            async for item in completions_of(client, awaited, timeout=watch.limit.remaining):
                assert item.ref is not None
                in_flight[item.ref.key] = mark(item)
                yield item

        progress = watch.progress
        progress.follow([*in_flight.values(), *others], lambda: [*in_flight.values(), *others])
        async with progress.following(client.changes(awaited), item_of):
            await watch.collect(aclosing(completions()), counted(len(in_flight), "operation"))
        code = await watch.conclude()
        if watch.batches is not None:
            for each in await watch.batches.record(watch.progress.items):
                watch.output.note(f"{each} has the results.")
        return code


async def completions_of(
    client: Client, operations: Sequence[Operation[Any]], *, timeout: float | None
) -> AsyncGenerator[Item]:
    """Yield operations' items as they complete; at the timeout, the items of all others.

    Args:
        client: The client of the operations.
        operations: The operations.
        timeout: Seconds to wait; None for as long as it takes.

    Raises:
        VibeError: The error concerns no single operation.
    """
    by_key = {each.ref.key: each for each in operations}
    finished = client.finished(operations, timeout=timeout)
    for _ in by_key:
        error = None
        try:
            operation: Operation[Any] = await anext(finished)
        except VibeError as caught:
            if caught.ref is None:
                raise
            operation, error = by_key[caught.ref.key], caught
        yield item_of(operation, error)


def item_of(operation: Operation[Any], error: VibeError | None = None) -> Item:
    """Return the item of an operation, as last observed.

    Args:
        operation: The operation.
        error: The error with which the wait for it ended; None if it is over, or waited for.
    """
    ref, snapshot = operation.ref, operation.snapshot
    name = snapshot.feature_name if snapshot else None
    config: str | None = getattr(snapshot, "config", None)
    feature = snapshot.feature_id if snapshot else getattr(ref, "feature_id", None)
    return BatchItem(
        feature=ref.to_json(),
        name=name or (str(ref) if feature is None else f"feature {feature}"),
        config=None if config == DEFAULT_CONFIG else config,
        ref=ref,
        outcome=None if error else operation.outcome,
        error=error,
    )
