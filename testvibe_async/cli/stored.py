"""Writes the files that settings come from; what they may hold is for `_config_files` to say.

The user's file is private from its first byte on, and is replaced as a whole or not at all. What
else is in a file, comments too, stays.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import tomlkit

from testvibe_async import ConfigError
from testvibe_async._config import (
    REPOSITORY_FILE,
    find_repository,
    read_repository_file,
    read_user_file,
    server_name,
    user_file_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tomlkit.items import Table

__all__ = ["forget_key", "store_key", "store_project"]


def store_key(server: str, api_key: str) -> Path:
    """Store the key of a server, and that server as the user's default.

    Returns:
        Where it is.

    Raises:
        ConfigError: The file is there and is not what it should be.
        OSError: It can't be written.
    """
    path, text = _user_text()
    document = tomlkit.parse(text)
    if "server" not in document:
        # Put at the end, it would belong to the last table.
        document = tomlkit.parse(f'server = ""\n{text}')
    document["server"] = server
    servers: Table = document.setdefault("servers", tomlkit.table(is_super_table=True))
    for name in _names_of(server, servers, path):
        del servers[name]
    servers[server] = {"api_key": api_key}
    _replace(path, tomlkit.dumps(document))
    return path


def forget_key(server: str) -> Path | None:
    """Remove the key of a server.

    Returns:
        Where it was; None where there was none.

    Raises:
        ConfigError: The file is not what it should be.
        OSError: It can't be written.
    """
    path, text = _user_text()
    document = tomlkit.parse(text)
    servers: Table = document.setdefault("servers", tomlkit.table(is_super_table=True))
    if not (names := _names_of(server, servers, path)):
        return None
    for name in names:
        del servers[name]
    _replace(path, tomlkit.dumps(document))
    return path


def store_project(server: str, project: str) -> Path:
    """Write a project, and the server that has it, into the file of the repository.

    Returns:
        Where it is: the file that is in force here, else a new one at the repository's root, or in
        the working directory outside of a repository.

    Raises:
        ConfigError: The file is there and is not what it should be.
        OSError: It can't be written.
    """
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


def _user_text() -> tuple[Path, str]:
    """Return where the user's file is or will be, and what is in it."""
    path = user_file_path()
    if path is None:
        raise ModuleNotFoundError(name="platformdirs")
    return path, path.read_text(encoding="utf-8-sig") if read_user_file() else ""


def _names_of(server: str, names: Iterable[str], path: Path) -> list[str]:
    """Return the names of one server in a file, however they are written."""
    return [name for name in names if server_name(name, f"{path}: ") == server]


def _replace(path: Path, text: str) -> None:
    """Put a file in place that nobody else could ever read."""
    target = path.resolve()  # A link to a file elsewhere stays a link.
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
