"""`testvibe-async generate` and `generation`: generate features' tests, and see how that goes.

Decides when to ask before credits are spent. `generation` is about a feature's latest generation,
dispatched by any client.
"""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async.cli import details
from testvibe_async.cli.closing import say_nothing
from testvibe_async.cli.common import COMMON, MORE, Common, connected
from testvibe_async.cli.completers import FeatureName  # noqa: TC001 - cyclopts reads the annotations at run time
from testvibe_async.cli.dispatch import dispatch
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.names import suggesting
from testvibe_async.cli.options import (
    NO_CONSENT,
    NO_OPTIONS,
    BatchOptions,
    Consent,
    Timeout,
    refuse_without,
)
from testvibe_async.cli.watch import watching
from testvibe_async.runner.spec import BatchSpec

app: App = App(
    name="generation",
    help="See how a feature's latest generation goes, or cancel it.",
    synonym=("abort", "kill", "log", "logs", "status", "stop"),
)


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
            consent=consent,
            question=question if found.is_wider else None,
            options=options,
            waits=watch,
        )
    return ExitCode.INTERRUPTED


@app.command
async def status(feature: FeatureName, /, *, common: Common = COMMON) -> None:
    """Show the state of a feature's latest generation, section by section.

    For example:

        testvibe-async generation status Checkout
        testvibe-async generation status Checkout --json | jq -r .featureStatus

    Args:
        feature: Its id, or its name in any case.
        common: The options of every command.
    """
    async with connected(common) as connection, suggesting(connection, feature):
        found = await connection.project.get_generation_status(feature)
    connection.output.show(found, lambda _: details.generation_details(found))


@app.command
async def log(
    feature: FeatureName, /, *, lines: PositiveInt | None = None, common: Common = COMMON
) -> None:
    """Show the log of a feature's latest generation, each section's reason first.

    For example:

        testvibe-async generation log Checkout
        testvibe-async generation log Checkout --lines 5

    Args:
        feature: Its id, or its name in any case.
        lines: Number of lines of each section, from its end; all by default.
        common: The options of every command.
    """
    async with connected(common) as connection, suggesting(connection, feature):
        found = await connection.project.get_generation_log(feature)
    connection.output.show(
        found, lambda width: details.log_details(found, limit=lines, width=width)
    )


@app.command
async def cancel(feature: FeatureName, /, *, common: Common = COMMON) -> None:
    """Cancel a feature's generation, dispatched by any client.

    For example:

        testvibe-async generation cancel Checkout

    Args:
        feature: Its id, or its name in any case.
        common: The options of every command.
    """
    async with connected(common) as connection, suggesting(connection, feature):
        await connection.project.cancel_generation(feature)
    connection.output.result({"ok": True}, f"The generation of {feature} is cancelled.")
