"""A wire between a client and the emulator that makes trouble, and checks what is sent.

It stands in for `Transport.send`, without sockets: each request meets the trouble meant for it.
What holds of any request at any time is checked here, and recorded in `problems`: a check that
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

from testvibe_async import Client, ClientClosedError, Hooks, NotSentError, OutcomeUnknownError
from testvibe_async._wire.protocol import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from testvibe_async._wire.endpoints import Request
    from testvibe_async.events import Paused
    from testvibe_async.testing import Emulator

INTERVAL, TICK = 3.0, 0.3
TIMEOUT, OUTAGE = 5.0, 25.0
CONNECTIONS = 3
LATENCY = 0.05
A_MOMENT = 1e-6
LISTS = ("list_runs", "list_features")
POLLS = ("get_run", "get_generation_status")


@frozen
class Trouble:
    """What happens to one request."""

    acts: bool = True
    """Whether the service does what is asked."""
    error: type[NotSentError | OutcomeUnknownError] | None = None
    """What is raised in place of the answer."""
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


FINE, PAUSE = Trouble(), Trouble(acts=False, status=429, retry_after=2)
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
    "429 pause": PAUSE,
    "500": Trouble(acts=False, status=500),
    "503 pause": Trouble(acts=False, status=503, retry_after=2),
}
"""What may happen to any request."""
POLL_TROUBLES = {
    "unknown status": Trouble(change=_unknown_status),
    "other requestId": Trouble(change=_of_another),
}
SEEN = (FINE, TROUBLES["late"], POLL_TROUBLES["unknown status"])
"""The troubles with which a poll still shows its operation."""
LIST_TROUBLES = {"no rows": Trouble(change=lambda _: []), "stale rows": Trouble(change=_stale)}


@define(eq=False)
class Posts:
    """What one dispatch has sent, and what came of it."""

    name: str
    """The dispatch's own operation."""
    troubles: Iterator[Trouble]
    """What happens to those of that name, one after the other; nothing to later ones."""
    leave: int
    """How often it may be sent again though the effect of the last is unknown."""
    unclear: Counter[str] = Factory(Counter[str])
    """How many were sent that may have taken effect for all that the client knows, by name."""
    made: list[int | str] = Factory(list[int | str])
    """The ids of what the service began."""


POSTS: ContextVar[Posts | None] = ContextVar("POSTS", default=None)
"""Those of the dispatch that a task works on."""
TROUBLE: ContextVar[Trouble | None] = ContextVar("TROUBLE", default=None)
"""What happens to all reads of a task; None for what happens to all."""


@define(eq=False)
class _Poll:
    began: float
    is_over: bool = False


@define(eq=False)
class Wire:
    """A client, and what goes over its wire."""

    emulator: Emulator
    troubles: Mapping[str, Iterator[Trouble]]
    """What happens to the next requests, by name."""
    is_wanted: Callable[[Wire, Request[Any]], bool]
    """Returns whether a task waits for the operation of a poll."""
    problems: list[str]
    client: Client = Factory(lambda self: self._client(), takes_self=True)
    is_closed: bool = False
    reported: set[int | str] = Factory(set[int | str])
    """The operations that the `on_dispatched` hook reported."""
    seen: dict[int, float] = Factory(dict[int, float])
    """When the last poll with a good answer began, by the identity of its request."""
    _in_progress: int = 0
    _paused_until: float = 0.0
    _listed_at: float = -1.0
    _polls: dict[int, _Poll] = Factory(dict[int, _Poll])
    """The poller's last poll of each operation."""
    _unwanted: set[int] = Factory(set[int])
    """Operations that were polled without a wait since the last wait for them began."""
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
            hooks=Hooks(
                on_dispatched=lambda event: self.reported.add(number_of(event.ref)),
                on_pause=self._note_pause,
            ),
        )
        client._transport._http.send = self._send  # type: ignore[method-assign]
        return client

    def _note_pause(self, pause: Paused) -> None:
        self._paused_until = asyncio.get_running_loop().time() + pause.seconds

    def wants(self, requests: list[Request[Any]] | None = None) -> None:
        """Record that a wait begins for these, or for any."""
        self._unwanted.difference_update(self._unwanted if requests is None else map(id, requests))

    def _expect(self, holds: bool, problem: str) -> None:  # noqa: FBT001
        if not holds:
            self.problems.append(problem)

    async def _send(
        self, request: Request[Any], *, before_writing: Callable[[], Awaitable[None]] | None = None
    ) -> Response:
        if request.method != "GET" and before_writing is not None:
            await before_writing()
        began, posts = (
            asyncio.get_running_loop().time(),
            POSTS.get() if request.method == "POST" else None,
        )
        trouble = self._trouble(request, posts)
        poll = self._check(request, began, posts)
        self._in_progress += 1
        try:
            response = await self._answer(request, trouble, posts)
        except NotSentError:
            if posts is not None:
                posts.unclear[request.endpoint.name] -= 1
            raise
        finally:
            self._in_progress -= 1
            poll.is_over = True
        is_clear_answer = response.status == 202 and trouble.change is None
        if posts is not None and (is_clear_answer or response.status == 409 or trouble is PAUSE):
            posts.unclear[request.endpoint.name] -= 1
        if response.status == 200 and trouble in SEEN:
            self.seen[id(request)] = max(began, self.seen.get(id(request), 0.0))
        return response

    def _trouble(self, request: Request[Any], posts: Posts | None) -> Trouble:
        name, own = request.endpoint.name, TROUBLE.get()
        if posts is not None:
            return next(posts.troubles, FINE) if name == posts.name else FINE
        return own or next(self.troubles.get(name, iter(())), FINE)

    def _check(self, request: Request[Any], now: float, posts: Posts | None) -> _Poll:
        """Check that a request may be sent now."""
        self._kept.append(request)
        name = f"{request.endpoint.name} at {now:.2f}"
        self._expect(not self.is_closed, f"{name}: sent after the close")
        self._expect(now >= self._paused_until - A_MOMENT, f"{name}: sent during a pause")
        self._expect(self._in_progress < CONNECTIONS, f"{name}: more at once than allowed")
        if posts is not None:
            is_clear = posts.unclear[request.endpoint.name] <= posts.leave
            self._expect(is_clear, f"{name}: sent again blindly")
            posts.unclear[request.endpoint.name] += 1
        poll, task = _Poll(now), asyncio.current_task()
        if task is not None and task.get_name() == "testvibe_async poller":
            self._check_poll(request, poll, name)
        return poll

    def _check_poll(self, request: Request[Any], poll: _Poll, name: str) -> None:
        """Check that a poll of the poller is due, and that a task waits for it."""
        if request.endpoint.name in LISTS:
            self._listed_at = poll.began
            return
        before = self._polls.get(id(request))
        self._polls[id(request)] = poll
        if before is not None:
            is_due = poll.began >= before.began + INTERVAL - TICK - A_MOMENT
            is_listed = self._listed_at >= before.began
            self._expect(before.is_over, f"{name}: two polls of one operation at once")
            self._expect(is_due or is_listed, f"{name}: polled too often")
        if not self.is_wanted(self, request):
            # It may have been queued when the last wait for it ended.
            self._expect(id(request) not in self._unwanted, f"{name}: no task waits for it")
            self._unwanted.add(id(request))

    async def _answer(
        self, request: Request[Any], trouble: Trouble, posts: Posts | None
    ) -> Response:
        """Let the service act, and return its answer, or raise what replaces it."""
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
