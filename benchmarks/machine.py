"""The environment of a benchmark: the commit, the machine, the interpreter, and the packages."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["describe"]

PACKAGES = (
    "testvibe-async",
    "aiohttp",
    "attrs",
    "cattrs",
    "anyio",
    "httpx",
    "azure-core",
    "google-api-core",
    "pytest-benchmark",
)


def describe() -> dict[str, object]:
    """Describe where and when this runs, as JSON values."""
    return {
        "commit": _commit(),
        "taken": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{len(os.sched_getaffinity(0))} cores of {_processor()}, {_memory()} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _commit() -> str:
    """Return the last commit that changed the package, and whether it has been changed since."""
    log = _git("log", "-1", "--format=%H", "--", "testvibe_async")
    is_changed = _git("status", "--porcelain", "--", "testvibe_async")
    return f"{log[:7]}, changed since" if is_changed else log[:7] or "unknown"


def _git(*arguments: str) -> str:
    """Return what a command of git prints; nothing where this is no repository."""
    command = ("git", "-C", str(Path(__file__).parent.parent), *arguments)
    try:
        return subprocess.run(command, capture_output=True, check=False, text=True).stdout  # noqa: S603
    except OSError:
        return ""


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
