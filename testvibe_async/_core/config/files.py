"""The files that contain settings: a repository's own, and the user's.

Decides where the files are, what they may contain, and what is refused; never which of them takes
effect. It reads and does not write.

A repository's file is for everyone who clones the repository: it names a project, perhaps a server,
and never a key. The user's file holds the keys, each for one server, so only the user may be able
to read it.
"""

from __future__ import annotations

import os
import stat
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from attrs import field, frozen

from testvibe_async._core.config.validate import masked
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPOSITORY_FILE = ".testvibe-async.toml"
"""The name of a repository's file."""

MAX_REPOSITORY_CHARACTERS = 8192
"""Maximum number of characters of that file: a longer, hostile one would take minutes to parse."""

MAX_USER_CHARACTERS = 2**20

Table: TypeAlias = dict[str, Any]

_REPOSITORY = {"server": str, "project": str, "endpoints": {"*": str}, "quarantine": list}
_USER = {"server": str, "servers": {"*": {"api_key": str}}, "endpoints": {"*": str}}


@frozen(kw_only=True)
class RepositoryFile:
    """The settings of a repository."""

    path: Path
    server: str | None = None
    project: str | None = None
    endpoints: Mapping[str, str] = field(factory=dict[str, str])
    """The routes of operations."""

    quarantine: Sequence[Any] = ()
    """The entries of a quarantine; their reader checks them."""


@frozen(kw_only=True)
class UserFile:
    """The settings that the user stored on this machine."""

    path: Path
    server: str | None = None
    """The server to use if none is named."""

    api_keys: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    """The key of each server, by the server's address as the user wrote it."""

    endpoints: Mapping[str, str] = field(factory=dict[str, str])
    """The routes of operations."""

    is_private: bool = True
    """True if only the user can read the file."""


def read_repository_file() -> RepositoryFile | None:
    """Read the file of the repository in which this process runs; None if there is none.

    The nearest file counts, from the working directory up to the root of the repository. Outside of
    a repository, only the working directory counts: anyone may have written the files above.

    Raises:
        ConfigError: The file can't be read, or has forbidden content.
    """
    path = next((path for path in _candidates() if _is_file(path)), None)
    if path is None:
        return None
    text, _ = _read(path, max_characters=MAX_REPOSITORY_CHARACTERS)
    table = _parse(path, text)
    if "api_key" in table or "servers" in table or masked(text) != text:
        raise ConfigError(
            f"{path} holds an API key, and others read what is in a repository: revoke the key, "
            "remove it from the file, and store a new one with 'testvibe-async login'"
        )
    return RepositoryFile(path=path, **_checked(path, table, _REPOSITORY))


def find_repository() -> Path | None:
    """Return the root of the repository in which this process runs; None outside of one."""
    return next((path for path in _upward() if _exists(path / ".git")), None)


def user_file_path() -> Path | None:
    """Return the path of the user's file, existing or not; None without platformdirs."""
    try:
        # It belongs to the extra `cli`, and its import is slow; a client with all settings in code
        # does without.
        from platformdirs import user_config_path  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    return user_config_path("testvibe-async", appauthor=False) / "config.toml"


def read_user_file() -> UserFile | None:
    """Read the user's file; None if there is none.

    Raises:
        ConfigError: The file can't be read, or has forbidden content.
    """
    path = user_file_path()
    if path is None or not _is_file(path):
        return None
    text, mode = _read(path, max_characters=MAX_USER_CHARACTERS)
    table = _parse(path, text)
    table = _checked(path, table, _USER)
    servers: dict[str, dict[str, str]] = table.pop("servers", {})
    return UserFile(
        path=path,
        api_keys={name: entry["api_key"] for name, entry in servers.items() if entry},
        **table,
        # On other systems the mode means nothing; a user's own folder is private there by default.
        is_private=os.name != "posix" or not mode & (stat.S_IRWXG | stat.S_IRWXO),
    )


def _candidates() -> list[Path]:
    folders, root = _upward(), find_repository()
    within = folders[:1] if root is None else folders[: folders.index(root) + 1]
    return [folder / REPOSITORY_FILE for folder in within]


def _upward() -> list[Path]:
    """Return the working directory and its parents; nothing if it was deleted."""
    try:
        here = Path.cwd()
    except OSError:
        return []
    return [here, *here.parents]


def _exists(path: Path) -> bool:
    """Return whether a path exists; an inaccessible one counts as missing."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    return _exists(path) and path.is_file()


def _read(path: Path, *, max_characters: int) -> tuple[str, int]:
    """Return a file's text and its mode."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text, mode = file.read(max_characters + 1), os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigError(
            f"{path} is not TOML: it is not UTF-8"
        ) from None  # the cause holds all of the file
    if len(text) > max_characters:
        raise ConfigError(f"{path} is no file of settings: it has over {max_characters} characters")
    return text, mode


def _parse(path: Path, text: str) -> Table:
    # Its import costs more than creating a client, and most clients read no file.
    import tomllib  # noqa: PLC0415

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also raised for a number that is too long
        raise ConfigError(
            f"{path} is not TOML: {masked(str(error))}"
        ) from None  # from Python 3.14 on, the cause holds all of the file


def _checked(path: Path, table: object, members: Mapping[str, Any], name: str = "") -> Table:
    """Return a table with its texts stripped.

    Args:
        path: The file, for errors.
        table: The content of the file.
        members: The allowed members of the table: `str`, `list`, or the members of a table; `*` for
            any name.
        name: The table's own name; empty for the whole file.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {name} must be a table, not {type(table).__name__}")
    where, checked = f" of [{name}]" if name else "", Table()
    for key, value in cast("Table", table).items():
        member = members.get("*") or members.get(key)
        if member is None:
            similar = get_close_matches(key, members, n=1)
            right = f"did you mean {similar[0]}?" if similar else f"known are {', '.join(members)}"
            raise ConfigError(f"{path}: unknown key {masked(key)!r}{where}; {right}")
        if isinstance(member, dict):
            allowed = cast("Table", member)
            checked[key] = _checked(path, value, allowed, f'{name}."{key}"' if name else key)
        elif member is list and isinstance(value, list):
            checked[key] = value
        elif member is list:
            raise ConfigError(f"{path}: write each entry of {key} as a table [[{key}]]")
        elif isinstance(value, str) and value.strip():
            checked[key] = value.strip()
        else:
            what = "an empty one" if isinstance(value, str) else type(value).__name__
            raise ConfigError(
                f"{path}: {key}{where} must be a string with something in it, not {what}"
            )
    return checked
