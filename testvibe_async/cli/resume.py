"""`testvibe-async wait`, `resume`, `report`, `discard`, `work` and `cancel`: earlier dispatches.

Decides which operations or which batch is meant, and the decision on unknown dispatches. How a
batch resumes is decided in `testvibe_async.batch`.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Annotated, Any, Literal

from attrs import evolve
from cyclopts import Parameter

from testvibe_async import ConfigError, Journal, Ref, RunRef, Verdict
from testvibe_async.cli.batches import durable_named, place_of, read_durable, stored_batches
from testvibe_async.cli.closing import conclude
from testvibe_async.cli.common import MORE, Common
from testvibe_async.cli.completion import OperationName  # noqa: TC001 - cyclopts reads it
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.names import operations_of, read_dispatches
from testvibe_async.cli.options import Consent, Files, On, Timeout
from testvibe_async.cli.output import TextFile, name_of, read_text
from testvibe_async.cli.outputs import Outputs
from testvibe_async.cli.progress import counts_of
from testvibe_async.cli.result import is_left, live_facts, live_line, result_of
from testvibe_async.cli.watch import watching
from testvibe_async.cli.words import NAME, Item, plural, started
from testvibe_async.runner.batches import RunningError
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
    on: Annotated[On, MORE] = None,
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
        batch: Its number, its name (the last one of that name that is not over), or the file of its
            journal; by default the last one of this project that is not over.
        unknown: What to do with a dispatch that may have started (resend, adopt ID, drop): resend
            may do the work twice, adopt takes the id of the run that it was.
        feature: The feature that --unknown is for; all by default.
        on: The database of a durable batch that has no number on this machine yet.
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
    if batch is None and on is not None:
        raise ConfigError("--on needs the name of a batch in that database")
    async with AsyncExitStack() as stack:
        source: Any
        record = None if on is not None else await stored.to_resume(batch, place)
        if record is None or record.database is not None:
            word = str(batch if record is None else record.number)
            source, record = await durable_named(word, on, place)
            state: Any = await source.status()
        else:
            source = state = await stack.enter_async_context(stored.working_on(record))
            common.output.say(f"{record}.")
        assert state.plan is not None
        found = Batch.of(state, record)
        decision = _decision(record, unknown) if unknown else None
        files = files.or_kept(state.plan.options.get("files", {}))
        # What is suggested names the project only if another one is in force here.
        is_here = place.server and place.project and place.has(record)
        suggested = common.place if is_here else None
        if (place.server, place.project) != (record.server, record.project):
            common = evolve(common, server=record.server, project=record.project)
        async with watching(common, files=files, timeout=timeout, batch=record.word) as watch:
            if suggested is not None:
                watch.result = evolve(watch.result, place=suggested)
            may_resend = decision in {None, "resend"} or feature is not None
            left = found.spec.may_generate * sum(
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
                await source.decide(decision, feature=feature)
            if isinstance(source, Journal):
                return await watch.perform(found.spec, None, source)
            is_limited = bool(left) or consent.max_generations is not None
            await source.resume(max_generations=watch.generations.allowed if is_limited else None)
            return await watch.follow(source, record, works=True)


async def _list_unfinished(common: Common) -> None:
    found = [each async for each in stored_batches().each(place_of(common)) if not each.is_over]
    documents = [
        {
            "batch": each.record.number,
            "name": each.record.name,
            "createdUtc": each.created_at,
            "counts": counts_of(each.items),
            **live_facts(each),
        }
        for each in found
    ]
    columns = ("Batch", "Name", "Started", "Items")
    common.output.rows(documents, columns, lambda each: [*each.values()][:4])
    if not found:
        common.output.note("Nothing to resume: each batch of the last 30 days is over.")
    for each in found:
        if each.is_live:
            common.output.note(live_line(each))


async def discard(batch: str, /, *, common: Common = Common()) -> None:
    """Forget a batch of your state folder. What is in flight continues at the service.

    A durable batch stays in its database: see 'cancel'.

    For example:

        testvibe-async discard 12

    Args:
        batch: Its number; or its name, if no other batch has that.
        common: The options of every command.
    """
    stored, place = stored_batches(), place_of(common)
    records = stored.records_named(batch, place)
    if not records:
        raise ConfigError(f"{batch} is a file of your own: remove it")
    if len(records) > 1:
        numbers = ", ".join(str(each.number) for each in records)
        raise ConfigError(f"{len(records)} batches are named {batch}: give a number, {numbers}")
    record = records[0]
    try:
        what = f"it stays in {record.database}"
        if record.database is None:
            what = counts_of((await stored.read(record)).items)
    except RunningError:
        raise
    except ConfigError as error:  # Its journal is gone, or damaged.
        what = str(error)
    stored.discard(record)
    document = {"batch": record.number, "name": record.name}
    common.output.result(document, f"{record} is forgotten: {what}.")


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


async def work(
    batch: str, /, *, on: On = None, files: Files = Files(), common: Common = Common()
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
    found, record = await durable_named(batch, on, place_of(common))
    async with watching(common, files=files) as watch:
        watch.generations.allowed = sys.maxsize  # The batch has a limit of its own.
        await watch.relate(record)
        return await watch.follow(found, record, works=True)


async def cancel(batch: str, /, *, on: On = None, common: Common = Common()) -> None:
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
        found, record = await durable_named(batch, on, place_of(common))
    except ConfigError as error:
        hint = f"for the generation of a feature, {NAME} generation cancel {shlex.quote(batch)}"
        raise ConfigError(f"{error}; {hint}") from error
    before = await read_durable(found, record)
    if before.is_over:
        common.output.note(f"{record} was over before: nothing was left to cancel.")
    else:
        await found.cancel()
    result = result_of(await read_durable(found, record), common.place)
    common.output.result(result.document, result.last_line)


async def report(
    batch: str | None = None,
    /,
    *,
    on: Annotated[On, MORE] = None,
    files: Files = Files(),
    common: Common = Common(),
) -> ExitCode:
    """Report on a batch by its journal, without asking the service.

    What 'run --failed' ran again of it since is part of it: each as a further attempt. Of a durable
    batch that is not over, it names the workers, and what each has in flight.

    For example:

        testvibe-async report
        testvibe-async report 12 --report junit.xml --report report.html

    The exit codes are those of run --wait.

    Args:
        batch: Its number, its name, or the file of its journal; by default the last batch of this
            project, with the batch that it reran.
        on: The database of a durable batch that has no number on this machine yet.
        files: The files to write.
        common: The options of every command.
    """
    if files.artifacts is not None:
        raise ConfigError(
            "a report asks no service, so it takes no --artifacts: to download those of a "
            f"run, {NAME} runs download ID DIR"
        )
    place = place_of(common)
    if batch is not None and on is not None:
        _, record = await durable_named(batch, on, place)
        batch = str(record.number or batch)
    found = await stored_batches().meant(batch, place)
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
    the other commands print of an operation with --json. A file may hold any number of refs, within
    any other JSON. If it has a feature that was refused, or whose dispatch is unknown, that feature
    is named, and counts for the exit code.

    For example:

        testvibe-async wait 214 215 --timeout 120 --report junit.xml
        testvibe-async wait Checkout
        testvibe-async wait --file runs.json
        testvibe-async run Checkout --json | testvibe-async wait --file -

    The exit codes are those of run --wait.

    Args:
        operations: Ids of runs, names of features, or refs as JSON.
        file: A file with refs; - for standard input.
        timeout: Maximum time to wait.
        files: The files to write.
        common: The options of every command.
    """
    refs = [each for each in operations if each.lstrip().startswith(("{", "["))]
    words = [each for each in operations if each not in refs]
    named: list[Ref] = []
    undispatched: list[Item] = []
    if refs or file is not None or not words:
        texts = {} if file is None else {name_of(file): read_text(file)}
        named, undispatched = read_dispatches(refs, texts)

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
