"""A finished run, for each test that downloads."""

from tests.support.finished_run import case

__all__ = ["case"]
