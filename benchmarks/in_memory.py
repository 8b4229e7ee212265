"""A service without sockets and threads, for counting what one client does, and nothing else.

aiohttp's connector hands out connections that lead to this service. It knows three routes, answers
after 10 ms of virtual time, and counts the requests. Each run takes from 1 to 5 s; the same number
of runs has the same durations each time.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from array import array
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import aiohttp

from testvibe_async.testing import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = ["InMemoryLoop", "InMemoryService", "connected"]

T = TypeVar("T")

LATENCY = 0.01
"""Seconds to each answer, and to the end of each call in an executor."""

DURATIONS = tuple(1 + 4 * (n * 7 % 20) / 20 for n in range(20))
"""Seconds that a run takes, in turns."""

EPOCH = 1_781_107_331
"""The Unix time at which the loop's clock starts: always the same, so all strings are."""

FIRST_RUN = 100_000
"""The first run's id: all have the same number of digits."""

PROJECT = "7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"
FEATURE_ID = 1
"""The id of each feature that is named."""
TESTS = [
    {"name": f"Valid user signs in, {n}", "status": "passed", "durationMs": 4210, "error": None}
    for n in range(3)
]
ARTIFACTS = [{"kind": "report", "path": "report/index.html", "size": 482133}]
SUMMARY = {"total": 3, "passed": 3, "failed": 0, "other": 0}


class InMemoryLoop(VirtualTimeLoop):
    """An event loop on virtual time whose executors are no threads, so that nothing is a race."""

    def run_in_executor(  # type: ignore[override]  # typeshed's has a TypeVarTuple
        self,
        executor: Any,  # noqa: ANN401, ARG002 - what the base class takes
        func: Callable[..., T],
        *args: Any,  # noqa: ANN401 - likewise
    ) -> asyncio.Future[T]:
        """Call a function in the event loop, a little later."""
        future: asyncio.Future[T] = self.create_future()
        self.call_later(LATENCY, _call, future, func, args)
        return future


def _call(future: asyncio.Future[T], func: Callable[..., T], args: Iterable[object]) -> None:
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001 - it is for the one that waits
        future.set_exception(error)
    else:
        future.set_result(result)


class InMemoryService:
    """The service; see the module."""

    url = "http://127.0.0.1:8080"
    api_key = f"tvb_{'0' * 43}"
    project = PROJECT

    def __init__(self, *, has_lists: bool, durations: tuple[float, ...] = DURATIONS) -> None:
        """Make a service that has no runs.

        Args:
            has_lists: Whether it lists runs; else that route is not found.
            durations: Seconds that a run takes, in turns.
        """
        self._has_lists = has_lists
        self._durations = durations
        # Arrays, so that the service adds next to nothing to the memory of an operation.
        self._features = array("q")
        self._created = array("d")
        self.requests: int = 0
        """How many came."""

    def answer(self, method: str, target: str) -> bytes:
        """Return the whole answer to a request."""
        self.requests += 1
        status, document = self._answer(method, target)
        text = json.dumps(document).encode()
        date = formatdate(EPOCH + self._now(), usegmt=True)
        head = f"HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text

    def _answer(self, method: str, target: str) -> tuple[str, object]:
        path = target.removeprefix(f"/api/v1/ops/projects/{PROJECT}")
        if method == "POST" and (dispatched := re.fullmatch(r"/features/(\w+)/run", path)):
            feature = int(dispatched[1]) if dispatched[1].isdigit() else FEATURE_ID
            self._features.append(feature)
            self._created.append(self._now())
            run_id = FIRST_RUN + len(self._created) - 1
            return "202 Accepted", {"runId": run_id, "featureId": feature}
        if read := re.fullmatch(r"/runs/(\d+)", path):
            return "200 OK", self._digest(int(read[1]))
        if path.startswith("/runs") and self._has_lists:
            most = int(limit[1]) if (limit := re.search(r"[?&]limit=(\d+)", path)) else None
            newest = range(FIRST_RUN + len(self._created) - 1, FIRST_RUN - 1, -1)
            return "200 OK", [self._row(run_id) for run_id in newest[:most]]
        return "404 Not Found", {"error": "not_found"}

    def _digest(self, run_id: int) -> dict[str, Any]:
        row = self._row(run_id)
        is_over = row["status"] == "passed"
        return {
            **row,
            "tests": TESTS if is_over else None,
            "artifacts": ARTIFACTS if is_over else None,
        }

    def _row(self, run_id: int) -> dict[str, Any]:
        number = run_id - FIRST_RUN
        feature, created_at = self._features[number], self._created[number]
        finished_at = created_at + self._durations[number % len(self._durations)]
        is_over = self._now() >= finished_at
        return {
            "runId": run_id,
            "status": "passed" if is_over else "running",
            "featureId": feature,
            "featureName": f"Feature {feature}",
            "config": "Default",
            "siteUrl": "https://shop.acme.example",
            "createdUtc": self._stamp(created_at),
            "startedUtc": self._stamp(created_at),
            "finishedUtc": self._stamp(finished_at) if is_over else None,
            "summary": SUMMARY if is_over else None,
        }

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _stamp(self, at: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH + at))


class _Connection(asyncio.Transport):
    """The client's end of a connection to the service."""

    def __init__(self, protocol: asyncio.BaseProtocol, service: InMemoryService) -> None:
        super().__init__()
        self._protocol = protocol
        self._service = service
        self._received = b""
        self._is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self._received = b""
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            asyncio.get_running_loop().call_later(LATENCY, self._answer, method, target)

    def _answer(self, method: str, target: str) -> None:
        answer = self._service.answer(method, target)
        if not self._is_closed:
            assert isinstance(self._protocol, asyncio.Protocol)
            self._protocol.data_received(answer)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close


@contextmanager
def connected(service: InMemoryService) -> Generator[None]:
    """Let all of aiohttp's connections lead to a service."""

    async def connect(
        _connector: aiohttp.TCPConnector, factory: Callable[[], Any], **_: object
    ) -> tuple[asyncio.Transport, Any]:
        protocol = factory()
        connection = _Connection(protocol, service)
        protocol.connection_made(connection)
        return connection, protocol

    with patch.object(aiohttp.TCPConnector, "_wrap_create_connection", connect):
        yield
