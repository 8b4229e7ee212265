"""The downloaded files that show each failed test.

Decides by the words of names alone, since the service does not say: Playwright names its files and
folders by their test. Pure, except `read_images`, which reads screenshots for the page.
"""

from __future__ import annotations

import base64
import re
import shlex
from contextlib import suppress
from itertools import takewhile
from operator import eq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["files_by_name", "is_trace", "read_images", "show_trace"]

MAX_IMAGE_BYTES = 1_000_000
"""Size of the largest screenshot that becomes part of the page."""

MAX_IMAGES_BYTES = 16_000_000
"""Size of all screenshots that become part of the page."""

_IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
_TYPES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"))
"""The types of images by their first bytes; no other image is shown."""

_RANKS = (_IMAGES, {".zip"}, {".webm", ".mp4"})
"""Endings of files, the most informative first."""


def files_by_name(files: Iterable[Path], names: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Return the files that show each test: screenshots first, then traces and videos.

    A file belongs to the test whose name shares most words with it; a test alone has all of them.

    Args:
        files: The files of one run.
        names: The names of the tests that failed, or else the first one.
    """
    found: dict[str, list[Path]] = {name: [] for name in names}
    for file in sorted(files, key=_rank):
        scores = {name: _likeness(name, file) for name in names}
        best = max(scores.values())
        for name, score in scores.items():
            if score == best and (score > 0 or len(names) == 1):
                found[name].append(file)
    return {name: tuple(each) for name, each in found.items()}


def is_trace(file: Path) -> bool:
    """Return whether a file opens in Playwright's trace viewer."""
    return file.suffix.lower() == ".zip" and "trace" in file.as_posix().lower()


def show_trace(file: Path) -> str:
    """Return the command that shows a trace, to be pasted into a shell."""
    return f"npx playwright show-trace {shlex.quote(file.as_posix())}"


def read_images(
    files: Iterable[Path], folder: Path, *, most: int = MAX_IMAGES_BYTES
) -> dict[Path, str]:
    """Return those files that are images as data URLs, within the size limit.

    Args:
        files: The first file of each failed test, those first that matter most.
        folder: Base folder of relative paths.
        most: Bytes of all of them.
    """
    images: dict[Path, str] = {}
    for file in dict.fromkeys(files):
        if file.suffix.lower() in _IMAGES:
            content = _read(folder / file, min(most, MAX_IMAGE_BYTES))
            kind = next((name for magic, name in _TYPES if content.startswith(magic)), None)
            if kind is not None:
                images[file] = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
                most -= len(content)
    return images


def _read(path: Path, most: int) -> bytes:
    """Return a file's bytes; none if it is too large, or can't be read."""
    with suppress(OSError), path.open("rb") as file:
        content = file.read(most + 1)
        return content if len(content) <= most else b""
    return b""


def _likeness(name: str, file: Path) -> int:
    """Return the number of leading words shared by a test's name and a file or its folder."""
    wanted = _words(name)
    parts = (file.stem, *file.parts[-3:-1])
    return max(len(list(takewhile(bool, map(eq, wanted, _words(part))))) for part in parts)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower().replace("_", " "))


def _rank(file: Path) -> int:
    suffix = file.suffix.lower()
    return next((n for n, endings in enumerate(_RANKS) if suffix in endings), len(_RANKS))
