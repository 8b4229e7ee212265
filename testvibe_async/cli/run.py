"""`testvibe-async run`: run features' tests, one or all, and wait for them if asked to.

It decides what its options mean together. What it prints is decided in `watch` and `ending`.
"""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import frozen
from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import BatchItem, ConfigError, RunRef
from testvibe_async.cli.batches import last_batches, read_batch
from testvibe_async.cli.common import COMMON, Common, Flag
from testvibe_async.cli.completers import FeatureName, complete_configs
from testvibe_async.cli.consent import NO_CONSENT, Consent
from testvibe_async.cli.ending import Ending, resume_command
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.jobs import choose, in_order, jobs_of
from testvibe_async.cli.journals import NO_OPTIONS, JournalOptions, tell_of_cut_off
from testvibe_async.cli.names import check_configs
from testvibe_async.cli.options import NO_FILES, Files, RunOptions, Seconds, refuse_without
from testvibe_async.cli.output import warn
from testvibe_async.cli.watch import watching
from testvibe_async.cli.words import clock_time, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import Feature
    from testvibe_async.cli.batches import Batch
    from testvibe_async.cli.jobs import Item
    from testvibe_async.cli.watch import Watch

__all__ = ["run"]

RUNS_IN_FLIGHT = 100
"""How many runs are in flight at once by default."""


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

    why_nothing: str = "Nothing failed in the last batch."
    """Why there is nothing to run, where there is not."""


async def run(  # noqa: PLR0913 - each an option of its own
    *features: FeatureName,
    all_: Flag = False,
    wait: Annotated[Flag, Parameter(name=("--wait", "-w", "--watch"))] = False,
    config: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--config", "-c"),
            negative=(),
            show_default=False,
            completer=complete_configs,
        ),
    ] = (),
    site_url: str | None = None,
    on_conflict: Literal["raise", "generate"] = "raise",
    timeout: Seconds | None = None,
    max_in_flight: PositiveInt | None = None,
    stop_on_failure: Flag = False,
    attempts: PositiveInt | None = None,
    failed: Flag = False,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    consent: Consent = NO_CONSENT,
    journal: JournalOptions = NO_OPTIONS,
    files: Files = NO_FILES,
    common: Common = COMMON,
) -> ExitCode:
    """Run the tests of features.

    Without --wait it dispatches the runs, prints their ids, and ends: it does not see how they go.

    For example:

        testvibe-async run "Login Functionality" --wait
        testvibe-async run --all --wait --timeout 900 --report junit.xml --artifacts failed
        testvibe-async run 'Log*' Checkout --wait --config Default --config Mobile
        testvibe-async run --all --wait --attempts 2
        testvibe-async run --failed --wait

    With --wait the exit code is 0 where all passed, flaky ones too, and 1 where some failed. It is
    5 where the service could not be reached, else 3 where it refused a run, else 4 where the time
    was over: these take precedence over 1, since not all results are known.

    Args:
        features: Names, ids, or globs such as 'Log*'.
        all_: Run all features that have tests.
        wait: Wait until all runs are over, and show how they went.
        config: The run configuration; several, and each feature runs with each.
        site_url: The site to test, in place of the project's own.
        on_conflict: What to do with a feature that has no tests: refuse it, or generate them
            first, which takes minutes and costs credits: it asks, or needs --yes or
            --max-generations.
        timeout: Seconds, or such as 20m, for all of it, lists too. What is in flight then goes on
            at the service. Answers and files are waited for up to 30 s longer.
        max_in_flight: How many runs are in flight at any time; 100 where it is left out.
        stop_on_failure: Dispatch no more once one did not pass.
        attempts: How often a feature may run: one that failed runs again, and is flaky where a
            later run passed; 1 where it is left out.
        failed: Run again what failed, or could not be started, in the last batch of runs of this
            project, on the same site. What that batch left open still decides the exit code.
        from_: The journal of another batch that --failed is about.
        consent: What --on-conflict generate may spend.
        journal: The journal.
        files: What to leave.
        common: The options of every command.
    """
    if not wait:
        limits = {
            "--timeout": timeout,
            "--max-in-flight": max_in_flight,
            "--attempts": attempts,
            "--journal": journal.journal,
        }
        refuse_without("--wait", limits | {"--stop-on-failure": stop_on_failure} | files.by_option)
    if failed and (features or all_ or config):
        raise ConfigError(
            "--failed takes no names, no --all and no --config: they are in the batch"
        )
    if on_conflict != "generate":
        refuse_without("--on-conflict generate", consent.by_option)
    if not failed:
        refuse_without("--failed", {"--from": from_})
    files.check()
    async with watching(
        common, files=files, timeout=timeout, has_events=common.json_lines
    ) as watch:
        project = watch.project
        if failed:
            choice = await _failed(watch, from_)
        else:
            choice = await watch.limit.ask(
                "the lists of features and configurations",
                lambda: _chosen(watch, features, is_all=all_, configs=config or (None,)),
            )
        jobs, site_url = choice.jobs, site_url or choice.site_url
        if not jobs:
            return watch.say_nothing(choice.why_nothing, before=choice.before)
        if on_conflict == "generate":
            question = (
                f"Generate first what has no tests, of {plural(len(jobs), 'feature')}? "
                "Each generation costs credits."
            )
            await consent.allow(watch.generations, len(jobs), question=question)
        watch.board.expect(jobs, RunRef)
        if not wait:
            if on_conflict == "generate":
                watch.connection.output.note("What has no tests is generated first: minutes each.")
            return await watch.dispatch(
                jobs,
                lambda job: project.run_feature(
                    job.feature, config=job.config, site_url=site_url, on_conflict=on_conflict
                ),
            )
        options = RunOptions(
            max_in_flight=max_in_flight or RUNS_IN_FLIGHT,
            on_conflict=on_conflict,
            stop_on_failure=stop_on_failure,
            attempts=attempts or 1,
        )
        async with watch.journal(journal, options) as opened:
            batch = project.run_features(
                choice.features,
                config=choice.configs,
                site_url=site_url,
                timeout=watch.limit.left,
                journal=opened,
                **options,
            )
            items = await watch.collect(batch)
        return await watch.conclude(in_order(items, jobs), before=choice.before)
    return ExitCode.INTERRUPTED


async def _chosen(
    watch: Watch, typed: Sequence[str], *, is_all: bool, configs: Sequence[str | None]
) -> _Choice:
    """Return the features that were typed, or all that have tests.

    Raises:
        ConfigError: There is no such feature or configuration, or nothing to run.
    """
    chosen = await choose(
        watch.project,
        typed,
        everything=attrgetter("has_tests") if is_all else None,
        note=watch.connection.output.note,
    )
    if not chosen:
        raise ConfigError("no feature has tests to run: generate some first")
    if named := [config for config in configs if config is not None]:
        configs = await check_configs(watch.project, named)
    return _Choice(jobs_of(chosen, configs), chosen, configs)


async def _failed(watch: Watch, file: Path | None) -> _Choice:
    """Return what failed in the last batch of runs of this project, or in that of a file.

    Raises:
        ConfigError: There is no such batch.
    """
    await tell_of_cut_off(watch.place)
    batch = await _last_batch(watch, file)
    jobs: list[Item] = [
        BatchItem(feature=item.feature, name=item.feature_name, config=item.config)
        for item in batch.failed
    ]
    unread = ExitCode.PASSED if batch.is_complete else ExitCode.IN_FLIGHT
    left = Ending(items=batch.left, seconds=0, before=unread)
    if not left.exit_code:
        return _Choice(jobs, jobs, site_url=batch.site_url)
    what = left.counts if left.items else "features that were not read"
    go_on = f": go on with it by {resume_command(batch.path, watch.common.place)}"
    said = (
        f"The batch of {clock_time(batch.created_at)} left {what}{'' if batch.is_over else go_on}"
    )
    if jobs:
        warn(said)
    return _Choice(
        jobs,
        jobs,
        site_url=batch.site_url,
        before=left.exit_code,
        why_nothing=f"Nothing failed in the last batch. {said}",
    )


async def _last_batch(watch: Watch, file: Path | None) -> Batch:
    """Return the last batch of runs of the project in force, or that of a file.

    Raises:
        ConfigError: There is none, or it is another project's.
    """
    place = watch.place
    if file is None:
        batches = await last_batches(1, place, kind="run")
        if not batches:
            raise ConfigError(
                f"there is no batch of runs{place} yet whose failures could run again"
            )
        return batches[0]
    batch = await read_batch(file)
    if not place.has(batch):
        raise ConfigError(
            f"the batch in {file} is of project {batch.project} at {batch.server}, not{place}: "
            "name them by --server and --project"
        )
    return batch
