"""Completion with the Tab key: of commands and options, and of names that were listed before.

The script of a shell, and where the shell looks for it, are cyclopts's. Names are cached on this
machine, so that completion is quick and sends no request. No decision depends on the cache: a name
that it lacks is no error, and an unreadable or unwritable cache is ignored.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import platformdirs
from cyclopts import Parameter
from cyclopts.completion.detect import ShellDetectionError, detect_shell
from cyclopts.validators import Number

from testvibe_async import ConfigError
from testvibe_async.cli.app import app
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Shell: TypeAlias = Literal["bash", "zsh", "fish", "powershell"]


def install_completion(
    *,
    shell: Shell | None = None,
    output: Annotated[
        Path | None, Parameter(name=("--output", "-o"), allow_leading_hyphen=True)
    ] = None,
) -> None:
    """Let your shell complete commands and options when you press Tab.

    It writes a script to where your shell looks for it, and makes the shell load it at its start.
    Repeat it after an update.

    For example:

        testvibe-async --install-completion
        testvibe-async --install-completion --shell zsh
        eval "$(testvibe-async --install-completion --shell bash --output -)"

    Args:
        shell: The shell; by default the one that this was called from.
        output: The file that receives only the script; - for standard output.
    """
    try:
        shell = shell or detect_shell()
    except ShellDetectionError as error:
        raise ConfigError(
            "which shell this is can't be seen: pass --shell bash, zsh, fish or powershell"
        ) from error
    if output is not None and str(output) == "-":
        sys.stdout.write(app.generate_completion(shell=shell))
        return
    path = app.install_completion(shell=shell, output=output, add_to_startup=output is None)
    sys.stdout.write(f"The completion for {shell} is in {path}. It works in the next shell.\n")


MOST_NAMES = 2000
"""Maximum number of names kept of a kind."""


def _completer(*kinds: str) -> Callable[[object], list[str]]:
    """Return what offers the names of some kinds."""
    return lambda _context: [name for kind in kinds for name in names(kind)]


FeatureName: TypeAlias = Annotated[str, Parameter(completer=_completer("features"))]
"""The name or id of a feature."""

ConfigName: Parameter = Parameter(
    name=("--config", "-c"), metavar="NAME", completer=_completer("configs")
)
"""The option that names configurations."""

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
