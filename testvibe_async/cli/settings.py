"""`testvibe-async settings`, `projects`, `use`, `login` and `logout`: the settings in force.

Decides how settings are shown, the key masked, and writes them: the project to the repository's
file, and the key to the user's own, in which comments stay. What may be in them is decided in
`testvibe_async._core.config`.

A key is taken from a prompt that does not show it, or from standard input, never from an argument:
other users of the machine see those. It is stored once the service has accepted it, in a file that
is private from its first byte on and replaced as a whole or not at all.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from testvibe_async import ConfigError, ResponseError
from testvibe_async._core.config import (
    REPOSITORY_FILE,
    Setting,
    find_repository,
    find_settings,
    masked,
    read_repository_file,
    read_user_file,
    require_api_key,
    require_encrypted,
    server_name,
    user_file_path,
)
from testvibe_async._core.util import escape
from testvibe_async._core.util.replacement import replace_file
from testvibe_async.cli.common import common, connected
from testvibe_async.cli.text import ask
from testvibe_async.runner.names import chosen_project
from testvibe_async.runner.words import NAME, counted

if TYPE_CHECKING:
    from tomlkit.items import Table

    from testvibe_async import ProjectInfo


def settings() -> None:
    """Show which server, API key, project and routes are in force, and where each comes from.

    Arguments come first, then TESTVIBE_SERVER, TESTVIBE_API_KEY and TESTVIBE_PROJECT, then the
    file .testvibe-async.toml of the repository, then your own configuration file. Of the key only
    the beginning is shown. The table [endpoints] of both files holds the routes that operations
    have at your service, where the usual ones are only assumed.

    For example:

        testvibe-async settings
        testvibe-async settings --json
    """
    given = common.get()
    found = find_settings(given.server, project=given.project)
    shown = {
        "server": _shown(found.server),
        "apiKey": _shown(found.api_key, is_secret=True),
        "project": _shown(found.project),
    }
    routes = {name: _shown(route) for name, route in found.endpoints.items()}
    output = given.output
    output.document({**shown, "endpoints": routes, "ledger": given.ledger_path})
    names = ("server", "API key", "project", *(f"route of {name}" for name in routes))
    output.table(
        ("Setting", "Value", "From"),
        [
            (name, *(each.values() if each else (None, "not set")))
            for name, each in zip(names, (*shown.values(), *routes.values()), strict=True)
        ],
    )
    output.note(f"Your own configuration file is {user_file_path()}.")
    output.note(f"Your batches are in the ledger {given.ledger_path}.")


async def projects() -> None:
    """List the projects that your API key may see.

    For example:

        testvibe-async projects
        testvibe-async projects --json | jq -r '.[].id'
    """
    async with connected() as connection:
        found = await connection.client.list_projects()
    connection.output.rows(
        found, ("Id", "Name", "Site"), lambda each: (each.id, each.name, each.base_url)
    )


async def use(project: str, /) -> None:
    """Choose the project that the commands in this repository are about.

    It is written to the file .testvibe-async.toml, with the server that has it. The file holds no
    secret: commit it, and all who clone the repository use the same project.

    For example:

        testvibe-async use "Acme Shop"
        testvibe-async use 7f3c9a4e-1f4b-4c53-9d0e-2b6a7c1d8e90

    Args:
        project: The project's id, or its name in any case.
    """
    async with connected() as connection:
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
    import tomlkit  # noqa: PLC0415 - see `login`

    present = read_repository_file()
    folder = find_repository() or Path.cwd()
    path = present.path if present else folder / REPOSITORY_FILE
    if path.is_symlink():
        raise ConfigError(
            f"{path} is a symbolic link, and what a repository links to is not written: "
            "put a file in its place"
        )
    document = tomlkit.parse(path.read_text(encoding="utf-8-sig") if present else "")
    document["server"], document["project"] = server, project
    path.write_text(document.as_string(), encoding="utf-8", newline="")
    return path


def login() -> None:
    """Store an API key on this machine, for one server.

    It asks for what it needs, or reads the key from a pipe or a file, and tries it on the service.
    It is kept in your own configuration file, which no other user can read. A key that is stored
    for one server is sent to no other.

    For example:

        testvibe-async login
        testvibe-async login --server https://testvibe.example
        testvibe-async login --server https://testvibe.example < key.txt
    """
    import asyncio  # noqa: PLC0415 - `settings` does without it, and without tomlkit

    given = common.get()
    named = given.server or os.environ.get("TESTVIBE_SERVER") or _ask_server()
    server = server_name(named)
    require_encrypted(server, allow_http=given.allow_http)
    typed = _ask_key() if sys.stdin.isatty() else sys.stdin.readline()
    api_key = require_api_key(typed)
    try:
        projects = asyncio.run(_try(server, api_key, allow_http=given.allow_http))
    except ResponseError as error:
        error.advice = ""  # It names the source of the key, which was typed.
        error.add_note("the key was not stored")
        raise
    path = set_key(server, api_key)
    output = given.output
    output.result(
        {"server": server, "path": path, "projects": projects},
        f"Logged in to {server}, with {counted(len(projects), 'project')}. The key is in {path}.",
    )
    output.say(f"To choose the project of a repository, type there: {NAME} use NAME")
    if os.environ.get("TESTVIBE_API_KEY"):
        output.note("TESTVIBE_API_KEY is set, and comes before the key that is stored.")


def logout() -> None:
    """Remove the API key of one server from this machine.

    It stays valid at the service: revoke it there if others may have seen it.

    For example:

        testvibe-async logout
        testvibe-async logout --server https://testvibe.example
    """
    stored = read_user_file()
    server = common.get().server or (stored.server if stored else None)
    if server is None:
        raise ConfigError("there is no key on this machine")
    server = server_name(server)
    path = set_key(server, None)
    if path is None:
        raise ConfigError(f"there is no key for {server} on this machine")
    common.get().output.result(
        {"server": server, "path": path}, f"The key for {server} is no longer in {path}."
    )


def set_key(server: str, api_key: str | None) -> Path | None:
    """Store the key of a server, and that server as the user's default; or remove the key.

    Args:
        server: The server.
        api_key: Its key; None to remove the present one.

    Returns:
        The file; None if it had no key to remove.

    Raises:
        ConfigError: The present file is invalid.
        OSError: It can't be written.
    """
    import tomlkit  # noqa: PLC0415 - see `login`

    path = user_file_path()
    if path is None:
        raise ModuleNotFoundError(name="platformdirs")
    text = path.read_text(encoding="utf-8-sig") if read_user_file() else ""
    document = tomlkit.parse(text)
    if api_key is not None:
        # Appended below dotted keys it would belong to the last of them.
        document = document if "server" in document else tomlkit.parse(f'server = ""\n{text}')
        document["server"] = server
    servers: Table = document.setdefault("servers", tomlkit.table(is_super_table=True))
    spellings = [name for name in servers if server_name(name, f"{path}: ") == server]
    for name in spellings:
        del servers[name]
    if api_key is not None:
        servers[server] = {"api_key": api_key}
    elif not spellings:
        return None
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise ConfigError(f"{path} is no regular file, so no key is stored there")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(target, document.as_string(), mode=0o600)
    return path


def _ask_server() -> str:
    if not sys.stdin.isatty():
        raise ConfigError("no server: pass --server https://… or set TESTVIBE_SERVER")
    return ask("Server, such as https://testvibe.example: ")


def _ask_key() -> str:
    try:
        return getpass.getpass("API key, tvb_… (it is not shown): ", sys.stderr)
    except EOFError:
        return ""


async def _try(server: str, api_key: str, *, allow_http: bool) -> list[ProjectInfo]:
    """List the projects, which only a valid key can."""
    from testvibe_async import Client  # noqa: PLC0415 - see `login`

    # Given explicitly, so that no file is read: its settings are not in force here.
    async with Client(
        server, api_key=api_key, project="-", endpoints={}, allow_http=allow_http
    ) as client:
        return await client.list_projects()
