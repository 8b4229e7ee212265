"""The command `testvibe-async`.

Importing this costs nothing: cyclopts and rich, the extra `cli`, are loaded when a command starts,
and nothing outside this folder imports it.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_EXTRA = {"cyclopts", "platformdirs", "rich", "tomlkit"}


def main() -> None:
    """Run the command line, and exit with its code."""
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


def _missing_extra(package: str) -> int:
    sys.stderr.write(
        f"testvibe-async: the command line needs {package}, which is not installed: "
        "pip install 'testvibe-async[cli]'\n"
    )
    return 2
