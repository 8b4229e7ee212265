"""A kill at every step of a dispatch, for real: what the next process makes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.processes.journal.kills import many, one_step
from tests.processes.journal.worker import STEPS

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

T = TypeVar("T")

SAYS_NOTHING = {"after the intent", "after the first byte", "after the service acted"} | {
    "before the ref"
}
"""The steps after which only a list can tell whether a run began."""


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run on an ordinary event loop: processes take real time."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(work)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["run", "generation"])
@pytest.mark.parametrize("lists", [True, False])
def test_a_kill_at_every_step(tmp_path: Path, kind: str, *, lists: bool) -> None:
    """Each feature begins exactly once; without lists a run may stay unknown, and never doubles."""

    async def play() -> list[list[str]]:
        steps = (one_step(step, kind, lists=lists, folder=tmp_path) for step in STEPS)
        return await asyncio.gather(*steps)

    table = _run(play())
    print("\n".join(" | ".join(row) for row in table))
    for step, *_, killed, _, verdicts, begun in table:
        assert killed == "killed (-9)"
        if kind == "run" and not lists and step in SAYS_NOTHING:
            assert verdicts == "unknown, succeeded"
            assert begun in {"0, 1", "1, 1"}
        else:
            assert verdicts == "succeeded, succeeded"
            assert begun == "1, 1"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "lists"), [("run", True), ("run", False), ("generation", False)])
def test_kills_aimed_at_open_intents(tmp_path: Path, kind: str, *, lists: bool) -> None:
    """Of many features each begins once; without lists none twice, and what is unknown is said."""
    found = _run(many(1, features=60, kills=3, lists=lists, kind=kind, folder=tmp_path))
    print(found)
    begun, verdicts = found["runs a feature"], found["verdicts"]
    if kind == "run" and not lists:
        assert set(begun) <= {0, 1}
        assert begun.get(0, 0) <= verdicts.get("unknown", 0)
        assert verdicts["succeeded"] + verdicts.get("unknown", 0) == 60
    else:
        assert begun == {1: 60}
        assert verdicts == {"succeeded": 60}
