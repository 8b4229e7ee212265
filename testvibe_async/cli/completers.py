"""What the Tab key offers for a value: names that the service has listed before.

It never asks the service, so that Tab is quick and spends nothing.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter
from cyclopts.validators import Number

from testvibe_async import ConfigError
from testvibe_async._config import find_settings
from testvibe_async.cli import cache

__all__ = ["FeatureName", "OperationName", "RunId", "complete_configs"]


def _complete_features(_context: object) -> list[str]:
    """Return the names of features."""
    return _names("features")


def complete_configs(_context: object) -> list[str]:
    """Return the names of configurations."""
    return _names("configs")


def _complete_runs(_context: object) -> list[str]:
    """Return the ids of runs."""
    return _names("runs")


def _complete_operations(_context: object) -> list[str]:
    """Return what `wait` takes."""
    return [*_names("features"), *_names("runs")]


def _names(kind: str) -> list[str]:
    """Return the names of a kind in the project in force; of all projects where none is."""
    try:
        project = find_settings().project
    except ConfigError:
        project = None
    return cache.names(None if project is None else project.value, kind)


FeatureName: TypeAlias = Annotated[str, Parameter(completer=_complete_features)]
"""The name or id of a feature."""

RunId: TypeAlias = Annotated[int, Parameter(completer=_complete_runs, validator=Number(gt=0))]
"""The id of a run."""

OperationName: TypeAlias = Annotated[str, Parameter(completer=_complete_operations)]
"""What `wait` takes."""
