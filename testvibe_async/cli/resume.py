"""`testvibe-async resume` and `report`: go on with a batch after a crash, and report on it.

It decides which batch is meant, and what becomes of dispatches that nobody knows about. How a batch
goes on is decided in `testvibe_async.batch`.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

from attrs import evolve
from cyclopts import Parameter

from testvibe_async import ConfigError, GenerationRef, RunRef
from testvibe_async.cli.batches import last_batches, place_of, read_batch, unfinished_path
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.ending import Ending, say_report, seconds_of
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.jobs import in_order
from testvibe_async.cli.journals import opened
from testvibe_async.cli.leaving import Leaving
from testvibe_async.cli.options import NO_FILES, Files, GenerateOptions, RunOptions, Seconds
from testvibe_async.cli.watch import watching
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from testvibe_async import Journal
    from testvibe_async.cli.watch import Watch

__all__ = ["report", "resume"]


async def resume(  # noqa: PLR0913 - each an option of its own
    file: Path | None = None,
    /,
    *,
    unknown: Annotated[
        tuple[str, ...], Parameter(consume_multiple=True, negative=(), show_default=False)
    ] = (),
    feature: str | None = None,
    timeout: Seconds | None = None,
    files: Files = NO_FILES,
    common: Common = COMMON,
) -> ExitCode:
    """Go on with a batch that was cut off, by a crash, Ctrl-C or a time-out.

    What was dispatched is waited for, what may have been dispatched is looked for, and the rest is
    dispatched: nothing is done twice. The options of the command that began it hold on, such as
    --attempts and --report; those given here come first.

    For example:

        testvibe-async resume
        testvibe-async resume nightly.journal --report junit.xml
        testvibe-async resume --unknown adopt 214 --feature Checkout

    The exit codes are those of run --wait.

    Args:
        file: The journal of the batch; the last one of this project that is not over where it is
            left out.
        unknown: What becomes of dispatches of which nobody knows whether they took effect: resend,
            which may do the work twice, adopt and the id of the run that it was, or drop.
        feature: The feature that --unknown is for; all where it is left out.
        timeout: Seconds, or such as 20m, for all of it, lists too. What is in flight then goes on
            at the service. Answers and files are waited for up to 30 s longer.
        files: What to leave.
        common: The options of every command.
    """
    if feature is not None and not unknown:
        raise ConfigError("--feature means nothing without --unknown: add --unknown")
    path = file or await unfinished_path(place_of(common))
    async with opened(path) as journal:
        assert journal.plan is not None
        common = evolve(common, server=journal.plan.server, project=journal.plan.project)
        if unknown:
            await _decide(journal, unknown, feature)
        files = files.or_kept(journal.plan.options.get("files", {}))
        files.check()
        async with watching(
            common,
            files=files,
            timeout=timeout,
            has_events=common.json_lines,
            journal=journal.path,
        ) as watch:
            return await _go_on(watch, journal)
    return ExitCode.INTERRUPTED


async def _go_on(watch: Watch, journal: Journal) -> ExitCode:
    """Run the rest of a batch to its end, with the options that it began with."""
    plan, jobs = journal.plan, journal.items
    assert plan is not None
    is_run = plan.kind == "run"
    watch.board.expect(jobs, RunRef if is_run else GenerationRef)
    start = watch.project.run_features if is_run else watch.project.generate_features
    known = (RunOptions if is_run else GenerateOptions).__annotations__
    typed = plan.options.get("batch", {})
    options: dict[str, Any] = {name: typed[name] for name in known if name in typed}
    batch: AbstractAsyncContextManager[Any] = start(
        None, site_url=plan.site_url, journal=journal, timeout=watch.limit.left, **options
    )
    return await watch.conclude(in_order(await watch.collect(batch), jobs))


async def _decide(journal: Journal, words: Sequence[str], feature: str | None) -> None:
    """Decide what becomes of dispatches that nobody knows about.

    Raises:
        ConfigError: The words are no decision, or nothing is unknown.
    """
    assert journal.plan is not None
    match [word for each in words for word in each.split("=")]:
        case ["resend" | "drop" as decision]:
            await journal.decide(decision, feature=feature)
        case ["adopt", number] if number.isdecimal() and journal.plan.kind == "run":
            plan = journal.plan
            ref = RunRef(server=plan.server, project=plan.project, run_id=int(number))
            await journal.decide(ref, feature=feature)
        case _:
            raise ConfigError(
                "--unknown takes resend, drop, or adopt and the id of a run: --unknown adopt 214"
            )


async def report(
    file: Path | None = None, /, *, files: Files = NO_FILES, common: Common = COMMON
) -> ExitCode:
    """Report on a batch by its journal, without asking the service.

    For example:

        testvibe-async report
        testvibe-async report --report junit.xml --report report.html

    The exit codes are those of run --wait.

    Args:
        file: The journal of the batch; that of the last one of this project where it is left out.
        files: What to leave.
        common: The options of every command.
    """
    from testvibe_async.reports import FORMATS  # noqa: PLC0415 - few commands need it

    files.check()
    if file is None:
        place = place_of(common)
        batches = await last_batches(1, place)
        if not batches:
            raise ConfigError(f"there is no journal of a batch{place} yet")
        batch = batches[0]
    elif str(file).isdecimal():
        raise ConfigError(f"{file} is the id of a run: {NAME} open {file} shows its own report")
    elif any(file.suffix in each.suffixes for each in FORMATS):
        raise ConfigError(f"{file} is no journal: to write it, {NAME} report --report {file}")
    else:
        batch = await read_batch(file)
    ending = Ending(
        items=batch.items,
        seconds=seconds_of(batch.items),
        place=common.place,
        fails_on_flaky=files.fail_on_flaky or batch.fails_on_flaky,
    )
    leaving = Leaving(files, common.output)
    leaving.write(ending)
    say_report(ending, common)
    leaving.note_paths()
    return ending.exit_code
