"""`testvibe-async run` and `generate`: start a batch of runs or generations, and wait if asked to.

Decides what their options mean together, and when a question comes before credits are spent. What
is printed is decided in `watch` and `closing`; how a batch is resumed, in `resume`.
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import evolve
from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import ConfigError
from testvibe_async.cli.options import Consent, Files, Key, Timeout
from testvibe_async.cli.resume import resume_batch, run_failed
from testvibe_async.cli.watch import watching
from testvibe_async.runner.codes import ExitCode  # noqa: TC001 - cyclopts reads it
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.words import NAME, command, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async.cli.text import Item
    from testvibe_async.cli.watch import Watch
    from testvibe_async.runner.history import KeptBatch
    from testvibe_async.runner.selection import Selection


async def run(  # noqa: PLR0913 - each an option of its own
    *features: str,
    all_: bool = False,
    wait: Annotated[bool, Parameter(name=("--wait", "-w", "--watch"))] = False,
    config: Annotated[tuple[str, ...], Parameter(name=("--config", "-c"), metavar="NAME")] = (),
    site_url: Annotated[str | None, Parameter(metavar="URL")] = None,
    timeout: Timeout = None,
    max_in_flight: PositiveInt | None = None,
    max_failures: PositiveInt | None = None,
    attempts: Annotated[PositiveInt | None, Parameter(metavar="N")] = None,
    repeat: Annotated[PositiveInt | None, Parameter(metavar="N")] = None,
    failed: bool = False,
    key: Key = None,
    files: Files = Files(),
) -> ExitCode:
    """Run the tests of features.

    Without --wait it dispatches the runs, prints their ids, and ends without their results. What
    concerns their results implies --wait: --report, --artifacts, --failed, --repeat, --attempts,
    --fail-on-flaky, --max-failures, --max-in-flight, --timeout.

    For example:

        testvibe-async run "Login Functionality" --wait
        testvibe-async run --all -w --timeout 900 -r junit.xml --artifacts failed
        testvibe-async run 'Log*' Checkout -w -c Default -c Mobile
        testvibe-async run --all --wait --attempts 2
        testvibe-async run Checkout --repeat 10
        testvibe-async run --failed
        testvibe-async run --failed 12

    With --wait the exit code is 0 if all passed, flaky ones too, and 1 if some failed. It is
    5 if the service could not be reached, else 3 if it refused a run, else 4 if the time
    was over or not all were started: these take precedence over 1, since not all results are known.

    Args:
        features: Names, ids, or globs such as 'Log*'; '!Log*' takes away what it matches. With
            --failed the batch.
        all_: Run all features that have tests; 'generate --all' generates the others'.
        wait: Wait until all runs are over, and show how they went.
        config: The run configuration; several, and each feature runs with each.
        site_url: The site to test, in place of the project's own.
        timeout: Maximum duration of the batch.
        max_in_flight: Maximum number of runs in flight; 100 by default.
        max_failures: Dispatch no more once so many did not pass; the rest is for 'resume'.
        attempts: Maximum number of runs of a feature: one that failed runs again, and is flaky if a
            later run passed; 1 by default.
        repeat: Run each feature N times, and print its stability. The runs are one after the other,
            unless --max-in-flight is given. The exit code is 0 if all features are
            stable or in quarantine, and 1 if another is flaky or broken. A run that was refused or
            not observed does not count. Not with --attempts.
        failed: Resume the batch named, or the last, with a further attempt for what failed or could
            not be started. Name it by its number or its key; by default it is the last batch of
            runs of this project. With --attempts N up to N further ones.
        key: The name of the batch.
        files: The files to write.
    """
    needing = (timeout, max_failures, max_in_flight, attempts, repeat)
    wait = wait or failed or files != Files() or any(each is not None for each in needing)
    spec = BatchSpec(
        kind="run",
        features=features,
        is_all=all_,
        configs=config,
        site_url=site_url,
        max_in_flight=max_in_flight,
        max_failures=max_failures,
        attempts=attempts or 1,
        repeat=repeat or 1,
    )
    if failed:
        if len(features) > 1 or all_ or config or site_url or repeat or key:
            raise ConfigError("--failed takes the batch alone: what it runs is in the batch")
        batch = features[0] if features else None
        return await run_failed(batch, spec, files=files, timeout=timeout)
    async with watching(files=files, timeout=timeout) as watch:
        if (existing := await _existing(watch, spec, key)) is not None:
            spec = evolve(spec, site_url=existing.spec.site_url)
            return await resume_batch(watch, existing, spec, consent=None, waits=wait)
        found = await watch.select(spec)
        spec = evolve(spec, left_out=found.unrunnable)
        watch.know(spec=spec)
        if not found.jobs:
            first = f"no feature has tests to run: generate them first, with {NAME} generate"
            raise ConfigError(f"{first} --all. {found.note}".strip())
        return await _perform(watch, spec, found.jobs, key=key, waits=wait)


async def generate(  # noqa: PLR0913 - each an option of its own
    *features: str,
    all_: bool = False,
    watch: Annotated[bool, Parameter(name=("--watch", "-w", "--wait"))] = False,
    on_conflict: Literal["raise", "attach", "wait"] = "raise",
    site_url: Annotated[str | None, Parameter(metavar="URL")] = None,
    timeout: Timeout = None,
    max_in_flight: PositiveInt | None = None,
    key: Key = None,
    consent: Consent = Consent(),
) -> ExitCode:
    """Generate the tests of features. Each generation takes minutes and costs credits.

    Without --watch it dispatches the generations, names them, and ends; --timeout and
    --max-in-flight imply --watch.

    For example:

        testvibe-async generate Checkout --watch
        testvibe-async generate --all --yes --watch --json

    With --watch the exit codes are those of run --wait.

    Args:
        features: Names, ids, globs such as 'Log*', or exclusions such as '!Log*'.
        all_: Generate all features that have no tests.
        watch: Wait until all are over, and show how they go.
        on_conflict: What to do if one is generating (raise, attach, wait): refuse it, join that
            generation, or wait for its end and then generate it once more, which costs again.
        site_url: The site to explore, in place of the project's own.
        timeout: Maximum duration of the batch.
        max_in_flight: Maximum number of generations in flight; 10 by default.
        key: The name of the batch.
        consent: The generations that are allowed. By default, --all and a glob ask.
    """
    watch = watch or timeout is not None or max_in_flight is not None
    spec = BatchSpec(
        kind="generation",
        features=features,
        is_all=all_,
        site_url=site_url,
        on_conflict=on_conflict,
        max_in_flight=max_in_flight,
    )
    async with watching(timeout=timeout) as watched:
        if (existing := await _existing(watched, spec, key)) is not None:
            spec = evolve(spec, site_url=existing.spec.site_url)
            return await resume_batch(watched, existing, spec, consent=consent, waits=watch)
        found = await watched.select(spec)
        if not found.jobs:
            watched.output.note(f"Nothing to generate. {found.note or 'All have tests.'}")
            watched.output.finished(watched.outcome)
            return watched.outcome.exit_code
        what = counted(len(found.jobs), "feature") + _replacing(found)
        question = f"Generate {what}? Each costs credits." if found.is_wider else None
        await consent.allow(watched.generations, len(found.jobs), question=question)
        if on_conflict == "wait" and not watch:
            watched.output.note("What is generating is waited for first: minutes each.")
        return await _perform(watched, spec, found.jobs, key=key, waits=watch)


async def _existing(watch: Watch, spec: BatchSpec, key: str | None) -> KeptBatch | None:
    """Return the batch that was started with a key; None without a key or a batch.

    Raises:
        ConfigError: Another request has the key, or no ledger keeps a batch.
    """
    if key is None:
        return None
    if watch.batches is None:
        raise ConfigError("--key needs a ledger: name a file that can be written with --ledger")
    heading = await watch.batches.find(key, watch.place)
    if heading is None:
        return None
    kept = heading.spec
    same = ("kind", "is_all", "repeat")
    is_same = (
        all(getattr(spec, each) == getattr(kept, each) for each in same)
        and {*spec.features} == {*kept.features}
        and {*spec.configs} == {*kept.configs}
        and spec.site_url in {None, kept.site_url}
    )
    if not is_same:
        raise ConfigError(
            f"{heading} has this key, and other features or options: resume it with "
            f"{command('resume', str(heading.number))}, or take another --key"
        )
    return await watch.batches.read(heading)


async def _perform(
    watch: Watch, spec: BatchSpec, jobs: Sequence[Item], *, key: str | None, waits: bool
) -> ExitCode:
    """Carry a new batch out, and return the exit code."""
    spec = evolve(
        spec,
        max_in_flight=spec.max_in_flight if waits else len(jobs),
        quarantine=watch.quarantine,
        project_name=watch.connection.project_name,
        files=watch.outputs.files.kept,
        is_named=key is not None,
    )
    return await watch.perform(spec, jobs, key=key or token_hex(8), waits=waits)


def _replacing(found: Selection) -> str:
    """Return how many of the features to generate have tests already; empty if none has."""
    number = sum(found.states.get(job.feature) == "ready" for job in found.jobs)
    return f", replacing the tests of {number}" if number else ""
