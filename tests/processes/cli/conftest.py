"""Fixtures of the tests of commands, for those in processes of their own."""

from tests.surfaces.cli.conftest import machine, run, served, service

__all__ = ["machine", "run", "served", "service"]
