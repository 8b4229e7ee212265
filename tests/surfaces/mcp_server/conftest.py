"""Fixtures for tests of the MCP server: a machine without any settings."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty home, no variables, and a repository to work in."""
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path / "repository")
