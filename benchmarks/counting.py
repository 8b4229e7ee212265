"""The process that counts: `python -m benchmarks.counting counters|walks`.

It prints JSON for `counters`. It is a process of its own so that nothing has been called, cached or
patched before. OpenTelemetry counts as not installed, as after `pip install testvibe-async`.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import random
import sys
import threading
import tracemalloc
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from attrs import frozen

import testvibe_async
from benchmarks.contenders import Service, load
from benchmarks.in_memory import InMemoryLoop, InMemoryService, connected
from testvibe_async import Client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
    from types import CodeType, FrameType

    from benchmarks.contenders import FanOut

__all__: list[str] = []

T = TypeVar("T")
Function: TypeAlias = tuple[str, int, str]
"""Its file, line and qualified name."""

INTERVAL = 1.0
SIZES = (20, 60)
"""How many operations are counted: each figure is the difference, for one operation."""

IN_FLIGHT_SECONDS = 60.0
MEASURED_AT = 2.5
"""When the memory is measured, in seconds: between the second poll and the third."""

WALKED_SECONDS = 2.5
"""How long the run takes whose functions are listed."""

PACKAGE = f"{Path(testvibe_async.__file__).parent}/"
HARNESS = (f"{Path(__file__).parent}/", f"{PACKAGE}testing/")
"""Where the benchmark, the service and the virtual time are, whose calls do not count."""


@frozen
class Way:
    """One way to run features: a contender, and whether the service has lists."""

    contender: str
    has_lists: bool = True


WAYS = {
    "a run, awaited by id": Way("testvibe_tasks", has_lists=False),
    "a run, through lists": Way("testvibe_finished"),
    "an item of a batch": Way("testvibe_batch"),
    "an item of a batch on a ledger file": Way("testvibe_ledger"),
    "aiohttp, a loop each, `gather`": Way("aiohttp_gather", has_lists=False),
    "aiohttp, one shared list": Way("aiohttp_shared_list"),
}


def _counters() -> dict[str, dict[str, float]]:
    """Return what one operation costs, for each way, in a process of its own.

    The first use of a class decides how CPython stores the attributes of all later objects.
    """
    with get_context("fork").Pool(1, maxtasksperchild=1) as processes:
        return dict(zip(WAYS, processes.map(_cost, WAYS.values(), chunksize=1), strict=True))


def _cost(way: Way) -> dict[str, float]:
    few, many = SIZES
    calls, requests = _calls(way)
    # Last, so that the caches are full.
    held = (_held_bytes(way, many) - _held_bytes(way, few)) / (many - few)
    return {
        "own_calls": sum(number for (file, *_), number in calls.items() if _is_own(file)),
        "calls": sum(calls.values()),
        "held_bytes": held,
        "requests": requests,
    }


def _calls(way: Way) -> tuple[dict[Function, float], float]:
    """Return how often one operation calls each Python function, and its requests."""
    few, many = SIZES
    _profile(way, 1)
    before, requests_before = _profile(way, few)
    after, requests = _profile(way, many)
    number = many - few
    calls = {function: (after[function] - before[function]) / number for function in after}
    return calls, (requests - requests_before) / number


def _profile(way: Way, operations: int) -> tuple[Counter[Function], int]:
    """Return all calls of Python functions, and the requests."""
    service = InMemoryService(has_lists=way.has_lists)

    async def work() -> None:
        async with _fan_out(way, service) as fan_out:
            await fan_out(range(1, operations + 1), _ignore)

    with cProfile.Profile(builtins=False) as profile:
        _run(service, work())
    calls = Counter[Function]()
    for entry in profile.getstats():
        if not isinstance(entry.code, str) and not entry.code.co_filename.startswith(HARNESS):
            calls[_function(entry.code)] += entry.callcount
    return calls, service.requests


def _held_bytes(way: Way, operations: int) -> int:
    """Return the size of all Python objects while all operations are in flight."""
    service = InMemoryService(has_lists=way.has_lists, durations=(IN_FLIGHT_SECONDS,))

    async def work() -> int:
        async with _fan_out(way, service) as fan_out:
            working = asyncio.ensure_future(fan_out(range(1, operations + 1), _ignore))
            await asyncio.sleep(MEASURED_AT)
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
            return held

    tracemalloc.start()
    try:
        return _run(service, work())
    finally:
        tracemalloc.stop()


@asynccontextmanager
async def _fan_out(way: Way, service: InMemoryService) -> AsyncGenerator[FanOut]:
    address = Service(service.url, service.api_key, service.project)
    async with load(way.contender)(address, INTERVAL) as fan_out:
        yield fan_out


def _ignore(_run: int, _status: str) -> None:
    """Take an outcome."""


def _walks() -> dict[str, list[Function]]:
    """Return the functions of this package that one operation enters, in order."""
    with TemporaryDirectory() as folder:
        return {
            "await (await project.run_feature(1))": _walk(_run_one),
            "await project.run_features([1], key=key)": _walk(_run_batch, Path(folder) / "ledger"),
        }


async def _run_one(client: Client, _key: str) -> None:
    await (await client.project().run_feature(1))


async def _run_batch(client: Client, key: str) -> None:
    await client.project().run_features([1], key=key)


def _walk(
    run: Callable[[Client, str], Awaitable[None]], ledger: Path | None = None
) -> list[Function]:
    service = InMemoryService(has_lists=False, durations=(WALKED_SECONDS,))
    entered: dict[Function, None] = {}

    def note(frame: FrameType, event: str, _argument: object) -> None:
        file, line, name = _function(frame.f_code)
        if event == "call" and _is_own(file):
            entered.setdefault((file.removeprefix(PACKAGE), line, name))

    async def work() -> None:
        async with Client(
            service.url, api_key=service.api_key, project=service.project, ledger=ledger
        ) as client:
            for key in ("warm", "noted"):
                sys.setprofile(note if key == "noted" else None)
                threading.setprofile(note if key == "noted" else None)
                await run(client, key)
                sys.setprofile(None)
                threading.setprofile(None)

    _run(service, work())
    return list(entered)


def _run(service: InMemoryService, work: Coroutine[Any, Any, T]) -> T:
    random.seed(1)
    loop = InMemoryLoop
    with connected(service), _no_collector(), asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work)


@contextmanager
def _no_collector() -> Generator[None]:
    """Let no pass of the garbage collector call anything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _is_own(file: str) -> bool:
    return file.startswith(PACKAGE) and not file.startswith(HARNESS)


def _function(code: CodeType) -> Function:
    return code.co_filename, code.co_firstlineno, code.co_qualname


if __name__ == "__main__":
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]  # before a client looks for it
    what = {"counters": _counters, "walks": _walks}[sys.argv[1]]
    print(json.dumps(what()))  # noqa: T201
