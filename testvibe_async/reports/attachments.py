"""Which downloaded file shows which failed test.

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
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from testvibe_async.reports.cases import Case
    from testvibe_async.reports.entries import Entry

__all__ = ["files_of", "is_trace", "read_images", "show_trace"]

MAX_IMAGE_BYTES = 1_000_000
"""Size of the largest screenshot that becomes part of the page."""

MAX_IMAGES_BYTES = 16_000_000
"""Size of all screenshots that become part of the page."""

_IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
_TYPES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"))
"""The types of images by their first bytes: what is none of these is not shown."""

_RANKS = (_IMAGES, {".zip"}, {".webm", ".mp4"})
"""Endings of files, those that say most at a glance first."""


def files_of(entry: Entry, case: Case) -> list[Path]:
    """Return the files that show a failed test, screenshots first, then traces and videos.

    Where none failed, the first test has all.
    """
    failures = entry.failures or entry.cases[:1]
    if case not in failures:
        return []
    found = [file for file in entry.files if _is_shown(case, file, failures)]
    return sorted(found, key=_rank)


def is_trace(file: Path) -> bool:
    """Return whether a file opens in Playwright's trace viewer."""
    return file.suffix.lower() == ".zip" and "trace" in file.as_posix().lower()


def show_trace(file: Path) -> str:
    """Return the command that shows a trace, to be pasted into a shell."""
    return f"npx playwright show-trace {shlex.quote(file.as_posix())}"


def read_images(
    items: Iterable[Entry], folder: Path, *, most: int = MAX_IMAGES_BYTES
) -> dict[Path, str]:
    """Return the first screenshot of each failed test as a data URL, as far as there is room.

    Args:
        items: The entries, those first whose screenshots matter most.
        folder: What relative paths are relative to.
        most: Bytes of all of them.
    """
    images: dict[Path, str] = {}
    for entry in items:
        for case in entry.failures:
            file = next(iter(files_of(entry, case)), None)
            if file is None or file in images or file.suffix.lower() not in _IMAGES:
                continue
            content = _read(folder / file, min(most, MAX_IMAGE_BYTES))
            kind = next((name for magic, name in _TYPES if content.startswith(magic)), None)
            if kind is not None:
                images[file] = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
                most -= len(content)
    return images


def _read(path: Path, most: int) -> bytes:
    """Return a file's bytes; none where it is too large, or can't be read."""
    with suppress(OSError), path.open("rb") as file:
        content = file.read(most + 1)
        return content if len(content) <= most else b""
    return b""


def _is_shown(case: Case, file: Path, failures: Sequence[Case]) -> bool:
    """Return whether no other failed test is named more like the file; one alone has all."""
    scores: Mapping[str, int] = {each.name: _likeness(each.name, file) for each in failures}
    return scores[case.name] == max(scores.values()) and (
        len(failures) == 1 or scores[case.name] > 0
    )


def _likeness(name: str, file: Path) -> int:
    """Return how many first words a test's name shares with the file's, or that of its folder."""
    wanted = _words(name)
    parts = (file.stem, *file.parts[-3:-1])
    return max(len(list(takewhile(bool, map(eq, wanted, _words(part))))) for part in parts)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower().replace("_", " "))


def _rank(file: Path) -> int:
    suffix = file.suffix.lower()
    return next((n for n, endings in enumerate(_RANKS) if suffix in endings), len(_RANKS))
