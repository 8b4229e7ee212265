"""The fault matrix: every fault on every kind of call, and what the caller sees of it.

`MATRIX` is the expectation, to be read as well as tested. `pytest -m faults` runs it alone. By
default a fourth of its cells are played, some of each fault and of each call.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import pytest

from tests.conftest import client_of
from tests.promises.conftest import Events
from tests.support.amounts import some
from tests.support.peer import hooks_into
from tests.support.timing import STEADY
from testvibe_async import Client, Operation, Project, Run, RunOperation, errors, refs
from testvibe_async.events import Dispatched, RequestFinished
from testvibe_async.testing import Emulator, Fault, Outcome

pytestmark = pytest.mark.faults

ERRORS: Mapping[str, type[errors.VibeError]] = {
    "unsent": errors.NotSentError,
    "lost": errors.OutcomeUnknownError,
    "unsure": errors.DispatchUnknownError,
    "limited": errors.RateLimitedError,
    "server": errors.ServerError,
    "garbled": errors.MalformedResponseError,
    "unseen": errors.ObservationError,
}
"""What the words of the matrix mean; `+1` behind one says that the service did act.

`ok` is the outcome asked for, `found` an operation whose dispatch had lost its answer, and that was
found by reconciling (`adopted`).
"""

MATRIX = """
fault             | strikes | run     | bare run | generate | poll   | sweep  | read    | download
refused           | once    | ok      | ok       | ok       | ok     | ok     | ok      | ok
refused           | all     | unsent  | unsent   | unsent   | unseen | unseen | unsent  | unsent
reset             | once    | unsure  | unsure   | unsure   | ok     | ok     | ok      | ok
reset             | all     | unsure  | unsure   | unsure   | unseen | ok     | lost    | lost
answer reset      | once    | found   | unsure+1 | found    | ok     | ok     | ok      | ok
answer reset      | all     | found   | unsure+1 | found    | unseen | ok     | lost    | lost
hangs             | once    | unsure  | unsure   | unsure   | ok     | ok     | ok      | ok
hangs             | all     | unsure  | unsure   | unsure   | unseen | ok     | lost    | lost
unanswered        | once    | found   | unsure+1 | found    | ok     | ok     | ok      | ok
unanswered        | all     | found   | unsure+1 | found    | unseen | ok     | lost    | lost
head cut          | once    | found   | unsure+1 | found    | ok     | ok     | ok      | ok
head cut          | all     | found   | unsure+1 | found    | unseen | ok     | lost    | lost
body cut          | once    | found   | unsure+1 | found    | ok     | ok     | ok      | ok
body cut          | all     | found   | unsure+1 | found    | unseen | ok     | lost    | lost
not HTTP          | once    | unsure  | unsure   | unsure   | ok     | ok     | garbled | garbled
not HTTP          | all     | unsure  | unsure   | unsure   | unseen | ok     | garbled | garbled
5 bytes/s         | once    | found   | unsure+1 | found    | ok     | ok     | ok      | ok
5 bytes/s         | all     | found   | unsure+1 | found    | unseen | ok     | lost    | lost
200 bytes/s       | once    | ok      | ok       | ok       | ok     | ok     | ok      | ok
200 bytes/s       | all     | ok      | ok       | ok       | ok     | ok     | ok      | ok
service: 500      | once    | unsure  | unsure   | unsure   | ok     | ok     | ok      | ok
service: 500      | all     | unsure  | unsure   | unsure   | unseen | ok     | server  | server
service: 502 HTML | once    | unsure  | unsure   | unsure   | ok     | ok     | ok      | ok
service: 502 HTML | all     | unsure  | unsure   | unsure   | unseen | ok     | server  | server
service: 503 wait | once    | unsure  | unsure   | unsure   | ok     | ok     | ok      | ok
service: 503 wait | all     | unsure  | unsure   | unsure   | unseen | ok     | server  | server
service: 429 wait | once    | ok      | ok       | ok       | ok     | ok     | ok      | ok
service: 429 wait | all     | limited | limited  | limited  | unseen | ok     | limited | limited
service: 429      | once    | limited | limited  | limited  | ok     | ok     | ok      | ok
service: 429      | all     | limited | limited  | limited  | unseen | ok     | limited | limited
service: 200 HTML | once    | unsure  | unsure   | unsure   | ok     | ok     | garbled | garbled
service: 200 HTML | all     | unsure  | unsure   | unsure   | unseen | ok     | garbled | garbled
service: shape    | once    | found   | unsure+1 | found    | ok     | ok     | garbled | garbled
service: shape    | all     | found   | unsure+1 | found    | unseen | ok     | garbled | garbled
"""
"""What the caller sees where a fault strikes one request, and where it strikes all until then.

It strikes the requests of that column alone: the dispatch, the read by id, the list, the read, the
download. While the service is down, `refused`, all are. In the column `bare run` the service has
none of the lists that are assumed.
"""

REFUSED = None
"""The service is down: a state of the emulator, not a fault by rule."""

TIMES: Mapping[str, int | None] = {"once": 1, "all": None}

MAX_LATE_SECONDS = 20
"""Seconds after its end within which a wait ends: a slow answer, or the remaining timeout."""

FAULTS: Mapping[str, Fault | None] = {
    "refused": REFUSED,
    "reset": Fault.reset(),
    "answer reset": Fault.lost(),
    "hangs": Fault.hang(),
    "unanswered": Fault.unanswered(),
    "head cut": Fault.cut_head(),
    "body cut": Fault.truncated(),
    "not HTTP": Fault.garbage(),
    "5 bytes/s": Fault.slow(5),
    "200 bytes/s": Fault.slow(200),
    "service: 500": Fault.status(500),
    "service: 502 HTML": Fault.status(502, body=b"<html>Bad gateway</html>"),
    "service: 503 wait": Fault.status(503, retry_after=2),
    "service: 429 wait": Fault.status(429, retry_after=2),
    "service: 429": Fault.status(429),
    "service: 200 HTML": Fault.body(b"<html>Sign in</html>", content_type="text/html"),
    "service: shape": Fault.edit(lambda _: {"unexpected": True}),
}
"""`wait` is a `Retry-After`; `shape` a success whose document, or file, is another."""


@attrs.frozen
class World:
    """A client and an emulator."""

    emulator: Emulator
    client: Client
    events: Events
    """What the client's hooks have reported."""
    operations: list[Operation[Any]] = attrs.field(factory=list["Operation[Any]"])
    """Those that the caller has."""

    @property
    def project(self) -> Project:
        """The shop."""
        return self.client.project()

    @property
    def has_noticed(self) -> bool:
        """Whether a request got no answer."""
        return any(request.status is None for request in self.events.of(RequestFinished))


@asynccontextmanager
async def a_world(*, lists: bool = True) -> AsyncGenerator[World]:
    """Runs take 30 s, and those of "Returns" fail; generations take 65 s."""
    scenario = attrs.evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})
    async with Emulator(scenario=scenario, lists=lists) as emulator:
        emulator.add_feature("Draft", status="draft")
        events = Events()
        async with client_of(emulator, hooks=hooks_into(events)) as client:
            yield World(emulator, client, events)


async def run(world: World) -> None:
    world.operations.append(await world.project.run_feature("Checkout"))


async def generate(world: World) -> None:
    world.operations.append(await world.project.generate_feature("Draft"))


async def wait(world: World) -> None:
    await world.client.gather(*world.operations)
    ended_at = max(run.finished_at for run in world.emulator.runs.values())
    assert world.emulator.now() - ended_at < MAX_LATE_SECONDS


async def read(world: World) -> None:
    assert (await world.project.get_feature("Checkout")).status == "generated"


async def download(world: World) -> None:
    (operation,) = world.operations
    assert isinstance(operation, RunOperation)
    with TemporaryDirectory() as directory:
        sizes = [artifact.size_bytes for artifact in await operation.artifacts()]
        paths = await operation.download_artifacts(directory)
        assert sizes == [path.stat().st_size for path in paths] != []


@attrs.frozen(kw_only=True)
class Call:
    """A column of the matrix."""

    act: Callable[[World], Awaitable[None]]
    operation: str
    """What the service calls the requests that are struck."""
    running: tuple[str, ...] = ()
    """The features whose runs are under way when it begins."""
    are_over: bool = False
    """Whether they have ended by then."""
    lists: bool = True
    """Whether the service has lists."""

    @property
    def is_dispatch(self) -> bool:
        """Whether it starts something that must not be started twice."""
        return self.operation in {"run_feature", "generate_feature"}


CALLS = {
    "run": Call(act=run, operation="run_feature"),
    "bare run": Call(act=run, operation="run_feature", lists=False),
    "generate": Call(act=generate, operation="generate_feature"),
    "poll": Call(act=wait, operation="get_run", running=("Returns",)),
    "sweep": Call(act=wait, operation="list_runs", running=("Returns", *["Checkout"] * 3)),
    "read": Call(act=read, operation="get_feature"),
    "download": Call(act=download, operation="download", running=("Returns",), are_over=True),
}


@asynccontextmanager
async def struck(
    world: World, call: Call, fault: Fault | None, *, times: int | None
) -> AsyncGenerator[None]:
    """Let the requests of a call fail, so many times or until the end of the block."""
    if fault is None:
        async with AsyncExitStack() as outage:
            await outage.enter_async_context(world.emulator.refusing())
            end = asyncio.create_task(_end(outage, world)) if times else None
            yield
            assert world.has_noticed
            if end is not None:
                await end
        return
    rule = world.emulator.fail(call.operation, fault, times=times)
    yield
    assert rule.hits > 0
    rule.remove()


async def _end(outage: AsyncExitStack, world: World) -> None:
    while not world.has_noticed:  # noqa: ASYNC110 - in virtual time
        await asyncio.sleep(0.01)
    await outage.aclose()


async def observe(call: Call, fault: Fault | None, *, times: int | None) -> str:
    """Return what a cell of the matrix is, having checked what must hold in each."""
    async with a_world(lists=call.lists) as world:
        for feature in call.running:
            world.operations.append(await world.project.run_feature(feature))
        if call.are_over:
            await wait(world)
        before = len(world.emulator.runs)
        error: errors.VibeError | None = None
        async with struck(world, call, fault, times=times):
            try:
                await call.act(world)
            except errors.VibeError as caught:
                error = caught
        acted = len(world.emulator.runs) - before + len(world.emulator.generations)
        word = _word(error, world, acted)
        if call.is_dispatch:
            requests = world.events.of(RequestFinished)
            sent = [request.operation for request in requests].count(call.operation)
            assert acted <= 1, "it was done twice"
            assert sent == 1 or word in {"ok", "unsent", "limited"}, "it was sent again"
        _check_that_none_is_lost(world, error)
        await _check_that_all_end(world)
        return word


def _word(error: errors.VibeError | None, world: World, acted: int) -> str:
    if error is None:
        return "found" if any(operation.adopted for operation in world.operations) else "ok"
    word = next(word for word, kind in ERRORS.items() if kind is type(error))
    return f"{word}+{acted}" if acted else word


def _check_that_none_is_lost(world: World, error: errors.VibeError | None) -> None:
    """Check that the caller has each operation, got its ref, or knows where to look it up."""
    known = {event.ref.key for event in world.events.of(Dispatched)}
    known |= {operation.ref.key for operation in world.operations}
    unknown = {ref.feature_id for ref in _all_refs(world) if ref.key not in known}
    if isinstance(error, errors.DispatchUnknownError):
        assert error.project == world.project.id
        unknown.discard(world.emulator.features[str(error.feature)].id)
    assert not unknown, "an operation was lost"


async def _check_that_all_end(world: World) -> None:
    """Check that waiting works once the fault is over, and returns the documented outcome."""
    for operation in world.operations:
        assert (await operation).is_finished
    for ref in _all_refs(world):
        outcome = await world.client.attach(ref)
        if isinstance(outcome, Run):
            assert outcome.status == world.emulator.runs[outcome.run_id].verdict
            assert outcome.tests
        else:
            assert outcome.status == "generated"
            assert outcome.sections


def _all_refs(world: World) -> list[refs.RunRef | refs.GenerationRef]:
    """Return the refs of all that was ever started at the service."""
    place: Any = {"server": world.client.server, "project": world.project.id}
    runs, generations = world.emulator.runs.values(), world.emulator.generations.values()
    return [
        *(refs.RunRef(**place, run_id=run.id, feature_id=run.feature.id) for run in runs),
        *(
            refs.GenerationRef(**place, request_id=each.request_id, feature_id=each.feature_id)
            for each in generations
        ),
    ]


def expectations() -> Iterator[tuple[str, str, str, str]]:
    """Yield fault, strikes, call and word of each cell of `MATRIX`."""
    lines = MATRIX.strip().splitlines()
    header, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert header == ["fault", "strikes", *CALLS]
    for fault, strikes, *words in rows:
        for call, word in zip(CALLS, words, strict=True):
            yield fault, strikes, call, word


PLAYED = some(expectations(), few=4)


@pytest.mark.parametrize(("fault", "strikes", "call", "word"), PLAYED)
async def test_a_fault_is_shown_as_the_matrix_says(
    fault: str, strikes: str, call: str, word: str
) -> None:
    """The caller sees what the matrix says; nothing is lost, nothing done twice, and all ends."""
    assert await observe(CALLS[call], FAULTS[fault], times=TIMES[strikes]) == word


def test_the_matrix_is_complete() -> None:
    """Each fault has a row for one strike and one for as long as it lasts."""
    rows = list(dict.fromkeys(cell[:2] for cell in expectations()))
    assert rows == [(fault, strikes) for fault in FAULTS for strikes in TIMES]
