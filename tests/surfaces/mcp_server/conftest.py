"""Fixtures for tests of the MCP server: a machine without any settings."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is set: a home without files, and a repository to work in."""
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind in ("CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.delenv("TESTVIBE_LEDGER", raising=False)
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path
