"""`testvibe-async run` and `generate`: start runs or generations, and wait for them if asked to.

Decides what their options mean together, and when a question comes before credits are spent. What
they print is decided in `watch` and `closing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from attrs import evolve
from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import ConfigError
from testvibe_async.cli.batches import report_interrupted, resume_command, stored_batches
from testvibe_async.cli.closing import say_nothing
from testvibe_async.cli.common import COMMON, MORE, Common
from testvibe_async.cli.completion import ConfigName, FeatureName
from testvibe_async.cli.dispatch import dispatch
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.options import (
    NO_CONSENT,
    NO_FILES,
    NO_OPTIONS,
    BatchOptions,
    Consent,
    Files,
    Timeout,
    refuse_without,
)
from testvibe_async.cli.output import warn
from testvibe_async.cli.result import Result
from testvibe_async.cli.watch import Watch, watching
from testvibe_async.cli.words import clock_time, plural
from testvibe_async.runner.spec import BatchSpec

if TYPE_CHECKING:
    from testvibe_async.runner.stored import Batch


async def run(  # noqa: PLR0913 - each an option of its own
    *features: FeatureName,
    all_: bool = False,
    wait: Annotated[bool, Parameter(name=("--wait", "-w", "--watch"))] = False,
    config: Annotated[tuple[str, ...], ConfigName] = (),
    site_url: Annotated[str | None, Parameter(metavar="URL")] = None,
    on_conflict: Annotated[Literal["raise", "generate"] | None, MORE] = None,
    timeout: Timeout = None,
    max_in_flight: Annotated[PositiveInt | None, MORE] = None,
    max_failures: Annotated[PositiveInt | None, MORE] = None,
    attempts: Annotated[PositiveInt | None, Parameter(metavar="N")] = None,
    repeat: Annotated[PositiveInt | None, Parameter(metavar="N")] = None,
    failed: bool = False,
    consent: Annotated[Consent, MORE] = NO_CONSENT,
    options: BatchOptions = NO_OPTIONS,
    files: Files = NO_FILES,
    common: Common = COMMON,
) -> ExitCode:
    """Run the tests of features.

    Without --wait it dispatches the runs, prints their ids, and ends without their results.

    For example:

        testvibe-async run "Login Functionality" --wait
        testvibe-async run --all -w --timeout 900 -r junit.xml --artifacts failed
        testvibe-async run 'Log*' Checkout -w -c Default -c Mobile
        testvibe-async run --all --wait --attempts 2
        testvibe-async run Checkout --repeat 10
        testvibe-async run --failed --wait
        testvibe-async run --failed 12 --wait

    With --wait the exit code is 0 if all passed, flaky ones too, and 1 if some failed. It is
    5 if the service could not be reached, else 3 if it refused a run, else 4 if the time
    was over or not all were started: these take precedence over 1, since not all results are known.

    Args:
        features: Names, ids, or globs such as 'Log*'; '!Log*' takes away what it matches. With
            --failed the batch.
        all_: Run all features that have tests.
        wait: Wait until all runs are over, and show how they went.
        config: The run configuration; several, and each feature runs with each.
        site_url: The site to test, in place of the project's own.
        on_conflict: The treatment of a feature that has no tests: refuse it, or generate them
            first, which takes minutes and costs credits: it asks, or needs --yes or
            --max-generations. Refused by default; with --failed, as its batch did.
        timeout: Maximum duration of the batch.
        max_in_flight: Maximum number of runs in flight; 100 by default.
        max_failures: Dispatch no more once so many did not pass; the rest is for 'resume'.
        attempts: Maximum number of runs of a feature: one that failed runs again, and is flaky if a
            later run passed; 1 by default.
        repeat: Run each feature N times, and print its stability. Implies --wait; the runs are one
            after the other, unless --max-in-flight is given. The exit code is 0 if all features are
            stable, and 1 if one is flaky or broken. A run that was refused or not observed does not
            count.
        failed: Rerun the failures of a batch; also features that could not be started, on the same
            site. Name the batch by its number, its name or the file of its journal; by default it
            is the last batch of runs of this project. Its undecided items still affect the exit
            code.
        consent: The generations that --on-conflict generate may dispatch.
        options: The batch.
        files: The files to write.
        common: The options of every command.
    """
    wait = wait or repeat is not None
    if not wait:
        refuse_without(
            "--wait",
            files,
            timeout=timeout,
            max_failures=max_failures,
        )
    if not wait and options.on is None:
        refuse_without("--wait", max_in_flight=max_in_flight, attempts=attempts)
    if failed and (len(features) > 1 or all_ or config):
        raise ConfigError(
            "--failed takes the batch, and no names, no --all and no --config: they are in it"
        )
    if on_conflict != "generate" and not failed:
        refuse_without("--on-conflict generate", consent)
    files.check()
    options.check()
    spec = BatchSpec(
        kind="run",
        features=() if failed else features,
        is_all=all_,
        configs=config,
        site_url=site_url,
        on_conflict=on_conflict or "raise",
        max_in_flight=max_in_flight,
        max_failures=max_failures,
        attempts=attempts or 1,
        repeat=repeat or 1,
    )
    async with watching(common, files=files, timeout=timeout) as watch:
        if failed:
            await report_interrupted()
            word = features[0] if features else None
            batch = await stored_batches().to_rerun(word, watch.place)
            spec = batch.rerun(spec, on_conflict=on_conflict)
            jobs, parent, said = batch.failed_jobs, batch.number, _inherit(watch, batch)
            has_tests = {item.feature: True for item in batch.failed if item.attempts}
            if not jobs:
                return say_nothing(said, watch.result, common)
        else:
            found = await watch.select(spec)
            jobs, parent, has_tests = found.jobs, None, dict(found.has_tests)
            for note in found.notes:
                watch.connection.output.note(note)
            if not jobs:
                raise ConfigError("no feature has tests to run: generate some first")
        question = "Generate first the tests of {}? Each generation costs credits."
        return await dispatch(
            *(watch, spec, jobs),
            has_tests=has_tests,
            consent=consent,
            question=question,
            options=options,
            parent=parent,
            waits=wait,
        )
    return ExitCode.INTERRUPTED


def _inherit(watch: Watch, batch: Batch) -> str:
    """Let what a batch left count for the exit code of its rerun; name both in a sentence."""
    unread = ExitCode.PASSED if batch.is_complete else ExitCode.IN_FLIGHT
    left = Result(items=batch.undecided, seconds=0, before=unread)
    failed = plural(len(batch.failed), "failure") if batch.failed else "nothing failed"
    began = clock_time(batch.created_at)
    said = f"{batch.label} of {began}: {failed}, of {plural(len(batch.items), 'run')}."
    if left.exit_code:
        what = left.counts if left.items else "features that were not read"
        resume = f": resume it with {resume_command(batch.unfinished)}"
        said = f"{said} It left {what}{'' if batch.is_over else resume}"
    if batch.failed:
        warn(said) if left.exit_code else watch.connection.output.note(said)
    watch.result = evolve(watch.result, before=left.exit_code)
    return said


async def generate(  # noqa: PLR0913 - each an option of its own
    *features: FeatureName,
    all_: bool = False,
    watch: Annotated[bool, Parameter(name=("--watch", "-w", "--wait"))] = False,
    on_conflict: Literal["raise", "attach", "wait"] = "raise",
    site_url: Annotated[str | None, Parameter(metavar="URL")] = None,
    timeout: Timeout = None,
    max_in_flight: Annotated[PositiveInt | None, MORE] = None,
    consent: Consent = NO_CONSENT,
    options: BatchOptions = NO_OPTIONS,
    common: Common = COMMON,
) -> ExitCode:
    """Generate the tests of features. Each generation takes minutes and costs credits.

    Without --watch it dispatches the generations, names them, and ends.

    For example:

        testvibe-async generate Checkout --watch
        testvibe-async generate --all --yes --watch --json

    With --watch the exit codes are those of run --wait.

    Args:
        features: Names, ids, globs such as 'Log*', or exclusions such as '!Log*'.
        all_: Generate all features that have no tests.
        watch: Wait until all are over, and show how they go.
        on_conflict: The treatment of a feature that is generating: refuse it, join that generation,
            or wait for its end and then generate it once more, which costs again.
        site_url: The site to explore, in place of the project's own.
        timeout: Maximum duration of the batch.
        max_in_flight: Maximum number of generations in flight; 10 by default.
        consent: The generations that are allowed. By default, --all and a glob that matches several
            features ask.
        options: The batch.
        common: The options of every command.
    """
    if not watch:
        refuse_without("--watch", timeout=timeout)
    if not watch and options.on is None:
        refuse_without("--watch", max_in_flight=max_in_flight)
    options.check()
    spec = BatchSpec(
        kind="generation",
        features=features,
        is_all=all_,
        site_url=site_url,
        on_conflict=on_conflict,
        max_in_flight=max_in_flight,
    )
    async with watching(common, timeout=timeout) as watched:
        found = await watched.select(spec)
        if not found.jobs:
            notes = found.notes or ["All have tests."]
            return say_nothing(" ".join(["Nothing to generate.", *notes]), watched.result, common)
        for note in found.notes:
            watched.connection.output.note(note)
        question = "Generate {}? Each costs credits."
        return await dispatch(
            *(watched, spec, found.jobs),
            has_tests=found.has_tests,
            generating=found.generating,
            consent=consent,
            question=question if found.is_wider else None,
            options=options,
            waits=watch,
        )
    return ExitCode.INTERRUPTED
