"""Fixtures for tests of the MCP server: a machine without any settings."""

from tests.surfaces.cli.conftest import machine

__all__ = ["machine"]
