"""The same call with the same key, by what the row of that key says: each cell of the table.

A cell is a call of each kind, made again by the same process, by the next one on the file, and by
two at once: by default in seven of these twelve places. The dispatches that the service receives
are counted.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import define, field

from tests.conftest import client_of
from tests.promises.ledger.conftest import KEY, killed, outcome_of
from tests.support.amounts import some
from tests.support.faults import NO_ID
from tests.support.raising import raised
from tests.support.timing import STEADY
from testvibe_async import (
    Client,
    ConfigError,
    DispatchUnknownError,
    GenerationRef,
    Operation,
    Ref,
    RunRef,
    SqliteLedger,
)
from testvibe_async.testing import Emulator, Fault

SCENARIO = STEADY

KINDS = ["run", "generation", "batch of runs", "batch of generations"]
PLACES = ["one process", "the next process", "two processes at once"]

cells = pytest.mark.parametrize(("kind", "place"), some(product(KINDS, PLACES), few=2))


@define
class Cell:
    """A call of a kind with a key, and where it is made again."""

    emulator: Emulator
    path: Path
    kind: str
    place: str
    feature: str = "Checkout"
    clients: AsyncExitStack = field(factory=AsyncExitStack)

    async def call(self, client: Client, *, timeout: float | None = None, **options: Any) -> Ref:
        """Make the call; return its operation, or raise what the item has."""
        project = client.project()
        is_run = self.kind.endswith(("run", "runs"))
        if not self.kind.startswith("batch"):
            one = project.run_feature if is_run else project.generate_feature
            operation: Operation[Any] = await one(self.feature, key="pr-1", **options)
            return operation.ref
        many: Any = project.run_features if is_run else project.generate_features
        (item,) = await many([self.feature], key="pr-1", timeout=timeout, **options)
        ref: Ref | None = item.ref
        if ref is None:
            assert item.error is not None
            raise item.error
        return ref

    async def open(self, path: Path | None = None) -> Client:
        """Start a process on the file."""
        client = client_of(self.emulator, ledger=path or self.path)
        return await self.clients.enter_async_context(client)

    async def again(self, client: Client | None, path: Path | None = None) -> Ref | Exception:
        """Make the call again, where this cell says; all of its calls have one result."""
        if client is None or self.place != "one process":
            clients = [await self.open(path) for _ in range(1 + (self.place == PLACES[2]))]
        else:
            clients = [client]
        results = await asyncio.gather(*(outcome_of(self.call(each)) for each in clients))
        first, *others = results
        assert all(type(other) is type(first) for other in others)
        assert isinstance(first, Exception) or all(other == first for other in others)
        return first

    @property
    def posts(self) -> int:
        """The number of dispatches that the service received."""
        return self.emulator.count("run_feature") + self.emulator.count("generate_feature")

    @property
    def started(self) -> int:
        """The number of operations that the service started."""
        return len(self.emulator.runs) + len(self.emulator.generations)

    @property
    def ref(self) -> Ref:
        """The ref of the only operation that the service started."""
        place: dict[str, Any] = {"server": self.emulator.url, "project": self.emulator.project_id}
        feature = self.emulator.features[self.feature].id
        for run_id in self.emulator.runs:
            return RunRef(**place, run_id=run_id)
        (request_id,) = self.emulator.generations
        return GenerationRef(**place, request_id=request_id, feature_id=feature)

    @property
    def operation(self) -> Literal["run_feature", "generate_feature"]:
        """The service's operation."""
        return "run_feature" if self.kind.endswith(("run", "runs")) else "generate_feature"


@pytest.fixture
async def cell(emulator: Emulator, path: Path, kind: str, place: str) -> AsyncGenerator[Cell]:
    """The cell of a test's kind and place."""
    cell = Cell(emulator, path, kind, place)
    async with cell.clients:
        yield cell


@cells
async def test_without_a_row_it_is_dispatched(cell: Cell) -> None:
    """The first call dispatches; of two at once one does, and both have its operation."""
    assert isinstance(await cell.again(None), Ref)
    assert (cell.posts, cell.started) == (1, 1)


@cells
@pytest.mark.parametrize("is_finished", [False, True])
async def test_a_known_operation_is_returned(cell: Cell, *, is_finished: bool) -> None:
    """In flight or finished, it is the call's operation, and nothing is sent."""
    client = await cell.open()
    ref = await cell.call(client, timeout=None if is_finished else 1)
    if is_finished:
        await client.attach(ref)
    assert await cell.again(client) == ref
    assert cell.posts == 1


@cells
async def test_while_the_first_caller_waits_both_have_its_operation(cell: Cell) -> None:
    """A call that finds an intent of a living one returns the operation that this starts."""
    cell.emulator.fail(cell.operation, Fault.delay(10), times=1)
    client = await cell.open()
    first = asyncio.create_task(cell.call(client))
    await asyncio.sleep(1)
    assert await cell.again(client) == await first
    assert (cell.posts, cell.started) == (1, 1)


@pytest.mark.parametrize("way", ["wait", "poll"])
async def test_an_outcome_is_kept(emulator: Emulator, path: Path, way: str) -> None:
    """What was seen to finish costs no request ever after, and needs no memory of the service."""
    async with client_of(emulator, ledger=path) as client:
        operation = await client.project().run_feature("Checkout", key=KEY)
        while way == "poll" and not operation.done:
            await asyncio.sleep(5)
            await operation.poll()
        run = operation.outcome if way == "poll" else await operation
    before = len(emulator.requests)
    async with client_of(emulator, ledger=path) as client:
        assert await client.project().run_feature("Checkout", key=KEY).wait() == run
        (row,) = await client.ledger.rows(KEY)
    assert (row.state, row.outcome) == ("finished", run)
    assert len(emulator.requests) == before


async def test_a_kept_outcome_need_not_name_its_generation(emulator: Emulator, path: Path) -> None:
    """A service that never names generations leaves the outcome in the row as good as any."""
    emulator.fail("get_generation_status", NO_ID)
    for _ in range(2):
        async with client_of(emulator, ledger=path) as client:
            call = client.project().generate_feature("Checkout", key=KEY)
            assert (await call.wait()).is_success
    assert emulator.count("generate_feature") == 1


async def test_a_slow_answer_is_awaited_by_both(emulator: Emulator, path: Path) -> None:
    """Without lists, the second caller relies on the first, whose dispatch nobody may decide."""
    emulator.fail("run_feature", Fault.delay(25), times=1)
    emulator.fail("list_runs", Fault.status(403))
    async with (
        client_of(emulator, ledger=path) as first,
        client_of(emulator, ledger=path) as second,
    ):
        calls = [
            asyncio.ensure_future(first.project().run_features(["Checkout"], key=KEY)),
            asyncio.ensure_future(
                second.project().run_features(["Checkout"], key=KEY, stop_on_failure=1)
            ),
        ]
        await asyncio.sleep(20)
        await raised(ConfigError, second.ledger.decide(KEY, "resend"))
        items = [item for call in calls for item in await call]
    assert items[0].ref == items[1].ref is not None
    assert emulator.count("run_feature") == 1


@pytest.mark.parametrize("first", ["one", "many"])
async def test_a_key_is_of_one_call_or_of_a_batch(
    emulator: Emulator, path: Path, first: str
) -> None:
    """Of a call and a batch of one key, made at once, one is refused."""
    async with client_of(emulator, ledger=path) as one, client_of(emulator, ledger=path) as other:
        batch = other.project().run_features(["Checkout"], key=KEY)
        calls: list[Any] = [one.project().run_feature("Checkout", key=KEY), batch]
        results = await asyncio.gather(
            *(calls if first == "one" else reversed(calls)), return_exceptions=True
        )
    assert sum(isinstance(result, ConfigError) for result in results) == 1
    assert emulator.count("run_feature") == 1


@cells
async def test_an_operation_that_a_kill_left_is_adopted(cell: Cell, path: Path) -> None:
    """An intent without an answer whose operation is to be seen is that operation's."""
    async with killed(cell.emulator, path, cell.call, acted=True) as left:
        ref = await cell.again(None, left)
    assert isinstance(ref, Ref)
    assert (cell.posts, cell.started) == (1, 1)


@cells
async def test_a_request_that_a_kill_cut_off_is_sent_again(cell: Cell, path: Path) -> None:
    """An intent that had no effect is dispatched once more, after it has expired."""
    async with killed(cell.emulator, path, cell.call, acted=False) as left:
        began = asyncio.get_running_loop().time()
        ref = await cell.again(None, left)
        waited = asyncio.get_running_loop().time() - began
    assert isinstance(ref, Ref)
    assert (cell.posts, cell.started) == (2, 1)
    assert waited >= 60


@cells
async def test_a_refused_request_is_sent_again(cell: Cell) -> None:
    """What was refused is dispatched by the same call."""
    cell.emulator.fail(cell.operation, Fault.status(400), times=1)
    client = await cell.open()
    assert isinstance(await outcome_of(cell.call(client)), Exception)
    assert isinstance(await cell.again(client), Ref)
    assert (cell.posts, cell.started) == (2, 1)


async def _leave_unknown(cell: Cell) -> Client:
    """Lose the answer of a call whose operation nobody can tell."""
    if cell.operation == "run_feature":
        twin = Fault.edit(lambda rows: [{**rows[0], "runId": rows[0]["runId"] + 1}, *rows])
        hidden = cell.emulator.fail("list_runs", twin, skip=1)
    else:
        hidden = cell.emulator.fail("get_generation_status", Fault.status(404, body=b"gone"))
    cell.emulator.fail(cell.operation, Fault.lost(), times=1)
    client = await cell.open()
    await raised(DispatchUnknownError, cell.call(client))
    await client.ledger.rows("pr-1")  # What it noted is written by then.
    hidden.remove()
    return client


@cells
@pytest.mark.parametrize("decision", [None, "resend", "drop", "ref"])
async def test_an_unknown_one_is_raised_until_it_is_decided(cell: Cell, decision: Any) -> None:
    """No call dispatches what may have started, unless a decision says so."""
    client = await _leave_unknown(cell)
    assert isinstance(await cell.again(client), DispatchUnknownError)
    assert cell.posts == 1
    if decision is not None:
        decision = cell.ref if decision == "ref" else decision
        for generation in cell.emulator.active_generations():
            cell.emulator.finish_generation(generation.request_id)
        async with SqliteLedger(cell.path) as ledger:
            (row,) = await ledger.decide("pr-1", decision, feature="Checkout")
        assert row.key == "pr-1"
    result = await cell.again(client)
    if isinstance(decision, Ref):
        assert result == decision
    else:
        assert isinstance(result, Ref) is (decision == "resend")
    assert cell.posts == 1 + (decision == "resend")


@cells
async def test_another_request_is_refused(cell: Cell) -> None:
    """A key that has another feature is refused in a sentence that names both."""
    client = await cell.open()
    await cell.call(client)
    cell.feature = "Returns"
    error = await cell.again(client)
    assert isinstance(error, ConfigError)
    assert "pr-1" in str(error)
    if "batch" not in cell.kind:
        assert "'Checkout'" in str(error)
        assert "'Returns'" in str(error)
    assert cell.posts == 1
