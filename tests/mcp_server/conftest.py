"""Fixtures for tests of the MCP server: a machine without any settings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async._util.sqlite_file import SqliteFile
from testvibe_async.testing import VirtualTimeLoop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty home, no variables, and a repository to work in."""
    for name in ("TESTVIBE_SERVER", "TESTVIBE_API_KEY", "TESTVIBE_PROJECT", "TESTVIBE_MCP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path / "repository")


@pytest.fixture(autouse=True)
def _time_stands_still_while_a_journal_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals are written in a thread, on real time: no timer fires meanwhile."""
    write = SqliteFile.write

    async def counted(file: SqliteFile, work: Any) -> Any:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualTimeLoop):
            return await write(file, work)
        loop._jumping.threads += 1
        try:
            return await write(file, work)
        finally:
            loop._jumping.threads -= 1

    monkeypatch.setattr(SqliteFile, "write", counted)
