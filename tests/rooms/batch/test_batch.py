"""Batches whose dispatches are replaced."""

from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.batches import MIXED
from testvibe_async import BatchItem, Hooks, Project, Run
from testvibe_async.testing import Emulator

SCENARIO = MIXED


async def test_a_defect_is_not_swallowed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen error is raised by the batch as it is, which hangs no task."""

    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(project._starter, "run", broken)

    with pytest.raises(ZeroDivisionError):
        await project.run_features(["Checkout"])


async def test_one_that_is_over_when_it_is_attached(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation that is known to be finished needs no poll."""

    def finish(event: Any) -> None:
        emulator.finish_run(event.ref.run_id)

    async with client_of(emulator, hooks=Hooks(on_dispatched=finish)) as client:
        project = client.project()
        first = await project.run_feature("Checkout")
        await first

        async def again(*_: Any, **__: Any) -> Any:
            return first

        monkeypatch.setattr(project._starter, "run", again)
        items: list[BatchItem[Run]] = await project.run_features(["Checkout"])

    assert items[0].outcome is await first
