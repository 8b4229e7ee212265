"""What a batch promises on the real engine, with a worker in the process of the tests."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import evolve
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client as Engine
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from tests.conftest import client_of
from tests.processes.temporal.test_kills import FAST, dispatched, filled, some_dispatched
from testvibe_async import ConfigError, Verdict
from testvibe_async._core.dispatch import machine
from testvibe_async.ledger import Ledger
from testvibe_async.temporal import TemporalBatch, worker
from testvibe_async.testing import Emulator, Fault


@asynccontextmanager
async def working(engine: Engine, emulator: Emulator, queue: str) -> AsyncGenerator[None]:
    """Serve a service, with a worker for it."""

    def made(ledger: Ledger | None) -> Any:
        return client_of(emulator, ledger=ledger, poll_interval=0.3, timeout=2.0)

    async with emulator, worker(engine, made, task_queue=queue):
        yield


async def started(engine: Engine, key: str, **request: Any) -> TemporalBatch:
    """Start a batch on the task queue of its name."""
    return await TemporalBatch.start(engine, request, key=key, task_queue=key)


async def refused(engine: Engine, key: str, request: Any) -> str:
    """Return why a workflow failed."""
    handle = await engine.start_workflow("testvibe.batch", request, id=key, task_queue=key)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    return str(caught.value.cause.__cause__ or caught.value.cause)


async def test_cancelled(engine: Engine) -> None:
    """Nothing more is dispatched, and what is in flight ends."""
    emulator, names = filled()
    async with working(engine, emulator, "cancelled"):
        batch = await started(engine, "cancelled", features=names, maxInFlight=4)
        await some_dispatched(emulator, 6)
        await batch.cancel()
        result = await batch.result()
        count = sum(dispatched(emulator).values())
        await asyncio.sleep(0)
    assert result["cancelled"]
    assert result["summary"] == {"succeeded": count, "skipped": 40 - count}
    assert max(dispatched(emulator).values()) == 1


async def test_decided(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is unknown keeps the batch open until each is decided; the rest is left alone."""
    monkeypatch.setattr(machine, "SEARCH_DELAYS", (0.0, 0.1))
    emulator = Emulator(lists=False, scenario=FAST)
    emulator.fail("run_feature", Fault.lost(), times=2)
    features = ["Checkout", "Returns"]
    async with working(engine, emulator, "decided"):
        batch = await started(engine, "decided", features=features, decideSeconds=60)
        async with asyncio.timeout(30):
            while (await batch.summary()) != {"unknown": 2}:  # noqa: ASYNC110 - of the engine
                await asyncio.sleep(0.2)
        with pytest.raises(WorkflowUpdateFailedError):
            await batch.decide("drop", feature="Search")
        assert await batch.decide("resend", feature="checkout") == 1
        await batch.decide("drop", feature="Returns")
        await batch.result()
        verdicts = [item.verdict for item in await batch.items()]
        with pytest.raises(RPCError, match="completed"):
            await batch.decide("resend")
    assert verdicts[0] in {"succeeded", "failed"}
    assert verdicts[1] not in {"succeeded", "failed"}
    assert len(emulator.runs) == 3


async def test_refused_input(engine: Engine) -> None:
    """The workflow fails at once, also by what the core refuses; a key is used once."""
    async with working(engine, Emulator(), "refused"):
        assert "'attempt'" in await refused(engine, "refused", {"attempt": 2})
        request = {"features": ["Checkout"], "onConflict": "sometimes"}
        assert "on_conflict" in await refused(engine, "refused", request)
        with pytest.raises(ConfigError, match="'maxInFlight'"):
            await started(engine, "refused", maxInFlight=0)
        with pytest.raises(WorkflowAlreadyStartedError):
            await started(engine, "refused", features=["Checkout"])


async def test_limited_generations(engine: Engine) -> None:
    """Over all chunks no more are generated than the input allows."""
    emulator, names = filled(kind="generation")
    async with working(engine, emulator, "limited"):
        batch = await started(engine, "limited", kind="generation", maxGenerations=23)
        result = await batch.result()
        items = await batch.items()
    assert result["summary"] == {"succeeded": 23, "skipped": 17}
    assert dispatched(emulator) == Counter(names[:23])
    assert len(items) == 40


async def test_failures_over_all_chunks(engine: Engine) -> None:
    """The failures of all chunks together stop all of them."""
    emulator, names = filled(120, scenario=evolve(FAST, failing_runs=1))
    async with working(engine, emulator, "failures"):
        request = {"features": names, "maxInFlight": 6, "maxFailures": 15}
        result = await (await started(engine, "failures", **request)).result()
    assert 15 <= result["summary"]["failed"] < 6 * 15  # Each of six chunks alone would have 15.
    assert result["summary"].keys() == {"failed", "skipped"}


async def test_live_items(engine: Engine) -> None:
    """They are those of the worker while a chunk runs, and wait before it is handed out."""
    emulator, names = filled(25)
    async with working(engine, emulator, "live"):
        batch = await started(engine, "live", features=names, maxInFlight=1)
        async with asyncio.timeout(60):
            while not (items := await batch.items()) or not items[0].outcome:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        await batch.cancel()
        await batch.result()
        ended = await batch.items()
    assert [item.feature for item in items] == names == [item.feature for item in ended]
    assert items[0].verdict is ended[0].verdict is Verdict.SUCCEEDED
    assert items[10].verdict is items[-1].verdict is Verdict.WAITING
    assert ended[-1].verdict is Verdict.SKIPPED


async def test_a_reset(engine: Engine) -> None:
    """A reset run is refused: what the first one dispatched is not known to it."""
    emulator, names = filled(5)
    async with working(engine, emulator, "reset"):
        result = await (await started(engine, "reset", features=names)).result()
        ends: list[Any] = []
        handle = engine.get_workflow_handle("reset")
        history = await handle.fetch_history()
        for event in history.events:
            if event.HasField("workflow_task_completed_event_attributes"):
                await engine.workflow_service.reset_workflow_execution(
                    ResetWorkflowExecutionRequest(
                        namespace="default",
                        workflow_execution=WorkflowExecution(
                            workflow_id="reset", run_id=history.run_id
                        ),
                        workflow_task_finish_event_id=event.event_id,
                        request_id=f"reset-{event.event_id}",
                    )
                )
                again = TemporalBatch(engine, "reset")
                ends.append((await asyncio.gather(again.result(), return_exceptions=True))[0])
    *refused, last = ends
    assert refused
    assert all("reset" in str(each.cause.__cause__) for each in refused)
    assert last == result  # All chunks had ended.
    assert dispatched(emulator) == Counter(names)
