"""The commands of one call each: what the project has, and what any client dispatched.

Decides when to ask before a feature is deleted, and which call of the service each command makes.
How a run looks is decided in `details`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time

from cyclopts import App
from cyclopts.types import PositiveInt  # noqa: TC002 - likewise

from testvibe_async import ConfigError, NotFoundError
from testvibe_async._core.util import escape
from testvibe_async.cli import details
from testvibe_async.cli.common import RunId, connected, suggesting
from testvibe_async.cli.text import TextFile, Yes, confirm, read_text, tests_of

features: App = App(name="features", help="List, read, add, change and delete features.")

files: App = App(name="files", help="Read and write the project's files.")


@features.default
@features.command(name="list")
async def list_features() -> None:
    """List the project's features.

    For example:

        testvibe-async features list
        testvibe-async features list --json | jq -r '.[] | select(.status == "generated").name'
    """
    async with connected() as connection:
        found = await connection.project.list_features()
    connection.output.rows(
        found,
        ("Id", "Name", "Status", "Kind", "Updated"),
        lambda each: (each.id, each.name, each.status, each.kind, each.updated_at),
    )


@features.command(name="show")
async def show_feature(feature: str, /) -> None:
    """Show one feature: its Gherkin on standard output, and its facts on standard error.

    For example:

        testvibe-async features show "Login Functionality"
        testvibe-async features show 12 > login.feature

    Args:
        feature: Its id, or its name in any case.
    """
    async with connected() as connection, suggesting(connection, feature):
        found = await connection.project.get_feature(feature)
    output = connection.output
    output.document(found)
    facts = [str(found.id), found.name, found.status, found.kind]
    updated = f"updated {found.updated_at:%Y-%m-%d %H:%M} UTC" if found.updated_at else None
    output.note("  ".join(escape(fact) for fact in [*facts, updated] if fact) + "\n")
    if found.rationale:
        output.note(f"{found.rationale}\n")
    output.text(found.gherkin or "")


@features.command
async def create(name: str, /, *, file: TextFile) -> None:
    """Add a feature. That does not generate its tests.

    For example:

        testvibe-async features create "Gift cards" --file gift-cards.feature
        generate-gherkin | testvibe-async features create "Gift cards" --file -

    Args:
        name: Name of the new feature.
        file: The file with its Gherkin; - for standard input.
    """
    gherkin = read_text(file)
    async with connected() as connection:
        made = await connection.project.create_feature(name, gherkin)
    connection.output.result(made, f"Feature {made.id} is {made.name!r}.")


@features.command
async def update(
    feature: str,
    /,
    *,
    file: TextFile | None = None,
    name: str | None = None,
) -> None:
    """Change a feature's Gherkin, its name or both. That does not generate its tests again.

    For example:

        testvibe-async features update "Login Functionality" --file login.feature
        testvibe-async features update 12 --name "Sign in"

    Args:
        feature: Its id, or its name in any case.
        file: The file with its new Gherkin; - for standard input.
        name: Its new name.
    """
    if file is None and name is None:
        raise ConfigError("nothing to change: pass --file, --name or both")
    gherkin = None if file is None else read_text(file)
    async with connected() as connection, suggesting(connection, feature):
        await connection.project.update_feature(feature, name=name, gherkin=gherkin)
    connection.output.result({"ok": True}, f"{feature} is updated.")


@features.command
async def delete(
    feature: str,
    /,
    *,
    yes: Yes = False,
) -> None:
    """Delete a feature.

    For example:

        testvibe-async features delete "Gift cards"
        testvibe-async features delete 12 --yes

    Args:
        feature: Its id, or its name in any case.
        yes: Do not ask first; needed where standard input is no terminal.
    """
    if not yes and not await confirm(f"Delete the feature {feature!r}?"):
        raise ConfigError("nothing was deleted")
    async with connected() as connection, suggesting(connection, feature):
        await connection.project.delete_feature(feature)
    connection.output.result({"ok": True}, f"{feature} is deleted.")


@files.command
async def get(path: str, /) -> None:
    """Print a file, byte for byte; a template if the project has no content of its own.

    For example:

        testvibe-async files get Configurations/Mobile.config.js
        testvibe-async files get Features/login.feature > login.feature

    Args:
        path: Its path at the service.
    """
    async with connected() as connection:
        found = await connection.project.read_file(path)
    connection.output.document(found)
    connection.output.data(found.content or "")


@files.command
async def put(path: str, /, *, file: TextFile) -> None:
    """Write a whole file.

    The service takes files below Features/ and Configurations/, of at most 256 KB; the others are
    its own.

    For example:

        testvibe-async files put Configurations/Mobile.config.js --file mobile.config.js

    Args:
        path: Its path at the service.
        file: The file with its content; - for standard input.
    """
    content = read_text(file)
    async with connected() as connection:
        await connection.project.write_file(path, content)
    connection.output.result({"ok": True}, f"{path} is written.")


runs: App = App(name="runs", help="List runs, show one, and download its artifacts.")


@runs.default
@runs.command(name="list")
async def list_runs(
    *,
    feature: str | None = None,
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
    connection.output.rows(
        found,
        ("Run", "Feature", "Config", "Status", "Tests", "Created"),
        lambda run: (
            *(run.run_id, run.feature_name, run.config, run.status),
            *(tests_of(run), run.created_at),
        ),
    )


@runs.command(name="show")
async def show_run(run: RunId, /) -> None:
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


@runs.command
async def diagnose(run: RunId, /) -> None:
    """Show why a run failed: whole errors, and the end of its log; with --json the sources too.

    For example:

        testvibe-async runs diagnose 214
        testvibe-async runs diagnose 214 --json | jq -r '.specs[].content'

    Args:
        run: The run's id.
    """
    async with connected() as connection:
        found = await connection.project.diagnose_run(run)
    connection.output.show(found, lambda width: details.diagnosis_details(found, width=width))


@runs.command
async def download(run: RunId, directory: Path, /, *, kind: tuple[str, ...] = ()) -> None:
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
        paths = await connection.project.download_artifacts(run, directory, kinds=set(kind) or None)
    output.document(paths)
    for path in paths:
        output.say(str(path))
    if not paths:
        output.note(f"Run {run} has left no files, or none yet.")


generation: App = App(
    name="generation",
    help="Show a feature's latest generation, or cancel it.",
)


@generation.command(name="show")
async def show_generation(feature: str, /) -> None:
    """Show a feature's latest generation: each section with its state, its reason and its log.

    For example:

        testvibe-async generation show Checkout
        testvibe-async generation show Checkout --json | jq -r .generation.featureStatus

    Args:
        feature: Its id, or its name in any case.
    """
    async with connected() as connection, suggesting(connection, feature):
        found = await connection.project.get_generation_status(feature)
        log = None
        with suppress(NotFoundError):  # None is there yet.
            log = await connection.project.get_generation_log(feature)
    connection.output.show(
        {"generation": found, "log": log},
        lambda width: details.generation_details(found, log, width=width),
    )


@generation.command
async def cancel(feature: str, /) -> None:
    """Cancel a feature's generation, dispatched by any client.

    For example:

        testvibe-async generation cancel Checkout

    Args:
        feature: Its id, or its name in any case.
    """
    async with connected() as connection, suggesting(connection, feature):
        await connection.project.cancel_generation(feature)
    connection.output.result({"ok": True}, f"The generation of {feature} is cancelled.")
