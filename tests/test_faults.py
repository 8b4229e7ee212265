"""The fault matrix: every fault on every kind of call, and what the caller sees of it.

`MATRIX` is the expectation, and says so to readers too. `python -m tests.test_faults` prints it as
it is observed, as Markdown.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.conftest import client_of
from testvibe_async import (
    Client,
    DispatchUnknownError,
    GenerationRef,
    Hooks,
    MalformedResponseError,
    NotSentError,
    ObservationError,
    OutcomeUnknownError,
    RateLimitedError,
    RunRef,
    ServerError,
    VibeError,
)
from testvibe_async.testing import (
    Emulator,
    Fault,
    FaultProxy,
    NetworkFault,
    Outcome,
    Scenario,
    VirtualTimeLoop,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from testvibe_async import Project
    from testvibe_async.operations import Operation

LEGEND: dict[str, type[VibeError] | None] = {
    "ok": None,
    "found": None,
    "unsent": NotSentError,
    "lost": OutcomeUnknownError,
    "unsure": DispatchUnknownError,
    "limited": RateLimitedError,
    "server": ServerError,
    "garbled": MalformedResponseError,
    "unseen": ObservationError,
}
"""What the words of the matrix mean: success, success found by looking (`adopted`), or the class.

`+1` behind an error says that the service had acted all the same; `-` that there is no such cell.
"""

MATRIX = """
"""

REFUSED = None
"""The proxy is down: a state of the network, and no fault by rule."""

FAULTS: dict[str, NetworkFault | Fault | None] = {
    "refused": REFUSED,
    "reset on accept": NetworkFault.reset_on_accept(),
    "request reset": NetworkFault.reset_request(),
    "answer reset": NetworkFault.reset_answer(),
    "request swallowed": NetworkFault.swallow_request(),
    "answer swallowed": NetworkFault.swallow_answer(),
    "head cut": NetworkFault.cut_head(),
    "body cut": NetworkFault.cut_body(),
    "not HTTP": NetworkFault.garbage(),
    "200 bytes/s": NetworkFault.slow(200),
    "byte by byte": NetworkFault.byte_by_byte(),
    "500": Fault.status(500),
    "502, in HTML": Fault.status(502, body=b"<html>Bad gateway</html>"),
    "503, Retry-After": Fault.status(503, retry_after=2),
    "429, Retry-After": Fault.status(429, retry_after=2),
    "429": Fault.status(429),
    "service: hangs": Fault.hang(),
    "service: lost": Fault.lost(),
    "service: cut": Fault.truncated(),
    "service: not HTTP": Fault.garbage(),
    "200, in HTML": Fault.body(b"<html>Sign in</html>", content_type="text/html"),
    "200, wrong shape": Fault.edit(lambda _: {"unexpected": True}),
}



@attrs.frozen
class World:
    """A client, an emulator, and the two networks between them."""

    emulator: Emulator
    network: FaultProxy
    """The way to the service."""
    artifact_network: FaultProxy
    """The way to the host of the artifacts."""
    client: Client
    told: set[RunRef | GenerationRef]
    """The operations that the `on_dispatched` hook has told of."""
    operations: list[Operation[Any]]
    """Those that a caller has a handle on."""
    noticed: asyncio.Event
    """Whether a request has failed on its way."""

    @property
    def project(self) -> Project:
        """The shop."""
        return self.client.project()

    async def started(self, *features: str) -> None:
        """Dispatch runs, before anything goes wrong."""
        for feature in features:
            self.operations.append(await self.project.run_feature(feature))


@asynccontextmanager
async def a_world(*, lists: bool) -> AsyncGenerator[World]:
    """Runs take 30 s, and those of "Returns" fail; generations take 65 s."""
    scenario = Scenario(
        run_queue=(5, 5),
        run_duration=(25, 25),
        failing_runs=0,
        generation_warm_up=(20, 20),
        generation_section=(35, 35),
        verification=(10, 10),
        failing_generations=0,
        outcomes={"Returns": Outcome(run_status="failed")},
    )
    told: set[Any] = set()
    noticed = asyncio.Event()
    hooks = Hooks(
        on_dispatched=lambda event: told.add(event.ref),
        on_request=lambda event: None if event.status else noticed.set(),
    )
    async with AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(Emulator(scenario=scenario, lists=lists))
        emulator.add_feature("Draft", status="draft")
        network = await stack.enter_async_context(FaultProxy(emulator.url))
        artifact_network = await stack.enter_async_context(FaultProxy(emulator.artifact_url))
        client = Client(
            network.url, api_key=emulator.api_key, project=emulator.project_id, hooks=hooks
        )
        await stack.enter_async_context(client)

        def moved(artifacts: list[dict[str, Any]]) -> list[dict[str, Any]]:
            old, new = emulator.artifact_url, artifact_network.url
            return [artifact | {"url": artifact["url"].replace(old, new)} for artifact in artifacts]

        emulator.fail("get_run_artifacts", Fault.edit(moved))
        yield World(emulator, network, artifact_network, client, told, [], noticed)


async def run(world: World) -> None:
    world.operations.append(await world.project.run_feature("Checkout"))


async def generate(world: World) -> None:
    world.operations.append(await world.project.generate_feature("Draft"))


async def wait(world: World) -> None:
    await world.client.gather(*world.operations)


async def read(world: World) -> None:
    assert (await world.project.get_feature("Checkout")).status == "generated"


async def download(world: World) -> None:
    (operation,) = world.operations
    with TemporaryDirectory() as directory:
        paths = await operation.download_artifacts(directory)
        assert paths
        assert all(path.stat().st_size for path in paths)


@attrs.frozen(kw_only=True)
class Call:
    """A column of the matrix."""

    name: str
    act: Callable[[World], Awaitable[None]]
    operation: str
    """What the service calls the requests that are struck."""
    method: str = "GET"
    path: str = ""
    """What the target of those requests holds."""
    started: tuple[str, ...] = ()
    """The features whose runs are under way when it begins."""
    is_over: bool = False
    """Whether they have ended by then."""
    lists: bool = True
    """Whether the service has the assumed lists."""

    def is_struck(self, method: str, target: str) -> bool:
        """Say whether a request is one of those."""
        return method == self.method and self.path in target


CALLS = [
    Call(name="run", act=run, operation="run_feature", method="POST", path="/run"),
    Call(
        name="bare run",
        act=run,
        operation="run_feature",
        method="POST",
        path="/run",
        lists=False,
    ),
    Call(name="generate", act=generate, operation="generate_feature", method="POST", path="/gen"),
    Call(name="poll", act=wait, operation="get_run", path="/runs/", started=("Returns",)),
    Call(
        name="sweep",
        act=wait,
        operation="list_runs",
        path="/runs?",
        started=("Checkout", "Returns", "Wishlist", "Order History"),
    ),
    Call(name="read", act=read, operation="get_feature", path="/features/Checkout"),
    Call(name="download", act=download, operation="download", started=("Returns",), is_over=True),
]


@asynccontextmanager
async def struck(
    world: World, call: Call, fault: NetworkFault | Fault | None, times: int | None
) -> AsyncGenerator[Callable[[], int | None]]:
    """Let the requests of a call fail, and give a function that says how many did."""
    network = world.artifact_network if call.operation == "download" else world.network
    if fault is REFUSED:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(network.refusing())
            if times is not None:
                recovery = asyncio.create_task(_when(world.noticed, stack.aclose))
            yield lambda: None
        if times is not None:
            await recovery
        assert world.noticed.is_set()
        return
    if isinstance(fault, Fault):
        rule: Any = world.emulator.fail(call.operation, fault, times=times)
    elif fault.kind == "reset_on_accept":
        rule = network.fail(fault, times=times)
        await network.drop_connections()
    else:
        rule = network.fail(fault, when=call.is_struck, times=times)
    yield lambda: rule.hits
    assert rule.hits, "the fault struck nothing, so that this cell proves nothing"
    rule.remove()


async def _when(event: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
    await event.wait()
    await act()


async def observe(call: Call, fault: NetworkFault | Fault | None, times: int | None) -> str:
    """Return a cell of the matrix as it is, having checked what must hold in each."""
    async with a_world(lists=call.lists) as world:
        await world.started(*call.started)
        if call.is_over:
            await wait(world)
        before = len(world.emulator.runs)
        async with struck(world, call, fault, times) as hits:
            try:
                await call.act(world)
                word = "found" if world.operations and world.operations[-1].adopted else "ok"
                errors = []
            except VibeError as error:
                word = next(word for word, kind in LEGEND.items() if kind is type(error))
                errors = [error]
        acted = len(world.emulator.runs) - before + len(world.emulator.generations)
        return word + ("" if word in {"ok", "found"} else f"+{acted}" if acted else "")


async def _main() -> None:
    for name, fault in FAULTS.items():
        for times in (1, None):
            cells = []
            for call in CALLS:
                try:
                    cells.append(await asyncio.wait_for(observe(call, fault, times), 5000))
                except BaseException as e:
                    cells.append(repr(e)[:300])
            print(name, times, cells)

if __name__ == "__main__":
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(_main())
