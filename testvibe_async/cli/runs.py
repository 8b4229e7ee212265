"""`testvibe-async runs` and `generation`: what any client dispatched.

`generation` is about a feature's latest generation.

Decides which call of the service each command makes. How a run looks is decided in `details`.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time

from cyclopts import App
from cyclopts.types import PositiveInt  # noqa: TC002 - likewise

from testvibe_async import ConfigError
from testvibe_async.cli import completion, details
from testvibe_async.cli.common import connected
from testvibe_async.cli.completion import FeatureName, RunId  # noqa: TC001 - cyclopts reads the annotations at run time
from testvibe_async.cli.names import suggesting
from testvibe_async.cli.words import tests_of

app: App = App(name="runs", help="List runs, show one, and download its artifacts.")


@app.command(name="list")
async def list_(
    *,
    feature: FeatureName | None = None,
    limit: PositiveInt | None = None,
) -> None:
    """List runs, the newest first.

    For example:

        testvibe-async runs list --limit 10
        testvibe-async runs list --feature Checkout --json | jq '.[0].runId'

    Args:
        feature: Only runs of this feature: its id, or its name.
        limit: Maximum number of runs; by default as many as the service gives.
    """
    async with connected() as connection, suggesting(connection, feature):
        found = await connection.project.list_runs(feature=feature, limit=limit)
    completion.keep(runs=[run.run_id for run in found])
    connection.output.rows(
        found,
        ("Run", "Feature", "Config", "Status", "Tests", "Created"),
        lambda run: (
            *(run.run_id, run.feature_name, run.config, run.status),
            *(tests_of(run), run.created_at),
        ),
    )


@app.command
async def show(run: RunId, /) -> None:
    """Show a run: its tests, their errors, its artifacts, and the end of its log.

    For example:

        testvibe-async runs show 214
        testvibe-async runs show 214 --json | jq -r '.tests[] | select(.status == "failed").name'

    Args:
        run: The run's id.
    """
    async with connected() as connection:
        found = await connection.project.get_run(run)
    connection.output.show(found, lambda width: details.run_details(found, width=width))


@app.command
async def diagnose(run: RunId, /, *, sources: bool = False) -> None:
    """Show why a run failed: whole errors, the end of its log, and the sources if asked to.

    For example:

        testvibe-async runs diagnose 214
        testvibe-async runs diagnose 214 --sources | less

    Args:
        run: The run's id.
        sources: Show the tests' sources and the feature's Gherkin too; --json always has them.
    """
    async with connected() as connection:
        found = await connection.project.diagnose_run(run)
    connection.output.show(
        found, lambda width: details.diagnosis_details(found, with_sources=sources, width=width)
    )


@app.command
async def download(run: RunId, directory: Path, *, kind: tuple[str, ...] = ()) -> None:
    """Download the files that a run left.

    For example:

        testvibe-async runs download 214 artifacts/214
        testvibe-async runs download 214 traces --kind trace --kind screenshot

    Args:
        run: The run's id.
        directory: Folder for the files; it is created if there are any.
        kind: Only files of this kind: trace, screenshot, video or report. May be repeated.
    """
    async with connected() as connection:
        output = connection.output
        if kind:
            there = {each.kind for each in await connection.project.get_run_artifacts(run)}
            if there and not there & {*kind}:
                raise ConfigError(
                    f"run {run} has no files of kind {' or '.join(kind)}; it has "
                    f"{', '.join(sorted(there))}"
                )
        with output.busy(f"Downloading the files of run {run}"):
            paths = await connection.project.download_artifacts(
                run, directory, kinds=set(kind) or None
            )
    output.document(paths)
    for path in paths:
        output.say(str(path))
    if not paths:
        output.note(f"Run {run} has left no files, or none yet.")


generation: App = App(
    name="generation",
    help="Show the status of a feature's latest generation, or cancel it.",
)


@generation.command
async def status(feature: FeatureName, /) -> None:
    """Show the state of a feature's latest generation, section by section.

    For example:

        testvibe-async generation status Checkout
        testvibe-async generation status Checkout --json | jq -r .featureStatus

    Args:
        feature: Its id, or its name in any case.
    """
    async with connected() as connection, suggesting(connection, feature):
        found = await connection.project.get_generation_status(feature)
    connection.output.show(found, lambda _: details.generation_details(found))


@generation.command
async def log(feature: FeatureName, /, *, lines: PositiveInt | None = None) -> None:
    """Show the log of a feature's latest generation, each section's reason first.

    For example:

        testvibe-async generation log Checkout
        testvibe-async generation log Checkout --lines 5

    Args:
        feature: Its id, or its name in any case.
        lines: Number of lines of each section, from its end; all by default.
    """
    async with connected() as connection, suggesting(connection, feature):
        found = await connection.project.get_generation_log(feature)
    connection.output.show(
        found, lambda width: details.log_details(found, limit=lines, width=width)
    )


@generation.command
async def cancel(feature: FeatureName, /) -> None:
    """Cancel a feature's generation, dispatched by any client.

    For example:

        testvibe-async generation cancel Checkout

    Args:
        feature: Its id, or its name in any case.
    """
    async with connected() as connection, suggesting(connection, feature):
        await connection.project.cancel_generation(feature)
    connection.output.result({"ok": True}, f"The generation of {feature} is cancelled.")
