"""Operations that go on at the service after a session, and the command that waits for them.

With pytest-xdist the process that shows them is not the one that ran features, so it knows only the
JSON of their refs. It never waits for an operation, and cancels none.
"""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.pytest_plugin.options import WORKER_OUTPUT, option_value

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Leftovers"]


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
                sys.stderr.write("\n".join(["", *self._advice(config), ""]))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many operations go on, and how to wait for them."""
        if self._refs:
            terminalreporter.section("TestVibe operations that go on")
            for line in self._advice(terminalreporter.config):
                terminalreporter.write_line(line)

    def _advice(self, config: pytest.Config) -> list[str]:
        number = len(self._refs)
        what, them = ("this goes", "it") if number == 1 else (f"these {number} go", "them")
        lines = [
            f"Nothing was cancelled: {what} on at the service. To wait for {them}:",
            f"  {shlex.join(['testvibe-async', 'wait', *_words(self._refs)])}",
        ]
        if option_value(config, "testvibe_journal"):
            lines.append(f"pytest goes on with {them} if it is run again with the same journal.")
        return lines


def _words(refs: list[str]) -> list[str]:
    """Return the ids of runs, and the options that name their project.

    Generations, and what is of several projects, are named by their refs.
    """
    documents: list[dict[str, Any]] = [json.loads(ref) for ref in refs]
    places = {(each["server"], each["project"]) for each in documents}
    if len(places) > 1 or any(each["testvibe"] != "run" for each in documents):
        return refs
    ((server, project),) = places
    ids = [str(each["run_id"]) for each in documents]
    return [*ids, "--project", project, "--server", server]


_KEY = pytest.StashKey[Leftovers]()
