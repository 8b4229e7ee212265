"""`testvibe-async files` and `configs`: the project's files at the service, and its configurations.

It decides nothing: each command is one call of the service.
"""

from __future__ import annotations

from cyclopts import App

from testvibe_async.cli.common import COMMON, Common, connected
from testvibe_async.cli.input import TextFile, read_text

__all__ = ["app", "configs"]

app: App = App(name="files", help="List, read and write the project's files.")


@app.command(name="list")
async def list_(*, common: Common = COMMON) -> None:
    """List the project's files.

    For example:

        testvibe-async files list
    """
    async with connected(common) as connection:
        found = await connection.project.list_files()
    connection.output.document(found)
    connection.output.table(
        ("Path", "Kind", "Source"), [(each.path, each.kind, each.source) for each in found]
    )


@app.command
async def get(path: str, /, *, common: Common = COMMON) -> None:
    """Print a file, byte for byte; a template where the project has no content of its own.

    For example:

        testvibe-async files get Configurations/Mobile.config.js
        testvibe-async files get Features/login.feature > login.feature

    Args:
        path: Its path at the service.
        common: The options of every command.
    """
    async with connected(common) as connection:
        found = await connection.project.read_file(path)
    connection.output.document(found)
    connection.output.data(found.content or "")


@app.command
async def put(path: str, /, *, file: TextFile, common: Common = COMMON) -> None:
    """Write a whole file.

    The service takes files below Features/ and Configurations/, of at most 256 KB; the others are
    its own.

    For example:

        testvibe-async files put Configurations/Mobile.config.js --file mobile.config.js

    Args:
        path: Its path at the service.
        file: The file with its content; - for standard input.
        common: The options of every command.
    """
    content = read_text(file)
    async with connected(common) as connection:
        await connection.project.write_file(path, content)
    connection.output.document({"ok": True})
    connection.output.say(f"{path} is written.")


async def configs(*, common: Common = COMMON) -> None:
    """List the project's run configurations.

    For example:

        testvibe-async configs
    """
    async with connected(common) as connection:
        found = await connection.project.list_configs()
    connection.output.document(found)
    connection.output.table(("Name", "Path"), [(each.name, each.path) for each in found])
