"""What really happened, as the service and the wire saw it: the invariants are held against it."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import count
from typing import Any, TypeAlias

from attrs import define, field, frozen

from testvibe_async import GenerationRef, Ref, RunRef
from testvibe_async.testing import RecordedRequest
from testvibe_async.testing.answers import Answer

Id: TypeAlias = int | str
CALLER: ContextVar[int] = ContextVar("CALLER", default=0)
"""The number of the caller that a task works for; 0 for none, such as the poller."""
X_CALLER = "X-Caller"
X_REQUEST = "X-Request"
"""The header with the number of a request."""
X_TASK = "X-Task"
"""The header with the number of the task that sends a request: one dispatches, and reconciles."""
KINDS = {"run_feature": "run", "generate_feature": "generation"}


@frozen
class Intent:
    """One thing that one caller wants done once."""

    caller: int
    kind: str
    feature: str
    config: str | None


@define(eq=False)
class Post:
    """A dispatch that reached the service."""

    intent: Intent
    task: str
    at: float
    made: Id | None = None
    """The operation that it began."""
    status: int | None = None
    """The status of its answer; None where none was sent."""
    answered_at: float = 0.0
    retry_after: float | None = None
    accepted_at: float | None = None
    """When the client had its status 202."""
    is_unreadable: bool = False
    """Whether it was accepted in a way that can't be read."""
    mixed_up_with: Id | None = None
    """The operation that its answer names in place of its own."""

    @property
    def is_refused(self) -> bool:
        """Whether the answer, should it arrive, says that nothing began."""
        return self.status is not None and 400 <= self.status < 500


@frozen
class Listed:
    """A list of runs, or a page of one, that a task of the client has read."""

    task: str
    at: float
    ids: frozenset[Id]
    is_cut: bool
    """Whether it says that there are more, and not how to get them."""
    is_search: bool
    """Whether an operation may have been searched for in it."""


@define(eq=False)
class Record:
    """The records of one schedule."""

    posts: dict[str, Post] = field(factory=dict[str, Post])
    """By the number of the request."""
    served: defaultdict[Id, list[dict[str, Any]]] = field(
        factory=lambda: defaultdict[Id, list[dict[str, Any]]](list)
    )
    """By operation, the documents and rows that were served of it."""
    lists: list[Listed] = field(factory=list[Listed])
    late: list[str] = field(factory=list[str])
    """The requests that began when none may any more."""
    numbers: Iterator[int] = field(factory=count)
    """Of the requests to come."""

    def note_arrival(self, request: RecordedRequest) -> None:
        kind = KINDS.get(request.operation or "")
        if kind is None:
            return
        body = json.loads(request.body or b"{}")
        intent = Intent(_caller(request), kind, request.feature or "", body.get("config"))
        headers = request.headers
        self.posts[headers[X_REQUEST]] = Post(intent, headers[X_TASK], request.at)

    def post(self, request: RecordedRequest) -> Post:
        return self.posts[request.headers[X_REQUEST]]

    def note_answer(self, request: RecordedRequest, answer: Answer, *, at: float) -> None:
        if (post := self.posts.get(request.headers[X_REQUEST])) is not None:
            post.status, post.answered_at = answer.status, at
            seconds = answer.headers.get("Retry-After")
            post.retry_after = None if seconds is None else float(seconds)
        elif answer.status == 200:
            self._note_served(request, json.loads(answer.body))

    def _note_served(self, request: RecordedRequest, document: Any) -> None:
        if request.operation in {"get_run", "get_generation_status"}:
            self.served[document.get("runId") or document.get("requestId")].append(document)
        elif request.operation == "list_runs":
            for row in document:
                self.served[row["runId"]].append(row)

    def note_list(self, document: Any, *, task: str, at: float, is_search: bool) -> None:
        """Note a list of runs that has arrived."""
        envelope: dict[str, Any] = {"items": document} if isinstance(document, list) else document
        rows: list[dict[str, Any]] = envelope["items"]
        is_cut = bool(envelope.get("hasMore")) or envelope.get("total", 0) > len(rows)
        ids = frozenset(row["runId"] for row in rows)
        self.lists.append(Listed(task, at, ids, is_cut, is_search))

    def of(self, intent: Intent) -> list[Post]:
        return [post for post in self.posts.values() if post.intent == intent]

    def made(self, intent: Intent) -> list[Id]:
        return [post.made for post in self.of(intent) if post.made is not None]

    def is_mixed_up(self, name: Id) -> bool:
        """Say whether the service named an operation in place of another."""
        return any(post.mixed_up_with == name for post in self.posts.values())

    @property
    def owners(self) -> dict[Id, Intent]:
        """Whose POST began which operation; those of others are not in it."""
        return {post.made: post.intent for post in self.posts.values() if post.made is not None}


def id_of(ref: Ref) -> Id:
    assert isinstance(ref, RunRef | GenerationRef)
    return ref.run_id if isinstance(ref, RunRef) else ref.request_id


def _caller(request: RecordedRequest) -> int:
    return int(request.headers.get(X_CALLER, "0"))
