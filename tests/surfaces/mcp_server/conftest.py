"""Fixtures for tests of the MCP server: a machine without any settings."""

from collections.abc import Generator
from typing import Any

import pytest
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resources.templates import ResourceTemplate

from tests.surfaces.cli.conftest import machine

__all__ = ["machine"]


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
