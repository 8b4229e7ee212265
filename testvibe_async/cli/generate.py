"""`testvibe-async generate` and `generation`: generate features' tests, and see how that goes.

Decides when to ask before credits are spent. `generation` is about a feature's latest generation,
dispatched by any client.
"""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time

from testvibe_async.cli import details
from testvibe_async.cli.batches import NO_OPTIONS, JournalOptions
from testvibe_async.cli.common import COMMON, MORE, Common, connected
from testvibe_async.cli.completers import FeatureName  # noqa: TC001 - cyclopts reads the annotations at run time
from testvibe_async.cli.durable import dispatch
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.names import suggesting
from testvibe_async.cli.options import NO_CONSENT, Consent, Timeout, refuse_without
from testvibe_async.cli.watch import Work, watching
from testvibe_async.runner.spec import BatchSpec

__all__ = ["app", "generate"]

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
    dry_run: Annotated[bool, MORE] = False,
    consent: Consent = NO_CONSENT,
    journal: JournalOptions = NO_OPTIONS,
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
        dry_run: Only show what would be dispatched, refused and stopped at the limit; the exit code
            is the one that the command would end with, as far as it is known.
        consent: The generations that are allowed. By default, --all and a glob that matches several
            features ask.
        journal: The journal.
        common: The options of every command.
    """
    if not watch:
        refuse_without("--watch", timeout=timeout)
    if not watch and journal.on is None:
        refuse_without("--watch", max_in_flight=max_in_flight)
    journal.check()
    spec = BatchSpec(
        kind="generation",
        features=features,
        is_all=all_,
        site_url=site_url,
        on_conflict=on_conflict,
        max_in_flight=max_in_flight,
    )
    async with watching(common, timeout=timeout, has_events=common.json_lines) as watched:
        found = await watched.select(spec)
        why = ["Nothing to generate.", *found.notes]
        if found.features:
            for note in found.notes:
                watched.connection.output.note(note)
        question = "Generate {}? Each costs credits."
        work = Work(
            spec=spec,
            jobs=found.jobs,
            has_tests=found.has_tests,
            why_nothing=" ".join(why if found.notes else ["Nothing to generate: all have tests."]),
            question=question if found.is_wider else None,
            first="What is generating is waited for first: minutes each."
            if on_conflict == "wait"
            else "",
        )
        return await dispatch(
            watched, work, consent=consent, journal=journal, dry_run=dry_run, waits=watch
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
