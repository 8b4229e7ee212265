"""The ledger file that the command line, the MCP server and the pytest plugin share."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "TESTVIBE_LEDGER"
"""The environment variable that names another file."""


def default_ledger() -> Path:
    """Return the path of the ledger file: `TESTVIBE_LEDGER`, or the one in the state folder.

    The folder is created if it is missing.

    Raises:
        OSError: It can't be created.
    """
    if named := os.environ.get(VARIABLE, "").strip():
        return Path(named)
    import platformdirs  # noqa: PLC0415 - the library alone does not have it

    folder = platformdirs.user_state_path("testvibe-async")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "ledger.sqlite"
