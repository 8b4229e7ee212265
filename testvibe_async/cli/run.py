"""`testvibe-async run`: run features' tests, one or all, and wait for them if asked to.

It decides what its options mean together. What it prints is decided in `watch` and `closing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from attrs import evolve, frozen
from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import BatchItem, ConfigError, Verdict
from testvibe_async.cli.batches import (
    NO_OPTIONS,
    JournalOptions,
    batch_of,
    resume_command,
    stored_batches,
    tell_of_cut_off,
)
from testvibe_async.cli.common import COMMON, MORE, Common
from testvibe_async.cli.completers import ConfigName, FeatureName
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.options import (
    NO_CONSENT,
    NO_FILES,
    Consent,
    Files,
    Timeout,
    refuse_without,
)
from testvibe_async.cli.output import warn
from testvibe_async.cli.result import Result
from testvibe_async.cli.watch import jobs_of, watching
from testvibe_async.cli.words import NAME, clock_time, item_name, plural
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import Feature
    from testvibe_async.cli.watch import Watch
    from testvibe_async.cli.words import Item
    from testvibe_async.runner.batches import Batch

__all__ = ["run"]


@frozen
class _Choice:
    """What a command is to run."""

    jobs: list[Item]
    features: Sequence[str | Feature | Item] = ()
    """What to run with the configurations that were typed; an item has its own."""

    configs: Sequence[str | None] = (None,)
    site_url: str | None = None
    """The site of the earlier batch."""

    before: ExitCode = ExitCode.PASSED
    """The exit code that what the earlier batch left calls for."""

    parent: int | None = None
    """The number of the earlier batch."""

    why_nothing: str = ""
    """Why there is nothing to run, where there is not."""


async def run(  # noqa: PLR0913 - each an option of its own
    *features: FeatureName,
    all_: bool = False,
    wait: Annotated[bool, Parameter(name=("--wait", "-w", "--watch"))] = False,
    config: Annotated[tuple[str, ...], ConfigName] = (),
    site_url: Annotated[str | None, Parameter(metavar="URL")] = None,
    on_conflict: Annotated[Literal["raise", "generate"], MORE] = "raise",
    timeout: Timeout = None,
    max_in_flight: Annotated[PositiveInt | None, MORE] = None,
    stop_on_failure: Annotated[bool, MORE] = False,
    attempts: Annotated[PositiveInt | None, Parameter(metavar="N")] = None,
    failed: bool = False,
    dry_run: Annotated[bool, MORE] = False,
    consent: Annotated[Consent, MORE] = NO_CONSENT,
    journal: JournalOptions = NO_OPTIONS,
    files: Files = NO_FILES,
    common: Common = COMMON,
) -> ExitCode:
    """Run the tests of features.

    Without --wait it dispatches the runs, prints their ids, and ends: it does not see how they go.

    For example:

        testvibe-async run "Login Functionality" --wait
        testvibe-async run --all -w --timeout 900 -r junit.xml --artifacts failed
        testvibe-async run 'Log*' Checkout -w -c Default -c Mobile
        testvibe-async run --all --wait --attempts 2
        testvibe-async run --failed --wait
        testvibe-async run --failed 12 --wait

    With --wait the exit code is 0 where all passed, flaky ones too, and 1 where some failed. It is
    5 where the service could not be reached, else 3 where it refused a run, else 4 where the time
    was over: these take precedence over 1, since not all results are known.

    Args:
        features: Names, ids, or globs such as 'Log*'; '!Log*' takes away what it matches. With
            --failed the batch.
        all_: Run all features that have tests.
        wait: Wait until all runs are over, and show how they went.
        config: The run configuration; several, and each feature runs with each.
        site_url: The site to test, in place of the project's own.
        on_conflict: What to do with a feature that has no tests: refuse it, or generate them
            first, which takes minutes and costs credits: it asks, or needs --yes or
            --max-generations.
        timeout: How long it may take.
        max_in_flight: How many runs are in flight at any time; 100 where it is left out.
        stop_on_failure: Dispatch no more once one did not pass.
        attempts: How often a feature may run: one that failed runs again, and is flaky where a
            later run passed; 1 where it is left out.
        failed: Run again what failed in a batch; what could not be started, too, on the same site.
            It is named by its number, its name or the file of its journal, and is the last one of
            runs of this project where it is not named. What it left open still decides the exit
            code.
        dry_run: Only show what would be dispatched.
        consent: What --on-conflict generate may spend.
        journal: The journal.
        files: What to leave.
        common: The options of every command.
    """
    if not wait:
        refuse_without(
            "--wait",
            files,
            timeout=timeout,
            max_in_flight=max_in_flight,
            attempts=attempts,
            stop_on_failure=stop_on_failure,
        )
    if failed and (len(features) > 1 or all_ or config):
        raise ConfigError(
            "--failed takes the batch, and no names, no --all and no --config: they are in it"
        )
    if on_conflict != "generate":
        refuse_without("--on-conflict generate", consent)
    files.check()
    journal.check()
    spec = BatchSpec(
        kind="run",
        features=() if failed else features,
        is_all=all_,
        configs=config,
        site_url=site_url,
        on_conflict=on_conflict,
        max_in_flight=max_in_flight,
        stop_on_failure=stop_on_failure,
        attempts=attempts or 1,
    )
    async with watching(
        common, files=files, timeout=timeout, has_events=common.json_lines
    ) as watch:
        if failed:
            choice = await _failed(watch, features[0] if features else None)
            spec = evolve(spec, site_url=site_url or choice.site_url)
        else:
            choice = await _chosen(watch, spec)
        jobs = choice.jobs
        if not jobs:
            return watch.say_nothing(choice.why_nothing, before=choice.before)
        if dry_run:
            return watch.say_plan(spec, jobs)
        if spec.may_generate:
            question = (
                f"Generate first what has no tests, of {plural(len(jobs), 'feature')}? "
                "Each generation costs credits."
            )
            await consent.allow(watch.generations, len(jobs), question=question)
        if not wait:
            spec = evolve(spec, max_in_flight=len(jobs))
            if spec.may_generate:
                watch.connection.output.note("What has no tests is generated first: minutes each.")
        async with watch.journal(journal, spec, parent=choice.parent, waits=wait) as opened:
            return await watch.perform(
                *(spec, jobs, choice.features, choice.configs),
                journal=opened,
                before=choice.before,
                waits=wait,
            )
    return ExitCode.INTERRUPTED


async def _chosen(watch: Watch, spec: BatchSpec) -> _Choice:
    """Return the features that were typed, or all that have tests.

    Raises:
        ConfigError: There is no such feature or configuration, or nothing to run.
    """
    found = await watch.select(spec, "the lists of features and configurations")
    for note in found.notes:
        watch.connection.output.note(note)
    if not found.features:
        raise ConfigError("no feature has tests to run: generate some first")
    return _Choice(jobs_of(found.features, found.configs), found.features, found.configs)


async def _failed(watch: Watch, word: str | None) -> _Choice:
    """Return what failed in a batch of runs, and say which batch that is.

    Raises:
        ConfigError: There is no such batch, or it is another project's; or none is named, nothing
            failed in the last one, and a failure of an earlier one was not made good since.
    """
    await tell_of_cut_off()
    place = watch.place
    batch = await stored_batches().with_reruns(await batch_of(word, place, kind="run"))
    if not place.has(batch):
        raise ConfigError(
            f"{batch.label} is of project {batch.project} at {batch.server}, not{place}: "
            "name them by --server and --project"
        )
    failed = batch.failed
    if not failed and word is None and (earlier := await _not_made_good(watch)) is not None:
        raise ConfigError(
            f"nothing failed in the last batch, {batch.label}, but something that has not passed "
            f"since failed in {earlier.label}: name the one that you mean, as in "
            f"{NAME} run --failed {earlier.number} --wait"
        )
    began = clock_time(batch.created_at)
    jobs: list[Item] = [
        BatchItem(feature=item.feature, name=item.feature_name, config=item.config)
        for item in failed
    ]
    unread = ExitCode.PASSED if batch.is_complete else ExitCode.IN_FLIGHT
    left = Result(items=batch.left, seconds=0, before=unread)
    what = plural(len(failed), "failure") if failed else "nothing failed"
    said = f"{batch.label} of {began}: {what}, of {plural(len(batch.items), 'run')}."
    if left.exit_code:
        what = left.counts if left.items else "features that were not read"
        go_on = f": resume it with {resume_command(batch.unfinished)}"
        said = f"{said} It left {what}{'' if batch.is_over else go_on}"
    if jobs:
        warn(said) if left.exit_code else watch.connection.output.note(said)
    return _Choice(
        jobs,
        jobs,
        site_url=batch.site_url,
        before=left.exit_code,
        parent=batch.number,
        why_nothing=said,
    )


async def _not_made_good(watch: Watch) -> Batch | None:
    """Return the last batch with a failure that no later batch has seen pass; None without one."""
    passed: set[str] = set()
    async for batch in stored_batches().each(watch.place, kind="run"):
        if any(item_name(item) not in passed for item in batch.failed):
            return batch
        passed |= {item_name(item) for item in batch.items if item.verdict is Verdict.SUCCEEDED}
    return None
