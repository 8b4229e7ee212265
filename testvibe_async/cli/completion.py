"""Completion with the Tab key: of commands and options, and of names that were listed before.

The script of a shell is cyclopts's. Names are cached on this
machine, so that completion is quick and sends no request. No decision depends on the cache: a name
that it lacks is no error, and an unreadable or unwritable cache is ignored.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import platformdirs
from cyclopts import Parameter
from cyclopts.completion.detect import ShellDetectionError, detect_shell
from cyclopts.validators import Number

from testvibe_async import ConfigError
from testvibe_async.cli.app import app
from testvibe_async.runner.words import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Shell: TypeAlias = Literal["bash", "zsh", "fish", "powershell"]


def show_completion(*, shell: Shell | None = None) -> None:
    """Print a script that lets your shell complete commands and options when you press Tab.

    For example:

        eval "$(testvibe-async --show-completion --shell bash)"
        testvibe-async --show-completion --shell zsh > ~/.zfunc/_testvibe-async

    Args:
        shell: The shell; by default the one that this was called from.
    """
    try:
        shell = shell or detect_shell()
    except ShellDetectionError as error:
        raise ConfigError(
            "which shell this is can't be seen: pass --shell bash, zsh, fish or powershell"
        ) from error
    sys.stdout.write(app.generate_completion(shell=shell))


MOST_NAMES = 2000
"""Maximum number of names kept of a kind."""


def _completer(*kinds: str) -> Callable[[object], list[str]]:
    """Return what offers the names of some kinds."""
    return lambda _context: [name for kind in kinds for name in names(kind)]


FeatureName: TypeAlias = Annotated[str, Parameter(completer=_completer("features"))]
"""The name or id of a feature."""

RunId: TypeAlias = Annotated[int, Parameter(completer=_completer("runs"), validator=Number(gt=0))]
"""The id of a run."""

OperationName: TypeAlias = Annotated[str, Parameter(completer=_completer("features", "runs"))]
"""The argument of `wait`."""


def keep(**kinds: Iterable[object]) -> None:
    """Keep the names of each kind, in place of the names from an earlier list."""
    with suppress(OSError, ValueError):
        for kind, found in kinds.items():
            path = _path(kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([*map(str, found)][:MOST_NAMES]), encoding="utf-8")


def names(kind: str) -> list[str]:
    """Return the names of a kind that were listed last."""
    with suppress(OSError, ValueError):
        return list(filter(None, _path(kind).read_text(encoding="utf-8").split("\n")))
    return []


def _path(kind: str) -> Path:
    return platformdirs.user_cache_path(NAME) / f"{kind}.txt"
