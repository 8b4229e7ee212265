"""Where an artifact may be put. Pure: it works on names, never on a disk.

An artifact's path comes from outside, so it is hostile until proven otherwise. What comes back is
good on every system, whichever this one is, so that one run leaves the same files everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

__all__ = ["safe_paths"]

MAX_SEGMENT_BYTES = 255
"""What the common file systems take for one name."""

MAX_PATH_BYTES = 512
"""A longer path keeps its file's name alone, in a directory that is named by the path's hash."""

MAX_SEGMENTS = 16
"""A path of more names becomes the same: each costs something."""

MAX_EXTENSION_BYTES = 32
"""What a name that is cut keeps of its end, where that is no longer."""

_FORBIDDEN = re.compile(r'[<>:"|?*]')
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE
)


def safe_paths(paths: Sequence[str]) -> list[str]:
    """Return a relative path for each path, to be put below a directory, with `/` in between.

    A plain one such as `trace/locked-out-user.zip` stays as it is. In others a character that some
    system refuses becomes `_`, and so does a dot at the start of a name (and with it every `..`); a
    name that is too long is cut and gets a hash, and one that is taken gets a number. No two are
    the same file on systems that ignore case or Unicode's normal forms, and none is a
    directory above another. The same list always gives the same paths.
    """
    cleaned = [_cleaned(path) for path in paths]
    taken = _Taken()
    kept = {
        place: path
        for place, path in enumerate(cleaned)
        if path == paths[place] and taken.claim(path)
    }
    return [kept.get(place) or taken.claim_similar(path) for place, path in enumerate(cleaned)]


def _cleaned(path: str) -> str:
    """Return a path that every system takes as it is, and that leads down."""
    segments = [part for part in re.split(r"[/\\]", path) if part not in {"", "."}] or ["_"]
    if (len(path) > MAX_PATH_BYTES and len(segments) > 1) or len(segments) > MAX_SEGMENTS:
        segments = [_hash(path), segments[-1]]
    cleaned = "/".join(map(_name, segments))
    if len(cleaned.encode()) > MAX_PATH_BYTES:
        return f"{_hash(path)}/{cleaned.rpartition('/')[2]}"
    return cleaned


def _name(text: str) -> str:
    """Return the name that a segment of a path becomes."""
    text = _cut(text, of=text) if len(text) > MAX_SEGMENT_BYTES else text
    printable = "".join(char if char.isprintable() else "_" for char in text)
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", printable)).rstrip(". ") or "_"
    if name.startswith("."):
        name = "_" + name[1:]
    if _RESERVED.match(name):
        name = "_" + name
    return _cut(name, of=text) if len(name.encode()) > MAX_SEGMENT_BYTES else name


def _cut(name: str, *, of: str) -> str:
    """Make a name shorter, and different from others with the same start."""
    return _marked(name, f"-{_hash(of)}")


def _marked(name: str, mark: str) -> str:
    """Put a mark before a name's extension, and take away before it what is too much then."""
    stem, dot, extension = name.rpartition(".")
    if not stem or len(_utf8(extension)) > MAX_EXTENSION_BYTES:
        stem, dot, extension = name, "", ""
    end = mark + dot + extension
    return _utf8(stem)[: MAX_SEGMENT_BYTES - len(_utf8(end))].decode(errors="ignore") + end


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")


def _hash(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def _folded(path: str) -> str:
    """Return what any two paths share that some file system takes for one."""
    return "/".join(map(_folded_name, path.split("/")))


def _folded_name(name: str) -> str:
    folded = unicodedata.normalize("NFKD", name).casefold().upper().casefold()
    return unicodedata.normalize("NFKD", folded).casefold().replace("/", ":")


def _above(path: str) -> list[str]:
    """Return the directories above a path."""
    return [path[:place] for place, char in enumerate(path) if char == "/"]


class _Taken:
    """The paths that were given out so far, each folded."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._directories: set[str] = set()
        self._similar: dict[str, str] = {}
        self._next_numbers = defaultdict[str, int](lambda: 2)

    def claim(self, path: str) -> bool:
        """Take a path, unless another stands in its way."""
        file = _folded(path)
        directories = _above(file)
        if file in self._files or file in self._directories:
            return False
        if not self._files.isdisjoint(directories):
            return False
        self._files.add(file)
        self._directories.update(directories)
        return True

    def claim_similar(self, path: str) -> str:
        """Take a path, with a number on each of its names where another stands in the way."""
        *directories, name = path.split("/")
        parent = ""
        for directory in directories:
            parent = self._directory(parent + directory) + "/"
        file = self._free(parent + name, self._files, self._directories)
        self.claim(file)
        return file

    def _directory(self, path: str) -> str:
        """Return the directory that takes the place of one whose name is a file's."""
        folded = _folded(path)
        if folded in self._files and folded not in self._similar:
            self._similar[folded] = self._free(path, self._files)
        return self._similar.get(folded, path)

    def _free(self, path: str, *taken: Container[str]) -> str:
        """Return a path, or the first with a number that is free."""
        parent, slash, name = path.rpartition("/")
        # Names that are too long may be alike once they are cut for a number, and so share it.
        folded = _folded(parent + slash + _marked(name, "-0000000"))
        while any(_folded(path) in group for group in taken):
            path = parent + slash + _marked(name, f"-{self._next_numbers[folded]}")
            self._next_numbers[folded] += 1
        return path
