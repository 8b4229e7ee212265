"""`testvibe-async projects` and `use`: which projects there are, and which one is meant here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testvibe_async import ConfigError
from testvibe_async.cli.common import COMMON, Common, connected
from testvibe_async.cli.stored import store_project
from testvibe_async.cli.words import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testvibe_async import ProjectInfo

__all__ = ["projects", "use"]


async def projects(*, common: Common = COMMON) -> None:
    """List the projects that your API key may see.

    For example:

        testvibe-async projects
        testvibe-async projects --json | jq -r '.[].id'
    """
    async with connected(common) as connection:
        found = await connection.client.list_projects()
    connection.output.document(found)
    connection.output.table(
        ("Id", "Name", "Site"), [(each.id, each.name, each.base_url) for each in found]
    )


async def use(project: str, /, *, common: Common = COMMON) -> None:
    """Choose the project that the commands in this repository are about.

    It is written to the file .testvibe-async.toml, with the server that has it. The file holds no
    secret: commit it, and all who clone the repository use the same project.

    For example:

        testvibe-async use "Acme Shop"
        testvibe-async use 7f3c9a4e-1f4b-4c53-9d0e-2b6a7c1d8e90

    Args:
        project: The project's id, or its name in any case.
        common: The options of every command.
    """
    async with connected(common) as connection:
        chosen = _chosen(project, await connection.client.list_projects())
        path = store_project(connection.client.server, chosen.id)
    connection.output.document({"project": chosen, "path": path})
    name = clean(chosen.name or "The project")
    connection.output.say(f"{name} ({clean(chosen.id)}) is used here: {path}")


def _chosen(wanted: str, projects: Sequence[ProjectInfo]) -> ProjectInfo:
    """Return the project of an id or a name; an id comes first.

    Raises:
        ConfigError: There is none, or there are several.
    """
    word = wanted.casefold()
    found = [each for each in projects if each.id.casefold() == word] or [
        each for each in projects if (each.name or "").casefold() == word
    ]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{each.name} ({each.id})" for each in found or projects)
    if found:
        message = f"{len(found)} projects are called {wanted!r}, choose by id: {listed}"
    else:
        message = f"there is no project {wanted!r}; there are: {listed or 'none'}"
    raise ConfigError(message)
