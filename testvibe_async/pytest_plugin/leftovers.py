"""Operations that may still be running after a session, and the command that waits for them.

With pytest-xdist the process that shows them is not the one that ran features: workers hand their
refs over as JSON. It never waits for an operation, and cancels none.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from testvibe_async import Ref
from testvibe_async.pytest_plugin.options import LEFTOVERS, WORKER_OUTPUT, option_value
from testvibe_async.runner.waits import wait_command

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

__all__ = ["advice", "is_worker", "leave"]


def is_worker(config: pytest.Config) -> bool:
    """Return True if this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def leave(config: pytest.Config, refs: Iterable[Ref], *, is_interrupted: bool) -> None:
    """Note what may still be running, and pass it from a worker to the process that started it.

    Args:
        config: The session's.
        refs: The operations.
        is_interrupted: True after Ctrl-C. The controller no longer reads from workers then, so a
            worker also writes the advice to standard error.
    """
    leftovers = config.stash.setdefault(LEFTOVERS, [])
    leftovers += [ref.to_json() for ref in refs]
    if is_worker(config):
        output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        output[WORKER_OUTPUT] = leftovers
        if is_interrupted and leftovers:
            capture: Any = config.pluginmanager.get_plugin("capturemanager")
            with capture.global_and_fixture_disabled() if capture else nullcontext():
                sys.stderr.write("\n".join(["", *advice(config), ""]))


def advice(config: pytest.Config) -> list[str]:
    """Return lines that count operations that may still be running, and how to wait for them."""
    refs = [Ref.from_json(text) for text in config.stash[LEFTOVERS]]
    what, them = ("this", "it") if len(refs) == 1 else (f"these {len(refs)}", "them")
    lines = [
        f"Nothing was cancelled: {what} may still be running. To wait for {them}:",
        f"  {wait_command(refs)}",
    ]
    if option_value(config, "testvibe_journal"):
        lines.append(f"pytest resumes {them} if it is run again with the same journal.")
    return lines
