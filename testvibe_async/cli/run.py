"""`testvibe-async run`: run features' tests, one or all, and wait for them if asked to.

It decides what its options mean together. What it prints is decided in `watch` and `ending`.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async import ConfigError, RunRef
from testvibe_async.cli.common import COMMON, Common, Flag
from testvibe_async.cli.completers import FeatureName, complete_configs
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.jobs import choose, in_order, jobs_of
from testvibe_async.cli.names import check_configs
from testvibe_async.cli.options import NO_FILES, Files, Seconds, refuse_without
from testvibe_async.cli.watch import watching

__all__ = ["run"]

RUNS_IN_FLIGHT = 100
"""How many runs are in flight at once by default."""


async def run(  # noqa: PLR0913 - each an option of its own
    *features: FeatureName,
    all_: Flag = False,
    wait: Annotated[Flag, Parameter(name=("--wait", "-w"))] = False,
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
            first, which takes minutes and costs credits.
        timeout: Seconds to wait. What is in flight then goes on at the service.
        max_in_flight: How many runs are in flight at any time; 100 where it is left out.
        stop_on_failure: Dispatch no more once one did not pass.
        attempts: How often a feature may run: one that failed runs again, and is flaky where a
            later run passed; 1 where it is left out.
        files: What to leave.
        common: The options of every command.
    """
    if not wait:
        limits = {
            "--timeout": timeout,
            "--max-in-flight": max_in_flight,
            "--attempts": attempts,
        }
        refuse_without("--wait", limits | {"--stop-on-failure": stop_on_failure} | files.by_option)
    files.check()
    async with watching(common, files=files, has_events=common.json_lines) as watch:
        project = watch.project
        chosen = await choose(
            project,
            features,
            everything=attrgetter("has_tests") if all_ else None,
            note=watch.connection.output.note,
        )
        if not chosen:
            raise ConfigError("no feature has tests to run: generate some first")
        if config:
            await check_configs(project, config)
        jobs = jobs_of(chosen, config or (None,))
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
        batch = project.run_features(
            chosen,
            config=config or None,
            site_url=site_url,
            max_in_flight=max_in_flight or RUNS_IN_FLIGHT,
            on_conflict=on_conflict,
            timeout=timeout,
            stop_on_failure=stop_on_failure,
            attempts=attempts or 1,
        )
        return await watch.conclude(in_order(await watch.collect(batch), jobs))
    return ExitCode.INTERRUPTED
