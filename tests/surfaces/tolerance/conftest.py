"""A machine without settings, for each test."""

from tests.surfaces.cli.conftest import machine

__all__ = ["machine"]
