"""Fixtures for tests of the MCP server: a machine without any settings."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resources.templates import ResourceTemplate


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty home, no variables, and a repository to work in."""
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path / "repository")


@pytest.fixture(scope="session", autouse=True)
def _resources_are_described_once() -> Generator[None]:
    """Keep what the MCP server's package makes of a function: half of the time of a new server."""
    known: dict[object, Any] = {}

    def kept(make: Any) -> Any:
        def make_once(function: object, *more: object, **options: Any) -> Any:
            if function not in known:
                known[function] = make(function, *more, **options)
            return known[function]

        return make_once

    with pytest.MonkeyPatch.context() as patched:
        for kind in (Prompt, ResourceTemplate):
            patched.setattr(kind, "from_function", kept(kind.from_function))
        yield
