"""What of the tests needs a POSIX system, and why. Elsewhere it is left out, and a line says so."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["NEEDS_POSIX", "left_out", "missing"]

HERE = Path(__file__).parent

_PROCESSES = "commands in processes of their own, stopped by POSIX's signals"

NEEDS_POSIX = {
    "adapters/test_dbos.py": "workers are killed and stopped, and PostgreSQL's socket is a file",
    "cli": "commands are shown on POSIX's terminals, and stopped by its signals",
    "journal/test_kills.py": "processes are killed by SIGKILL",
    "mcp_server/test_command.py": _PROCESSES,
    "mcp_server/test_http.py": "the server is stopped by SIGTERM",
    "mcp_server/test_stdio.py": _PROCESSES,
    "mcp_server/test_tasks.py": _PROCESSES,
    "processes.py": "a fork server",
    "pytest_plugin/test_journal.py": "sessions are killed by SIGKILL",
    "pytest_plugin/test_session.py": "SIGINT is sent to a thread",
    "pytest_plugin/test_xdist.py": "SIGINT is sent to a group of processes",
    "test_processes.py": "a fork server",
    "testing/test_emulator_lifecycle.py": "open files are counted in /dev/fd",
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
