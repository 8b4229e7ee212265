"""`testvibe-async wait`, `resume` and `report`: earlier dispatches.

Decides which operations or which batch is meant, and the decision on unknown dispatches. How a
batch resumes is decided in `testvibe_async.batch`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import evolve
from cyclopts import Parameter

from testvibe_async import ConfigError, RunRef, Verdict
from testvibe_async.cli.batches import place_of, stored_batches
from testvibe_async.cli.closing import conclude
from testvibe_async.cli.common import Common
from testvibe_async.cli.completion import OperationName  # noqa: TC001 - cyclopts reads it
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.names import operations_of, read_dispatches, read_ref
from testvibe_async.cli.options import Consent, Files, Timeout
from testvibe_async.cli.output import TextFile, name_of, read_text
from testvibe_async.cli.outputs import Outputs
from testvibe_async.cli.progress import counts_of
from testvibe_async.cli.result import is_left, result_of
from testvibe_async.cli.watch import watching
from testvibe_async.cli.words import NAME, Item, plural, started
from testvibe_async.runner.kinds import POLICIES
from testvibe_async.runner.stored import Batch
from testvibe_async.runner.waits import completions_of, item_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from testvibe_async.runner.records import BatchRecord


async def resume(  # noqa: PLR0913 - each an option of its own
    batch: str | None = None,
    /,
    *,
    unknown: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    feature: str | None = None,
    list_: Annotated[bool, Parameter(name="--list")] = False,
    timeout: Timeout = None,
    consent: Consent = Consent(),
    files: Files = Files(),
    common: Common = Common(),
) -> ExitCode:
    """Resume a batch that was interrupted by a crash, Ctrl-C or a time-out.

    What was dispatched is waited for, what may have been dispatched is looked for, and the rest is
    dispatched: nothing is done twice. The options of the command that began it hold on, such as
    --attempts and --report; those given here come first. What 'run --failed' ran again of it since
    is part of it, as with 'report'.

    For example:

        testvibe-async resume
        testvibe-async resume 12 --report junit.xml
        testvibe-async resume --unknown adopt 214 --feature Checkout

    The exit codes are those of run --wait.

    Args:
        batch: Its number or its name: the last one of that name, by default of this project, that
            is not over.
        unknown: What to do with a dispatch that may have started (resend, adopt ID, drop): resend
            may do the work twice, adopt takes the id of the run that it was.
        feature: The feature that --unknown is for; all by default.
        list_: Only list the batches of this project that are not over.
        timeout: Maximum duration of the batch.
        consent: The generations that may be dispatched, if any are left. By default it asks.
        files: The files to write.
        common: The options of every command.
    """
    if list_:
        await _list_unfinished(common)
        return ExitCode.PASSED
    if feature is not None and not unknown:
        raise ConfigError("--feature needs --unknown")
    stored, place = stored_batches(), place_of(common)
    record = await stored.to_resume(batch, place)
    async with stored.working_on(record) as journal:
        common.output.say(f"{record}.")
        assert journal.plan is not None
        found = Batch.of(journal, record)
        decision = _decision(record, unknown) if unknown else None
        files = files.or_kept(journal.plan.options.get("files", {}))
        # What is suggested names the project only if another one is in force here.
        is_here = place.server and place.project and place.has(record)
        suggested = common.place if is_here else None
        if (place.server, place.project) != (record.server, record.project):
            common = evolve(common, server=record.server, project=record.project)
        async with watching(common, files=files, timeout=timeout, batch=record.number) as watch:
            if suggested is not None:
                watch.result = evolve(watch.result, place=suggested)
            may_resend = decision in {None, "resend"} or feature is not None
            left = POLICIES[found.spec.kind].costs_credits * sum(
                is_left(item) and (may_resend or item.verdict is not Verdict.UNKNOWN)
                for item in found.items
            )
            question = (
                f"{record}, {started(found.created_at)}, may dispatch "
                f"{plural(left, 'generation')}, and each costs credits. Resume it?"
            )
            await consent.allow(watch.generations, left, question=question)
            await watch.relate(record)
            if decision is not None:  # Nothing is decided where the rest is refused.
                await journal.decide(decision, feature=feature)
            return await watch.perform(found.spec, None, journal)


async def _list_unfinished(common: Common) -> None:
    found = [each async for each in stored_batches().each(place_of(common)) if not each.is_over]
    documents = [
        {
            "batch": each.record.number,
            "name": each.record.name,
            "createdUtc": each.created_at,
            "counts": counts_of(each.items),
        }
        for each in found
    ]
    columns = ("Batch", "Name", "Started", "Items")
    common.output.rows(documents, columns, lambda each: [*each.values()])
    if not found:
        common.output.note("Nothing to resume: each batch of the last 30 days is over.")


def _decision(record: BatchRecord, words: Sequence[str]) -> Literal["resend", "drop"] | RunRef:
    """Return the decision on unknown dispatches that words are.

    Raises:
        ConfigError: They are none.
    """
    match [word for each in words for word in each.split("=")]:
        case ["resend"]:
            return "resend"
        case ["drop"]:
            return "drop"
        case ["adopt", number] if number.isdecimal() and record.kind == "run":
            return RunRef(server=record.server, project=record.project, run_id=int(number))
        case _:
            raise ConfigError(
                "--unknown takes resend, drop, or adopt and the id of a run: --unknown adopt 214"
            )


async def report(
    batch: str | None = None,
    /,
    *,
    files: Files = Files(),
    common: Common = Common(),
) -> ExitCode:
    """Report on a batch by its journal, without asking the service.

    What 'run --failed' ran again of it since is part of it: each as a further attempt.

    For example:

        testvibe-async report
        testvibe-async report 12 --report junit.xml --report report.html

    The exit codes are those of run --wait.

    Args:
        batch: Its number or its name; by default the last batch of this project, with the batch
            that it reran.
        files: The files to write.
        common: The options of every command.
    """
    if files.artifacts is not None:
        raise ConfigError(
            "a report asks no service, so it takes no --artifacts: to download those of a "
            f"run, {NAME} runs download ID DIR"
        )
    found = await stored_batches().meant(batch, place_of(common))
    result = result_of(found, common.place, files)
    reruns = "".join(f", batch {number}" for number in found.reruns)
    again = f", with what ran again{reruns}" if reruns else ""
    common.output.say(f"{found.record}, {started(found.created_at)}{again}.")
    return await conclude(result, Outputs(files, common.output))


async def wait(
    *operations: OperationName,
    file: TextFile | None = None,
    timeout: Timeout = None,
    files: Files = Files(),
    common: Common = Common(),
) -> ExitCode:
    """Wait for runs and generations that were dispatched before, by any client.

    An operation is the id of a run, the name of a feature for what it has in flight, or a ref: what
    the other commands print of an operation with --json. A file has refs, one a line, or the batch
    that 'run --json' or 'generate --json' printed. A feature of that batch that was refused, or
    whose dispatch is unknown, is named, and counts for the exit code.

    For example:

        testvibe-async wait 214 215 --timeout 120 --report junit.xml
        testvibe-async wait Checkout
        testvibe-async wait --file runs.json
        testvibe-async run Checkout --json | testvibe-async wait --file -

    The exit codes are those of run --wait.

    Args:
        operations: Ids of runs, names of features, or refs as JSON.
        file: A file with refs or a batch; - for standard input.
        timeout: Maximum time to wait.
        files: The files to write.
        common: The options of every command.
    """
    words = [each for each in operations if not each.startswith("{")]
    named = [read_ref(each) for each in operations if each.startswith("{")]
    undispatched: list[Item] = []
    if file is not None:
        refs, undispatched = read_dispatches(read_text(file), name_of(file))
        if not refs and not undispatched:
            raise ConfigError(f"there is nothing to wait for in {name_of(file)}")
        named += refs
    elif not operations:
        raise ConfigError(
            "which operations? Give run ids, features or refs, or --file FILE with the output of "
            f"'run --json'; to continue the last batch: {NAME} resume"
        )

    async with watching(common, files=files, timeout=timeout) as watch:
        client = watch.connection.client
        async with watch.limit.waiting_for("what is in flight"):
            found = await asyncio.gather(*(operations_of(watch.connection, word) for word in words))
        all_named = {ref.key: ref for each in (named, *found) for ref in each}
        # One of another server is refused before any is waited for.
        awaited = [client.attach(ref).ref for ref in all_named.values()]
        items = {ref.key: item_of(client.attach(ref)) for ref in awaited}
        mark = watch.quarantine.mark

        async def completions() -> AsyncGenerator[Item]:
            for item in undispatched:
                yield item
            async for item in completions_of(client, awaited, timeout=watch.limit.remaining):
                assert item.ref is not None
                items[item.ref.key] = mark(item)
                yield item

        watch.progress.follow(client, (), lambda: [*items.values(), *undispatched])
        await watch.collect(aclosing(completions()), plural(len(items), "operation"))
        code = await watch.conclude()
        for record in await stored_batches().record(watch.progress.items):
            watch.connection.output.note(f"{record} has the results.")
        return code
