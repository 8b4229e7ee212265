"""The fixtures of the promises of journals."""

from tests.promises.journal.conftest import path

__all__ = ["path"]
