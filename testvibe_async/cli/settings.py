"""`testvibe-async settings`, `projects` and `use`: the settings that are in force.

Decides how settings are shown, the key masked, and it writes the repository's file, in which
comments stay. What is in force, and what that file may contain, is decided in
`testvibe_async._config`.
"""

from __future__ import annotations

from pathlib import Path

from testvibe_async import ConfigError
from testvibe_async._config import (
    REPOSITORY_FILE,
    Setting,
    find_repository,
    find_settings,
    masked,
    read_repository_file,
    user_file_path,
)
from testvibe_async._util import escape
from testvibe_async.cli.common import COMMON, Common, batches_folder, connected
from testvibe_async.runner.names import chosen_project


def settings(*, common: Common = COMMON) -> None:
    """Show which server, API key, project and routes are in force, and where each comes from.

    Arguments come first, then TESTVIBE_SERVER, TESTVIBE_API_KEY and TESTVIBE_PROJECT, then the
    file .testvibe-async.toml of the repository, then your own configuration file. Of the key only
    the beginning is shown. The table [endpoints] of both files holds the routes that operations
    have at your service, where the usual ones are only assumed.

    For example:

        testvibe-async settings
        testvibe-async settings --json
    """
    found = find_settings(common.server, project=common.project)
    shown = {
        "server": _shown(found.server),
        "apiKey": _shown(found.api_key, is_secret=True),
        "project": _shown(found.project),
    }
    routes = {name: _shown(route) for name, route in found.endpoints.items()}
    output = common.output
    output.document({**shown, "endpoints": routes, "journals": batches_folder()})
    names = ("server", "API key", "project", *(f"route of {name}" for name in routes))
    output.table(
        ("Setting", "Value", "From"),
        [
            (name, *(each.values() if each else (None, "not set")))
            for name, each in zip(names, (*shown.values(), *routes.values()), strict=True)
        ],
    )
    if path := user_file_path():
        output.note(f"Your own configuration file is {path}.")
    output.note(f"The journals of your batches are in {batches_folder()}.")


async def projects(*, common: Common = COMMON) -> None:
    """List the projects that your API key may see.

    For example:

        testvibe-async projects
        testvibe-async projects --json | jq -r '.[].id'
    """
    async with connected(common) as connection:
        found = await connection.client.list_projects()
    connection.output.rows(
        found, ("Id", "Name", "Site"), lambda each: (each.id, each.name, each.base_url)
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
        chosen = chosen_project(project, await connection.client.list_projects())
        path = store_project(connection.client.server, chosen.id)
    name = escape(chosen.name or "The project")
    connection.output.result(
        {"project": chosen, "path": path}, f"{name} ({escape(chosen.id)}) is used here: {path}"
    )


def _shown(setting: Setting | None, *, is_secret: bool = False) -> dict[str, str] | None:
    """Return a setting and its source; a secret is masked."""
    if setting is None:
        return None
    value = setting.value
    if is_secret:
        # A value of another form may be another secret, put there by mistake.
        is_usual = masked(value) != value
        value = masked(value) if is_usual else f"{len(value)} characters of another form"
    return {"value": value, "from": setting.source}


def store_project(server: str, project: str) -> Path:
    """Write a project, and the server that has it, to the repository's file.

    Returns:
        The file: the one in force here, else a new one at the repository's root, or in the working
        directory outside of a repository.

    Raises:
        ConfigError: The present file is invalid, or a symbolic link.
        OSError: It can't be written.
    """
    import tomlkit  # noqa: PLC0415 - it takes long to import, and `settings` does without it

    present = read_repository_file()
    path = present.path if present else (find_repository() or Path.cwd()) / REPOSITORY_FILE
    if path.is_symlink():
        raise ConfigError(
            f"{path} is a symbolic link, and what a repository links to is not written: "
            "put a file in its place"
        )
    document = (
        tomlkit.parse(path.read_text(encoding="utf-8-sig")) if present else tomlkit.document()
    )
    document["server"] = server
    document["project"] = project
    path.write_text(tomlkit.dumps(document), encoding="utf-8", newline="")
    return path
