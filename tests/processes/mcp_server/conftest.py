"""Fixtures of the tests of the server in a process of its own: a machine without any settings."""

from tests.surfaces.mcp_server.conftest import machine

__all__ = ["machine"]
