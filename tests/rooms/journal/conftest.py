"""The fixtures of the promises of journals."""

from tests.promises.journal.conftest import path
from tests.promises.journal.test_journal import scenario

__all__ = ["path", "scenario"]
