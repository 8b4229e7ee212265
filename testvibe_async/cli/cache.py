"""Names that the service has listed, kept on this machine for the Tab key.

It decides nothing by them: a name that is not there is no error. What can't be read or written is
left out.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import platformdirs

from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["keep", "names"]

MOST_NAMES = 2000
"""How many names of a kind are kept."""


def keep(project: str, **kinds: Iterable[object]) -> None:
    """Keep the names of each kind for a project."""
    known = _read()
    mine = known.setdefault(project, {})
    mine |= {kind: [str(each) for each in found][:MOST_NAMES] for kind, found in kinds.items()}
    with suppress(OSError, ValueError):
        path = _path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known), encoding="utf-8")


def names(project: str | None, kind: str) -> list[str]:
    """Return the names of a kind that are known for a project; None for those of all projects."""
    known = _read()
    chosen = list(known.values()) if project is None else [known.get(project, {})]
    return list(dict.fromkeys(name for each in chosen for name in each.get(kind, [])))


def _path() -> Path:
    return platformdirs.user_cache_path(NAME) / "names.json"


def _read() -> dict[str, dict[str, list[str]]]:
    with suppress(OSError, ValueError, RecursionError):
        read: Any = json.loads(_path().read_text(encoding="utf-8"))
        if isinstance(read, dict):
            known = cast("dict[str, Any]", read)
            return {project: kinds for project, kinds in known.items() if _is_names(kinds)}
    return {}


def _is_names(kinds: object) -> bool:
    if not isinstance(kinds, dict):
        return False
    lists = cast("dict[str, object]", kinds).values()
    return all(
        isinstance(each, list) and all(isinstance(name, str) for name in cast("list[object]", each))
        for each in lists
    )
