"""One process that uses the client: on a machine of its own, with a clock of its own.

It makes the client and the session, watches what goes out, and ends both: it closes the client, or
is killed. What it leaves behind is in its ledger, for the next process.
"""

import asyncio
import inspect
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import aiohttp
from aiohttp.client_proto import ResponseHandler

from tests.promises.simulation.plan import Plan
from tests.promises.simulation.record import CALLER, X_CALLER, X_REQUEST, X_TASK, Record
from tests.promises.simulation.service import EPOCH
from tests.support.seams import watch_answers
from testvibe_async import Client, Hooks, Ref, RetryPolicy
from testvibe_async.events import Dispatched, DispatchUnknown, StatusChanged
from testvibe_async.ledger import Ledger, machine_time
from testvibe_async.testing import Emulator

INTERVAL = 1.0
TIMEOUT = 4.0
SEARCH_LIMITS = {None, "1000"}
"""The limits of lists in which lost operations are searched for."""
MAX_OUTAGE = 20.0

_SKEW: ContextVar[float] = ContextVar("SKEW", default=0.0)
"""By how many seconds the clock of the machine is ahead that the code runs on."""
_BOOT: ContextVar[str] = ContextVar("BOOT", default="a boot")
"""The boot of the machine that the code runs on."""


class InMemoryConnector(aiohttp.TCPConnector):
    """A connector that asks the event loop for connections, where aiohttp's makes sockets first."""

    async def _wrap_create_connection(
        self, *args: Any, addr_infos: list[Any], **kwargs: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        host, port = addr_infos[0][4][:2]
        for name in ("ssl", "server_hostname"):
            del kwargs[name]
        return await self._wrap_existing_connection(*args, host=host, port=port, **kwargs)


class Process:
    """A client in use."""

    def __init__(  # noqa: PLR0913 - what it has in common with others, and its machine
        self,
        emulator: Emulator,
        plan: Plan,
        record: Record,
        seen: Counter[str],
        *,
        ledger: Ledger | None = None,
        boot: str = "a boot",
    ) -> None:
        _SKEW.set(plan.skew)
        _BOOT.set(boot)
        self.plan = plan
        self.record = record
        self.seen = seen
        self.dispatched: defaultdict[int, list[Dispatched]] = defaultdict(list[Dispatched])
        """By caller, what the `on_dispatched` hook was told."""
        self.unknown: defaultdict[int, list[DispatchUnknown]] = defaultdict(list[DispatchUnknown])
        """By caller, what the `on_dispatch_unknown` hook was told."""
        self.told_at: dict[Ref, float] = {}
        """When the `on_dispatched` hook first named an operation."""
        self.transitions: list[StatusChanged] = []
        """What the `on_transition` hook was told."""
        self._tasks: dict[asyncio.Task[Any], int] = {}
        """The tasks that sent anything, each with its number."""
        self.is_killed = False
        """Whether nothing may leave it any more, and nothing that it says counts."""
        self.is_closing = False
        """Whether somebody closes the client."""
        self.closed_at: float | None = None
        """When the close of the client had ended."""
        self.session = aiohttp.ClientSession(
            connector=InMemoryConnector(limit=plan.max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[self._tracing()],
        )
        self.client = Client(
            emulator.url,
            api_key=emulator.api_key,
            project=emulator.project_id,
            poll_interval=INTERVAL,
            max_outage=MAX_OUTAGE,
            timeout=TIMEOUT,
            retry=RetryPolicy(attempts=3, base_delay=0.2, max_delay=1.0),
            max_connections=plan.max_connections,
            hooks=Hooks(
                on_dispatched=self._note_dispatched,
                on_dispatch_unknown=self._note_unknown,
                on_transition=self.transitions.append,
                on_pause=lambda _: self.seen.update(["a throttle pause"]),
            ),
            session=self.session,
            ledger=ledger,
            allow_http=True,
        )
        watch_answers(self.client, self._note_list)

    def _note_dispatched(self, event: Dispatched) -> None:
        if self.is_killed:
            return
        self.dispatched[CALLER.get()].append(event)
        self.told_at.setdefault(event.ref, asyncio.get_running_loop().time())

    def _note_unknown(self, event: DispatchUnknown) -> None:
        if self.is_killed:
            return
        self.unknown[CALLER.get()].append(event)

    def _tracing(self) -> aiohttp.TraceConfig:
        """Return what names the caller in each request, and sees those that begin too late."""
        tracing = aiohttp.TraceConfig()

        async def begin(_session: object, _context: object, request: Any) -> None:
            request.headers[X_CALLER] = str(CALLER.get())
            request.headers[X_TASK] = self._task()
            request.headers[X_REQUEST] = str(next(self.record.numbers))
            if self.is_killed:
                await asyncio.Event().wait()  # until its close gives it up
            if self.closed_at is not None:
                self.record.late.append(f"{request.method} {request.url.path}")

        async def end(_session: object, _context: object, request: Any) -> None:
            post = self.record.posts.get(request.headers[X_REQUEST])
            if post is not None and request.response.status == 202 and not self.is_killed:
                post.accepted_at = asyncio.get_running_loop().time()

        tracing.on_request_start.append(begin)
        tracing.on_request_end.append(end)
        return tracing

    def _task(self) -> str:
        """Return the number of the running task."""
        task = asyncio.current_task()
        assert task is not None
        return str(self._tasks.setdefault(task, len(self._tasks)))

    def _note_list(self, request: Any, status: int, body: bytes) -> None:
        """Note a list of runs as the client reads it."""
        if request.endpoint.name == "list_runs" and status == 200 and not self.is_killed:
            now, is_search = (
                asyncio.get_running_loop().time(),
                request.query.get("limit") in SEARCH_LIMITS,
            )
            self.record.note_list(json.loads(body), task=self._task(), at=now, is_search=is_search)

    async def close(self) -> None:
        """Close the client, as a program does that ends well; a second time does nothing."""
        self.is_closing = True
        await self.client.aclose()
        if self.closed_at is None:
            self.closed_at = asyncio.get_running_loop().time()


class _LocalTime(datetime):
    """The clock of the machine that the code runs on."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        seconds = EPOCH + asyncio.get_running_loop().time() + _SKEW.get()
        return datetime.fromtimestamp(seconds, tz or UTC)


def _machine_time() -> tuple[str, float]:
    """Return the boot of the machine that the code runs on, and the seconds since then."""
    return _BOOT.get(), asyncio.get_running_loop().time()


@contextmanager
def local_clocks() -> Generator[None]:
    """Give the product's modules the clocks of the world in place of this machine's."""
    modules = [each for name, each in sys.modules.items() if name.startswith("testvibe_async.")]
    with ExitStack() as patches:
        for module in modules:
            if getattr(module, "machine_time", None) is machine_time:
                patches.enter_context(patch.object(module, "machine_time", _machine_time))
            is_dated = getattr(module, "datetime", None) is datetime
            if is_dated and "datetime.now(" in inspect.getsource(module):
                patches.enter_context(patch.object(module, "datetime", _LocalTime))
        yield
