"""`testvibe-async resume` and `report`: go on with a batch after a crash, and report on it.

It decides which batch is meant, and what becomes of dispatches that nobody knows about. How a batch
goes on is decided in `testvibe_async.batch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from attrs import evolve
from cyclopts import Parameter

from testvibe_async import ConfigError, RunRef, Verdict
from testvibe_async._batch import is_refusal
from testvibe_async.cli.batches import batch_of, place_of, stored_batches
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.consent import NO_CONSENT, Consent
from testvibe_async.cli.ending import Ending, say_report, seconds_of
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.journals import opened
from testvibe_async.cli.leaving import Leaving
from testvibe_async.cli.options import NO_FILES, Files, Seconds
from testvibe_async.cli.watch import watching
from testvibe_async.cli.words import NAME, clock_time, plural
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import Journal
    from testvibe_async.cli.jobs import Item
    from testvibe_async.cli.watch import Watch

__all__ = ["report", "resume"]


async def resume(  # noqa: PLR0913 - each an option of its own
    batch: str | None = None,
    /,
    *,
    unknown: Annotated[
        tuple[str, ...], Parameter(consume_multiple=True, negative=(), show_default=False)
    ] = (),
    feature: str | None = None,
    timeout: Seconds | None = None,
    consent: Consent = NO_CONSENT,
    files: Files = NO_FILES,
    common: Common = COMMON,
) -> ExitCode:
    """Go on with a batch that was cut off, by a crash, Ctrl-C or a time-out.

    What was dispatched is waited for, what may have been dispatched is looked for, and the rest is
    dispatched: nothing is done twice. The options of the command that began it hold on, such as
    --attempts and --report; those given here come first.

    For example:

        testvibe-async resume
        testvibe-async resume 12 --report junit.xml
        testvibe-async resume --unknown adopt 214 --feature Checkout

    The exit codes are those of run --wait.

    Args:
        batch: Its number, its name, or the file of its journal; the last one of this project that
            is not over where it is left out.
        unknown: What becomes of dispatches of which nobody knows whether they took effect: resend,
            which may do the work twice, adopt and the id of the run that it was, or drop.
        feature: The feature that --unknown is for; all where it is left out.
        timeout: Seconds, or such as 20m, for all of it, lists too. What is in flight then goes on
            at the service. Answers and files are waited for up to 30 s longer.
        consent: What may be spent, where generations are left to dispatch. Without it, it asks.
        files: What to leave.
        common: The options of every command.
    """
    if feature is not None and not unknown:
        raise ConfigError("--feature means nothing without --unknown: add --unknown")
    async with opened(batch, place_of(common), common.output) as journal:
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
            options = journal.plan.options.get("batch", {})
            spec = BatchSpec.from_dict(
                options | {"kind": journal.plan.kind, "site_url": journal.plan.site_url}
            )
            await _allow(watch, journal, consent, spec)
            return await watch.perform(spec, journal.items, None, journal=journal)
    return ExitCode.INTERRUPTED


async def _allow(watch: Watch, journal: Journal, consent: Consent, spec: BatchSpec) -> None:
    """Allow the generations that are left to dispatch, or ask first.

    Raises:
        ConfigError: They are not allowed.
    """
    assert journal.created_at is not None
    left = [item for item in journal.items if spec.may_generate and _may_be_dispatched(item)]
    batch, began = stored_batches().word_for(journal.path), clock_time(journal.created_at)
    question = (
        f"Batch {batch} of {began} may dispatch {plural(len(left), 'generation')}, and each costs "
        "credits. Resume it?"
    )
    await consent.allow(watch.generations, len(left), question=question)


def _may_be_dispatched(item: Item) -> bool:
    """Return whether an item's operation was not dispatched, as far as its journal knows."""
    is_started = item.latest_ref is not None or item.outcome is not None
    return not is_started and item.verdict is not Verdict.SKIPPED and not is_refusal(item.error)


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
    batch: str | None = None, /, *, files: Files = NO_FILES, common: Common = COMMON
) -> ExitCode:
    """Report on a batch by its journal, without asking the service.

    For example:

        testvibe-async report
        testvibe-async report 12 --report junit.xml --report report.html

    The exit codes are those of run --wait.

    Args:
        batch: Its number, its name, or the file of its journal; the last one of this project where
            it is left out.
        files: What to leave.
        common: The options of every command.
    """
    from testvibe_async.reports import FORMATS  # noqa: PLC0415 - few commands need it

    files.check(can_download=False)
    if batch is not None and any(batch.endswith(each.suffixes) for each in FORMATS):
        raise ConfigError(f"{batch} is no journal: to write it, {NAME} report --report {batch}")
    try:
        found = await batch_of(batch, place_of(common))
    except ConfigError as error:
        if batch is None or not batch.isdecimal() or error.__cause__ is not None:
            raise
        raise ConfigError(f"{error}; for a run of that id, {NAME} open {batch}") from None
    ending = Ending(
        items=found.items,
        seconds=seconds_of(found.items),
        place=common.place,
        journal=found.path,
        fails_on_flaky=files.fail_on_flaky or found.fails_on_flaky,
    )
    leaving = Leaving(files, common.output)
    common.output.say(f"{found.label} of {clock_time(found.created_at)}.")
    leaving.write(ending)
    say_report(ending, common)
    leaving.annotate(ending)
    leaving.note_paths()
    return ending.exit_code
