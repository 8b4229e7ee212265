"""What of the tests needs a POSIX system, and why. Elsewhere it is left out, and a line says so."""

import os
from pathlib import Path

HERE = Path(__file__).parents[1]

NEEDS_POSIX = {
    "processes": "processes are forked, and killed and stopped by signals",
    "surfaces/cli": "commands are stopped by POSIX's signals",
    "surfaces/mcp_server/test_http.py": "the server is stopped by SIGTERM",
    "surfaces/pytest_plugin/test_session.py": "SIGINT is sent to a thread",
    "surfaces/testing/test_emulator_lifecycle.py": "open files are counted in /dev/fd",
}
"""Folders and files below `tests`, each with the reason."""


def left_out(path: Path, *, system: str = os.name) -> bool:
    """Say whether a file or a folder of tests is left out on a system."""
    return system != "posix" and any(
        path == HERE / place or HERE / place in path.parents for place in NEEDS_POSIX
    )


def missing(*, system: str = os.name) -> list[str]:
    """Return a line for each place that is left out on a system."""
    if system == "posix":
        return []
    return [f"not run on {system}: tests/{place}: {why}" for place, why in NEEDS_POSIX.items()]
