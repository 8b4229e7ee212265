"""The features that an emulator starts with: the shop's, or those of a folder.

It reads files once, when an emulator is made. It never adds a feature to a project: see `emulator`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import attrs

from .feature import NEVER_GENERATED
from .gherkin import parse

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Entry", "read_folder", "read_shop"]

_PACKAGE = "testvibe_async.testing.emulator"
_EXCEPTIONS = {
    "Checkout with gift card": {"status": NEVER_GENERATED},
    "Abandoned cart reminder": {
        "status": NEVER_GENERATED,
        "kind": "suggestion",
        "rationale": "The cart keeps its items for 30 days, but no feature covers the e-mail that"
        " brings customers back to it.",
    },
}


@attrs.frozen
class Entry:
    """One feature at the start."""

    name: str
    gherkin: str
    status: str = "generated"
    kind: str = "feature"
    rationale: str | None = None


@cache
def read_shop() -> tuple[Entry, ...]:
    """Return the features of the shop that comes with the emulator."""
    entries = [
        _entry(file.read_text("utf-8"), file.name)
        for file in files(_PACKAGE).joinpath("shop").iterdir()
        if file.name.endswith(".feature")
    ]
    entries.sort(key=lambda entry: entry.name)
    return tuple(attrs.evolve(entry, **_EXCEPTIONS.get(entry.name, {})) for entry in entries)


def read_folder(folder: Path) -> tuple[Entry, ...]:
    """Return the features of a folder's `.feature` files, at any depth.

    Raises:
        ValueError: The folder has none, one can't be read, or two have the same name.
    """
    paths = sorted(folder.rglob("*.feature"))
    if not paths:
        raise ValueError(f"{folder} is no folder with .feature files in it.")
    entries = [_entry(_read(path), path.name) for path in paths]
    seen: set[str] = set()
    for entry in entries:
        if entry.name.casefold() in seen:
            raise ValueError(f"{folder} has two features named {entry.name!r}; names must differ.")
        seen.add(entry.name.casefold())
    return tuple(entries)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as UTF-8 text: {error}.") from error


def _entry(text: str, file_name: str) -> Entry:
    return Entry(parse(text).name or file_name.removesuffix(".feature"), text)
