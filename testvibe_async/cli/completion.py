"""`testvibe-async --install-completion`: commands and options by the Tab key.

Decides for which shell. The script, and where each shell looks for it, are cyclopts's.
"""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter
from cyclopts.completion.detect import ShellDetectionError, detect_shell

from testvibe_async import ConfigError
from testvibe_async.cli.app import app

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
