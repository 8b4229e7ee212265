"""The fixtures of the promises of journals."""

from tests.promises.journal.test_journal import path, scenario

__all__ = ["path", "scenario"]
