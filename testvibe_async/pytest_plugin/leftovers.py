"""Operations that go on at the service after a session: collected, and shown in the summary.

With pytest-xdist the process that shows them is not the one that ran features, so it knows only the
JSON of their refs. It never waits for an operation, and cancels none.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.pytest_plugin.declaration import WORKER_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Leftovers"]

_ADVICE = (
    "Nothing was cancelled: these go on at the service. To wait for one, give its line to\n"
    "  testvibe-async wait"
)


class Leftovers:
    """The operations that one session leaves in flight."""

    def __init__(self) -> None:
        self._refs: list[str] = []

    @classmethod
    def of(cls, config: pytest.Config) -> Leftovers:
        """Return the one of a session; the first call makes and registers it."""
        if _KEY not in config.stash:
            config.stash[_KEY] = cls()
            config.pluginmanager.register(config.stash[_KEY], "testvibe-leftovers")
        return config.stash[_KEY]

    def add(self, refs: Iterable[str]) -> None:
        """Add what this process or a worker left in flight.

        Args:
            refs: The JSON of their refs.
        """
        self._refs += refs

    def hand_over(self, config: pytest.Config, *, is_interrupted: bool) -> None:
        """Pass the operations from this worker to the process that started it.

        Args:
            config: The worker's.
            is_interrupted: True after Ctrl-C. The controller no longer reads from workers then, so
                the refs are also written to standard error.
        """
        output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        output[WORKER_OUTPUT] = self._refs
        if is_interrupted and self._refs:
            capture: Any = config.pluginmanager.get_plugin("capturemanager")
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                sys.stderr.write("\n".join(["", _ADVICE, *self._refs, ""]))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the operations that go on, and how to wait for them."""
        if self._refs:
            terminalreporter.section("TestVibe operations that go on")
            for line in (_ADVICE, *self._refs):
                terminalreporter.write_line(line)


_KEY = pytest.StashKey[Leftovers]()
