"""What the Tab key offers for a value: names that the service has listed before.

They are kept on this machine, so that Tab is quick and spends nothing. Nothing is decided by them:
a name that is not there is no error, and what can't be read or written is left out.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

import platformdirs
from cyclopts import Parameter
from cyclopts.validators import Number

from testvibe_async import ConfigError
from testvibe_async._config import find_settings
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["ConfigName", "FeatureName", "OperationName", "RunId", "keep", "names"]

MOST_NAMES = 2000
"""How many names of a kind are kept."""


def _completer(*kinds: str) -> Callable[[object], list[str]]:
    """Return what offers the names of some kinds in the project in force; of all without one."""

    def offer(_context: object) -> list[str]:
        try:
            project = find_settings().project
        except ConfigError:
            project = None
        return [
            name
            for kind in kinds
            for name in names(None if project is None else project.value, kind)
        ]

    return offer


FeatureName: TypeAlias = Annotated[str, Parameter(completer=_completer("features"))]
"""The name or id of a feature."""

ConfigName: Parameter = Parameter(
    name=("--config", "-c"), negative=(), show_default=False, completer=_completer("configs")
)
"""The option that names configurations."""

RunId: TypeAlias = Annotated[int, Parameter(completer=_completer("runs"), validator=Number(gt=0))]
"""The id of a run."""

OperationName: TypeAlias = Annotated[str, Parameter(completer=_completer("features", "runs"))]
"""What `wait` takes."""


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
