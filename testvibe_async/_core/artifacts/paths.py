"""The safe path of an artifact. Pure: it works on names, never on a disk.

An artifact's path is foreign, and so hostile until proven otherwise. The result is valid on every
system, whichever this one is, so that one run leaves the same files everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES = 255
"""Maximum bytes of a path that is kept whole, and of a name: the limit of usual file systems."""

MAX_NAMES = 8
"""Maximum number of names of a path that is kept whole: each has a cost."""

MAX_EXTENSION_BYTES = 32
"""Maximum number of bytes of an extension that a shortened name keeps."""

_FORBIDDEN = re.compile(r'[<>:"|?*]')
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE
)


def safe_paths(paths: Sequence[str]) -> list[str]:
    """Return a relative path for each path, to be put below a directory, with `/` as separator.

    A plain path such as `trace/locked-out-user.zip` is kept. In other paths, a character that some
    system refuses becomes `_`, and so does a dot at the start of a name (and with it every `..`).
    Of a path that is too long, only the last name is kept.

    If an earlier path of the list is in the way, as the same file or as a directory above, the
    first name gets the path's number in the list. No two paths are the same file on systems that
    ignore case or Unicode's normal forms. The same list always gives the same paths.
    """
    files: set[str] = set()
    directories: set[str] = set()
    safe: list[str] = []
    for place, path in enumerate(paths, start=1):
        wanted = candidate = _cleaned(path)
        number = place
        while True:
            file = _folded(candidate)
            above = {file[:index] for index, char in enumerate(file) if char == "/"}
            if not (file in files or file in directories or not files.isdisjoint(above)):
                break
            candidate = _numbered(wanted, number)
            number += len(paths)  # no other path of the list gets it
        files.add(file)
        directories |= above
        safe.append(candidate)
    return safe


def _cleaned(path: str) -> str:
    """Return a path that every system accepts unchanged, and that leads down."""
    parts = [part for part in re.split(r"[/\\]", path) if part not in {"", "."}] or ["_"]
    if len(parts) > MAX_NAMES or len(path) > MAX_BYTES:
        parts = [parts[-1][-MAX_BYTES:]]
    names = [_name(part) for part in parts]
    cleaned = "/".join(names)
    # The mark keeps a shortened name from ending in a dot, or as a reserved word.
    return cleaned if len(cleaned.encode()) <= MAX_BYTES else _marked(names[-1], "-")


def _name(part: str) -> str:
    """Return the name that a part of a path becomes."""
    printable = "".join(char if char.isprintable() else "_" for char in part)
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", printable)).rstrip(". ") or "_"
    if name.startswith("."):
        name = "_" + name[1:]
    return "_" + name if _RESERVED.match(name) else name


def _numbered(path: str, number: int) -> str:
    """Add a number to the first name of a path."""
    first, slash, rest = path.partition("/")
    return _marked(first, f"-{number}") + slash + rest


def _marked(name: str, mark: str) -> str:
    """Insert a mark before a name's extension, and shorten the part before it if necessary."""
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > MAX_EXTENSION_BYTES:
        stem, dot, extension = name, "", ""
    end = mark + dot + extension
    return stem.encode()[: MAX_BYTES - len(end.encode())].decode(errors="ignore") + end


def _folded(path: str) -> str:
    """Return a form that is equal for any two paths that some file system treats as the same."""
    return "/".join(map(_folded_name, path.split("/")))


def _folded_name(name: str) -> str:
    folded = unicodedata.normalize("NFKD", name).casefold().upper().casefold()
    return unicodedata.normalize("NFKD", folded).casefold().replace("/", ":")
