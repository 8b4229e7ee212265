"""The command `testvibe-async`.

Importing this costs nothing: cyclopts and rich, the extra `cli`, are loaded when a command starts,
and nothing outside this folder imports it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["main"]

_EXTRA = {"cyclopts", "platformdirs", "rich", "tomlkit"}


def main() -> None:
    """Run the command line, and exit with its code."""
    _open_standard_streams()
    try:
        from testvibe_async.cli.app import run  # noqa: PLC0415 - an extra, loaded when used

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        sys.exit(_missing_extra(package))


def _open_standard_streams() -> None:
    """Put something in the place of each stream that the caller has closed, as `>&-` does."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _missing_extra(package: str) -> int:
    sys.stderr.write(
        f"testvibe-async: the command line needs {package}, which is not installed: "
        "pip install 'testvibe-async[cli]'\n"
    )
    return 2
