"""A wire between a client and the emulator that does as it is told, and watches what is sent.

It stands in for `Transport.send`, without sockets: each request meets the trouble meant for it.
What holds of any request at any time is checked right here, and told by `problems`: a check that
raised within the client's own tasks would be taken for a failure of the network.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import Factory, define, frozen

from testvibe_async import (
    Client,
    ClientClosedError,
    Hooks,
    NotSentError,
    OutcomeUnknownError,
)
from testvibe_async._wire.protocol import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from testvibe_async._wire.endpoints import Request
    from testvibe_async.testing import Emulator

INTERVAL, TICK = 3.0, 0.3
TIMEOUT, OUTAGE = 5.0, 25.0
CONNECTIONS = 3
LATENCY = 0.05
A_MOMENT = 1e-6
LISTS = ("list_runs", "list_features")
LOOKS = ("get_run", "get_generation_status")


@frozen
class Trouble:
    """What becomes of one request."""

    acts: bool = True
    """Whether the service does what is asked."""
    error: type[NotSentError | OutcomeUnknownError] | None = None
    """What comes in place of the answer."""
    seconds: float = 0.0
    """By how much the end is late."""
    status: int | None = None
    body: bytes | None = None
    retry_after: int | None = None
    change: Callable[[Any], object] | None = None
    """What is done to the document of a success."""


def _unknown_status(document: Any) -> Any:
    if document.get("finishedUtc") or document.get("overallConclusion"):
        return document
    return document | {name: "paused" for name in ("status", "featureStatus") if name in document}


def _of_another(document: Any) -> Any:
    return document | {"requestId": "another"} if "requestId" in document else document


def _stale(rows: Any) -> Any:
    going_on = {"status": "running", "finishedUtc": None}
    return [row | going_on if "runId" in row else row | {"status": "generating"} for row in rows]


FINE, REST = Trouble(), Trouble(acts=False, status=429, retry_after=2)
TROUBLES = {
    "none": FINE,
    "unsent": Trouble(acts=False, error=NotSentError),
    "reset": Trouble(acts=False, error=OutcomeUnknownError),
    "hang": Trouble(acts=False, error=OutcomeUnknownError, seconds=TIMEOUT),
    "lost": Trouble(error=OutcomeUnknownError),
    "lost late": Trouble(error=OutcomeUnknownError, seconds=TIMEOUT),
    "late": Trouble(seconds=4.0),
    "garbage": Trouble(acts=False, status=200, body=b"<html>Sign in"),
    "unreadable": Trouble(change=lambda _: {"runId": "x", "requestId": 7}),
    "404": Trouble(acts=False, status=404),
    "409": Trouble(acts=False, status=409),
    "429": Trouble(acts=False, status=429),
    "429 rest": REST,
    "500": Trouble(acts=False, status=500),
    "503 rest": Trouble(acts=False, status=503, retry_after=2),
}
"""What may happen to any request."""
LOOK_TROUBLES = {
    "unknown status": Trouble(change=_unknown_status),
    "other requestId": Trouble(change=_of_another),
}
SEEN = (FINE, TROUBLES["late"], LOOK_TROUBLES["unknown status"])
"""With which a look still shows its operation."""
LIST_TROUBLES = {"no rows": Trouble(change=lambda _: []), "stale rows": Trouble(change=_stale)}


@define(eq=False)
class Posts:
    """What one dispatch has sent, and what came of it."""

    name: str
    """The dispatch's own operation."""
    troubles: Iterator[Trouble]
    """What becomes of those of that name, one after the other, and then nothing."""
    leave: int
    """How often it may be sent again although nobody knows what became of the last."""
    unclear: Counter[str] = Factory(Counter[str])
    """How many were sent that may have taken effect for all that the client knows, by name."""
    made: list[int | str] = Factory(list[int | str])
    """The ids of what the service began."""


POSTS: ContextVar[Posts | None] = ContextVar("POSTS", default=None)
"""Those of the dispatch that a task works on."""
TROUBLE: ContextVar[Trouble | None] = ContextVar("TROUBLE", default=None)
"""What becomes of all that a task reads, if that is a matter of its own."""


@define(eq=False)
class _Look:
    began: float
    is_over: bool = False


@define(eq=False)
class Wire:
    """A client, and what goes over its wire."""

    emulator: Emulator
    troubles: Mapping[str, Iterator[Trouble]]
    """What becomes of the next requests, by name."""
    is_wanted: Callable[[Wire, Request[Any]], bool]
    """Says whether anybody waits for what a look tells of."""
    problems: list[str]
    client: Client = Factory(lambda self: self._client(), takes_self=True)
    is_closed: bool = False
    told: set[int | str] = Factory(set[int | str])
    """What the `on_dispatched` hook was told of."""
    seen: dict[int, float] = Factory(dict[int, float])
    """When the last look began that was answered well, by the identity of its request."""
    _under_way: int = 0
    _rests_until: float = 0.0
    _listed_at: float = -1.0
    _looks: dict[int, _Look] = Factory(dict[int, _Look])
    """The poller's last look at each operation."""
    _unwanted: set[int] = Factory(set[int])
    """What was looked at since anybody last began to wait for it, and nobody waited."""
    _kept: list[Request[Any]] = Factory(list["Request[Any]"])
    """All requests, so that no other takes the identity of one."""

    def _client(self) -> Client:
        client = Client(
            "http://127.0.0.1",
            api_key=self.emulator.api_key,
            project=self.emulator.project_id,
            poll_interval=INTERVAL,
            timeout=TIMEOUT,
            max_outage=OUTAGE,
            max_connections=CONNECTIONS,
            hooks=Hooks(on_dispatched=lambda event: self.told.add(number_of(event.ref))),
        )
        client._transport._http.send = self._send  # type: ignore[method-assign]
        return client

    def wants(self, requests: list[Request[Any]] | None = None) -> None:
        """Take note that somebody begins to wait for these, or for any."""
        self._unwanted.difference_update(self._unwanted if requests is None else map(id, requests))

    def _expect(self, holds: bool, problem: str) -> None:  # noqa: FBT001
        if not holds:
            self.problems.append(problem)

    async def _send(self, request: Request[Any]) -> Response:
        loop = asyncio.get_running_loop()
        began, posts = loop.time(), POSTS.get() if request.method == "POST" else None
        trouble = self._trouble(request, posts)
        look = self._check(request, began, posts)
        self._under_way += 1
        try:
            response = await self._answer(request, trouble, posts)
        except NotSentError:
            if posts is not None:
                posts.unclear[request.endpoint.name] -= 1
            raise
        finally:
            self._under_way -= 1
            look.is_over = True
        is_told = response.status == 202 and trouble.change is None
        if posts is not None and (is_told or response.status == 409 or trouble is REST):
            posts.unclear[request.endpoint.name] -= 1
        if response.status == 200 and trouble in SEEN:
            self.seen[id(request)] = max(began, self.seen.get(id(request), 0.0))
        if trouble.retry_after is not None:
            self._rests_until = loop.time() + trouble.retry_after
        return response

    def _trouble(self, request: Request[Any], posts: Posts | None) -> Trouble:
        name, own = request.endpoint.name, TROUBLE.get()
        if posts is not None:
            return next(posts.troubles, FINE) if name == posts.name else FINE
        return own or next(self.troubles.get(name, iter(())), FINE)

    def _check(self, request: Request[Any], now: float, posts: Posts | None) -> _Look:
        """Check that a request may be sent now."""
        self._kept.append(request)
        name = f"{request.endpoint.name} at {now:.2f}"
        self._expect(not self.is_closed, f"{name}: sent after the close")
        self._expect(now >= self._rests_until - A_MOMENT, f"{name}: sent during a rest")
        self._expect(self._under_way < CONNECTIONS, f"{name}: more at once than allowed")
        if posts is not None:
            is_clear = posts.unclear[request.endpoint.name] <= posts.leave
            self._expect(is_clear, f"{name}: sent again blindly")
            posts.unclear[request.endpoint.name] += 1
        look, task = _Look(now), asyncio.current_task()
        if task is not None and task.get_name() == "testvibe_async poller":
            self._check_look(request, look, name)
        return look

    def _check_look(self, request: Request[Any], look: _Look, name: str) -> None:
        """Check that one of the poller's looks is due, and that somebody waits for it."""
        if request.endpoint.name in LISTS:
            self._listed_at = look.began
            return
        before = self._looks.get(id(request))
        self._looks[id(request)] = look
        if before is not None:
            is_due = look.began >= before.began + INTERVAL - TICK - A_MOMENT
            is_listed = self._listed_at >= before.began
            self._expect(before.is_over, f"{name}: two looks at one operation at once")
            self._expect(is_due or is_listed, f"{name}: looked at too often")
        if not self.is_wanted(self, request):
            # One may have stood in line for its turn when the last who waited went away.
            self._expect(id(request) not in self._unwanted, f"{name}: nobody waits for it")
            self._unwanted.add(id(request))

    async def _answer(
        self, request: Request[Any], trouble: Trouble, posts: Posts | None
    ) -> Response:
        """Let the service act, and give what comes of it, or raise what comes in its place."""
        transport = self.client._transport
        method, url = request.method, transport.url_of(request)
        status, body = trouble.status, trouble.body
        try:
            await transport.sleep(LATENCY)
            if trouble.acts:
                status, body = self._act(request, posts)
                if trouble.change is not None and status < 300:
                    body = json.dumps(trouble.change(json.loads(body))).encode()
            await transport.sleep(LATENCY + trouble.seconds)
        except ClientClosedError:
            raise OutcomeUnknownError("the session was closed", method=method, url=url) from None
        if trouble.error is not None:
            raise trouble.error("trouble", method=method, url=url)
        headers = {"Date": self.emulator._clock.http_date()}
        if trouble.retry_after is not None:
            headers["Retry-After"] = str(trouble.retry_after)
        assert status is not None
        return Response(status, headers, body or b"{}", url, datetime.now(UTC))

    def _act(self, request: Request[Any], posts: Posts | None) -> tuple[int, bytes]:
        """Have the service act, and note what it begins for a dispatch."""
        query = "&".join(f"{name}={value}" for name, value in request.query.items())
        exchange = self.emulator._api._site.receive(
            request.method,
            f"/api/v1/ops{request.path}?{query}",
            {"Authorization": f"Bearer {self.emulator.api_key}"},
            json.dumps(request.body).encode(),
        )
        answer = exchange.act()
        if posts is not None and answer.status == 202:
            document = json.loads(answer.body)
            posts.made.append(document.get("runId") or document["requestId"])
        return answer.status, answer.body


def number_of(ref: Any) -> int | str:
    """Return the service's number of a run, or id of a generation."""
    number: int | str = ref.key[-1]
    return number
