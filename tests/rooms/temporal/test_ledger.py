"""The ledger of a chunk: what the engine has when a row counts as stored, and what a try leaves."""

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="batches on Temporal need the extra `temporal`")

from testvibe_async import BatchItem, Run, RunRef
from testvibe_async._core.wire import KINDS, read
from testvibe_async.ledger import Row, RowState
from testvibe_async.temporal import ledger as module
from testvibe_async.temporal.ledger import ChunkLedger, shortened

SERVER = "https://testvibe.example"


def row(number: int = 1, item: str = "Checkout", **fields: Any) -> Row:
    common: dict[str, Any] = {"server": SERVER, "project": "p", "key": "k", "kind": "run"}
    values: dict[str, Any] = common | {"item": item, "number": number, "feature": item} | fields
    return Row(**values)


def ref(run_id: int) -> RunRef:
    return RunRef(server=SERVER, project="p", run_id=run_id, feature_id=3)


def failed_run() -> Any:
    tests = [
        {"name": f"Test {each}", "outcome": "failed", "error": "e" * 5_000} for each in range(9)
    ]
    document: dict[str, Any] = {"runId": 7, "featureId": 3, "status": "failed"}
    document["tests"] = tests
    return read(json.dumps(document).encode(), KINDS["run"].snapshot)


class Engine:
    """Acknowledges heartbeats, unless it is away."""

    def __init__(self) -> None:
        self.states: list[list[Row]] = []
        self.error: Exception | None = None
        self.is_silent = False

    async def heartbeat(self, state: list[str]) -> None:
        await asyncio.sleep(0)
        if self.is_silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.states.append([Row.from_json(each) for each in state])


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def ledger(engine: Engine) -> ChunkLedger:
    return ChunkLedger(engine.heartbeat)


async def test_rows_share_a_heartbeat(engine: Engine, ledger: ChunkLedger) -> None:
    """Many rows at once share one heartbeat."""
    await asyncio.gather(*(ledger.insert(row(item=f"Feature {each}")) for each in range(50)))
    assert [len(state) for state in engine.states] == [50]


@pytest.mark.parametrize("is_silent", [True, False])
async def test_a_row_that_is_not_acknowledged(
    engine: Engine, ledger: ChunkLedger, monkeypatch: pytest.MonkeyPatch, *, is_silent: bool
) -> None:
    """Its dispatch is not sent; the next try has nothing of it."""
    monkeypatch.setattr(module, "STORE_SECONDS", 0.01)
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.0)
    engine.is_silent, engine.error = is_silent, RuntimeError("away")
    with pytest.raises((RuntimeError, TimeoutError)):
        await ledger.insert(row())
    assert ledger.lost.is_set()
    assert ledger.state() == []


async def test_a_cancelled_insertion(engine: Engine, ledger: ChunkLedger) -> None:
    """A dispatch that is withdrawn breaks nothing."""
    engine.is_silent = True
    task = asyncio.create_task(ledger.insert(row()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not ledger.lost.is_set()
    assert ledger.state() == []


async def test_the_state_for_the_next_try(engine: Engine, ledger: ChunkLedger) -> None:
    """An earlier attempt counts, without its tests; the last one is polled once more."""
    failed = failed_run()
    first, second = row(1), row(2)
    for each, run_id in ((first, 7), (second, 8)):
        await ledger.insert(each)
        each.ref, each.state, each.outcome = ref(run_id), RowState.FINISHED, failed
    unknown = row(item="Returns")
    await ledger.insert(unknown)
    unknown.state = RowState.UNKNOWN
    other = ChunkLedger(engine.heartbeat)
    await other.load(ledger.state())
    rows = sorted(await other.rows("k"), key=lambda each: (each.item, each.number))
    earlier, last, open_ = rows
    assert earlier.state is RowState.FINISHED
    assert earlier.outcome is not None
    assert earlier.outcome.is_failure
    assert isinstance(earlier.outcome, Run)
    assert len(earlier.outcome.tests) < len(failed.tests)
    assert (last.state, last.outcome, last.ref) == (RowState.DISPATCHED, None, ref(8))
    assert open_.state is RowState.UNKNOWN


async def test_the_size_of_a_state(ledger: ChunkLedger) -> None:
    """A chunk of which each feature failed five times stays below the engine's 2 MB."""
    rows = [row(each % 5 + 1, item=f"Feature {each // 5} " + "購" * 60) for each in range(500)]
    for number, each in enumerate(rows):
        each.ref, each.state, each.outcome = ref(number), RowState.FINISHED, failed_run()
        each.name, each.boot = str(each.feature), "c" * 36
    await ledger.load([each.to_json() for each in rows])
    assert len(json.dumps(ledger.state())) < 1_500_000


@pytest.mark.parametrize("failing", [True, False])
def test_a_shortened_outcome(*, failing: bool) -> None:
    """It has the verdict of the whole one, also without a summary, or if only a test failed."""
    tests = [{"name": f"Test {each}", "status": "passed", "error": "e" * 999} for each in range(9)]
    tests[-1]["status"] = "failed" if failing else "passed"
    document = {"runId": 7, "featureId": 3, "status": "passed", "tests": tests, "other": "x" * 999}
    run: Any = read(json.dumps(document).encode(), KINDS["run"].snapshot)
    assert shortened(run).is_success == run.is_success == (not failing)
    verdicts = {BatchItem[Any](feature=3, outcome=each).verdict for each in (run, shortened(run))}
    assert len(verdicts) == 1
    assert len(json.dumps(shortened(run).to_dict())) < 700
