"""`testvibe-async features` and `files`: what the project has at the service.

Decides when to ask before a feature is deleted, and nothing else: each command is one call.
"""

from __future__ import annotations

from cyclopts import App

from testvibe_async import ConfigError
from testvibe_async._core.util import escape
from testvibe_async.cli import completion
from testvibe_async.cli.common import connected
from testvibe_async.cli.completion import FeatureName  # noqa: TC001 - cyclopts reads the annotations at run time
from testvibe_async.cli.names import suggesting
from testvibe_async.cli.text import TextFile, Yes, confirm, read_text

app: App = App(name="features", help="List, read, add, change and delete features.")

files: App = App(name="files", help="Read and write the project's files.")


@app.command(name="list")
async def list_() -> None:
    """List the project's features.

    For example:

        testvibe-async features list
        testvibe-async features list --json | jq -r '.[] | select(.status == "generated").name'
    """
    async with connected() as connection:
        found = await connection.project.list_features()
    completion.keep(features=[each.name for each in found])
    connection.output.rows(
        found,
        ("Id", "Name", "Status", "Kind", "Updated"),
        lambda each: (each.id, each.name, each.status, each.kind, each.updated_at),
    )


@app.command
async def show(feature: FeatureName, /, *, gherkin: bool = False) -> None:
    """Show one feature: its Gherkin on standard output, and its facts on standard error.

    For example:

        testvibe-async features show "Login Functionality"
        testvibe-async features show 12 --gherkin > login.feature

    Args:
        feature: Its id, or its name in any case.
        gherkin: Show the Gherkin and nothing else, byte for byte.
    """
    async with connected() as connection, suggesting(connection, feature):
        found = await connection.project.get_feature(feature)
    output = connection.output
    output.document(found)
    if gherkin:
        output.data(found.gherkin or "")
        return
    facts = [str(found.id), found.name, found.status, found.kind]
    updated = f"updated {found.updated_at:%Y-%m-%d %H:%M} UTC" if found.updated_at else None
    output.note("  ".join(escape(fact) for fact in [*facts, updated] if fact) + "\n")
    if found.rationale:
        output.note(f"{found.rationale}\n")
    output.text(found.gherkin or "")


@app.command
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


@app.command
async def update(
    feature: FeatureName,
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


@app.command
async def delete(
    feature: FeatureName,
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
