"""What goes on at the service when a session is over: each process tells, one of them shows.

With pytest-xdist the process that shows is not the one that ran features, so operations are known
here by the JSON of their refs alone.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.pytest_plugin.declaration import WORKER_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Leftovers", "is_worker"]

_ADVICE = (
    "Nothing was cancelled: these go on at the service. To wait for one, attach its line:\n"
    "  await client.attach(Ref.from_json(line))"
)


def is_worker(config: pytest.Config) -> bool:
    """Say whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


class Leftovers:
    """What one session leaves behind."""

    def __init__(self) -> None:
        self._refs: list[str] = []

    @classmethod
    def of(cls, config: pytest.Config) -> Leftovers:
        """Return the session's, which are registered at first."""
        if _KEY not in config.stash:
            config.stash[_KEY] = cls()
            config.pluginmanager.register(config.stash[_KEY], "testvibe-leftovers")
        return config.stash[_KEY]

    def hear(self, refs: Iterable[str]) -> None:
        """Take down what was left, by this process or by a worker."""
        self._refs += refs

    def hand_over(self, config: pytest.Config, *, is_interrupted: bool) -> None:
        """Give what this worker leaves to the process that started it.

        Args:
            config: The worker's.
            is_interrupted: Whether it was Ctrl-C. Then nobody listens to workers any more, so it
                is written to standard error.
        """
        output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        output[WORKER_OUTPUT] = self._refs
        if is_interrupted and self._refs:
            capture: Any = config.pluginmanager.get_plugin("capturemanager")
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                sys.stderr.write("\n".join(["", _ADVICE, *self._refs, ""]))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what goes on, and how to pick it up."""
        if self._refs:
            terminalreporter.section("TestVibe operations that go on")
            for line in (_ADVICE, *self._refs):
                terminalreporter.write_line(line)


_KEY = pytest.StashKey[Leftovers]()
