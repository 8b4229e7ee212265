"""`testvibe-async login` and `logout`: the user's key on this machine.

A key is taken from a prompt that does not show it, or from standard input, never from an argument:
other users of the machine see those. It is stored once the service has accepted it.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from typing import TYPE_CHECKING

from testvibe_async import Client, ConfigError, ResponseError
from testvibe_async._config import read_user_file, require_api_key, require_encrypted, server_name
from testvibe_async.cli.common import COMMON, Common, Flag
from testvibe_async.cli.stored import forget_key, store_key

if TYPE_CHECKING:
    from testvibe_async import ProjectInfo

__all__ = ["login", "logout"]


def login(*, stdin: Flag = False, common: Common = COMMON) -> None:
    """Store an API key on this machine, for one server.

    It asks for what it needs, tries the key on the service, and writes it to your own configuration
    file, which nobody else can read. A key that is stored for one server is sent to no other.

    For example:

        testvibe-async login
        testvibe-async login --server https://testvibe.example
        testvibe-async login --server https://testvibe.example --stdin < key.txt

    Args:
        stdin: Read the key from standard input, as is done anyway where that is no terminal.
        common: The options of every command.
    """
    server = server_name(common.server or os.environ.get("TESTVIBE_SERVER") or _ask_server())
    require_encrypted(server, allow_http=common.allow_http)
    api_key = _ask_key() if sys.stdin.isatty() and not stdin else sys.stdin.readline().strip()
    require_api_key(api_key)
    try:
        projects = asyncio.run(_try(server, api_key, allow_http=common.allow_http))
    except ResponseError as error:
        error.add_note("the key was not stored")
        raise
    path = store_key(server, api_key)
    output = common.output
    output.document({"server": server, "path": path, "projects": projects})
    output.say(f"Logged in to {server}, with {_count(projects)}. The key is in {path}.")
    if os.environ.get("TESTVIBE_API_KEY"):
        output.note("TESTVIBE_API_KEY is set, and comes before the key that is stored.")


def logout(*, common: Common = COMMON) -> None:
    """Remove the API key of one server from this machine.

    It stays valid at the service: revoke it there if others may have seen it.

    For example:

        testvibe-async logout
        testvibe-async logout --server https://testvibe.example
    """
    server = server_name(common.server or _stored_server())
    path = forget_key(server)
    if path is None:
        raise ConfigError(f"there is no key for {server} on this machine")
    common.output.document({"server": server, "path": path})
    common.output.say(f"The key for {server} is no longer in {path}.")


def _ask_server() -> str:
    if not sys.stdin.isatty():
        raise ConfigError("no server: pass --server https://… or set TESTVIBE_SERVER")
    sys.stderr.write("Server, such as https://testvibe.example: ")
    sys.stderr.flush()
    return sys.stdin.readline()


def _ask_key() -> str:
    try:
        return getpass.getpass("API key, tvb_… (it is not shown): ", sys.stderr).strip()
    except EOFError:
        return ""


def _stored_server() -> str:
    stored = read_user_file()
    if stored is None or stored.server is None:
        raise ConfigError("there is no key on this machine")
    return stored.server


async def _try(server: str, api_key: str, *, allow_http: bool) -> list[ProjectInfo]:
    """Ask the service for something that only a valid key gets."""
    # A project of one's own, so that no file is read: nothing of it is in force here.
    async with Client(server, api_key=api_key, project="-", allow_http=allow_http) as client:
        return await client.list_projects()


def _count(projects: list[ProjectInfo]) -> str:
    return "1 project" if len(projects) == 1 else f"{len(projects)} projects"
