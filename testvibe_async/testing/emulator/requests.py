"""The requests to an origin: the record of them, and the faults that some of them get.

Decides whether requests are kept or only counted, and which faults apply to one. It never answers
one, nor touches a socket: `origin` carries faults out.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from urllib.parse import parse_qsl

import attrs
from attrs.validators import ge, optional

from .answers import JSON_TYPE, Answer, error_document, json_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "DOWNLOAD",
    "AppliedFaults",
    "Fault",
    "FaultRules",
    "RecordedRequest",
    "RequestLog",
    "Rule",
]

DOWNLOAD = "download"
"""The operation of requests to the second origin; the service has none of that name."""


@attrs.define(eq=False, kw_only=True)
class RecordedRequest:
    """One request, as received, and the status of its answer."""

    method: str
    """The HTTP method."""
    path: str
    """The raw path, still percent-encoded, without the query."""
    query: Mapping[str, str]
    """The parameters of the query, decoded."""
    headers: Mapping[str, str]
    """The headers; the case of a name does not matter."""
    body: bytes
    """The body; empty without one."""
    at: float
    """The time of arrival, in emulator seconds."""
    operation: str | None = None
    """The service's name of the operation; None if no route matches."""
    run_id: int | None = None
    """The run that the path names; None if it names none that exists."""
    feature: str | None = None
    """The name of the feature of the path or of the run; None if there is none."""
    status: int | None = None
    """The status of the answer; None before it, and if the connection was cut."""

    @classmethod
    def of(
        cls, method: str, target: str, headers: Mapping[str, str], body: bytes, *, at: float
    ) -> RecordedRequest:
        """Make the record of a request, by its target: the raw path and the query."""
        path, _, query_string = target.partition("?")
        query = dict(parse_qsl(query_string, keep_blank_values=True)) if query_string else {}
        return cls(method=method, path=path, query=query, headers=headers, body=body, at=at)


class RequestLog:
    """All requests to one origin, in the order of arrival."""

    def __init__(self, *, keep: bool = True) -> None:
        """Make an empty log.

        Args:
            keep: True to keep requests; False only counts them by operation.
        """
        self.requests: list[RecordedRequest] = []
        self._keep = keep
        self._counts: Counter[str | None] = Counter()

    def add(self, request: RecordedRequest) -> None:
        """Record a request, before it is answered."""
        self._counts[request.operation] += 1
        if self._keep:
            self.requests.append(request)

    def count(self, operation: str, when: Callable[[RecordedRequest], bool] | None) -> int:
        """Count requests.

        Args:
            operation: Their operation; `"*"` for any.
            when: A condition on them. None: all.

        Raises:
            ValueError: There is a condition, but requests are not kept.
        """
        if when is None:
            return self._counts.total() if operation == "*" else self._counts[operation]
        if not self._keep:
            raise ValueError(
                "This emulator keeps no requests (record=False): count without a condition."
            )
        return sum(
            1
            for request in self.requests
            if operation in {"*", request.operation} and when(request)
        )


@attrs.frozen(kw_only=True)
class Fault:
    """A failure of a request, created by one of the class methods."""

    kind: Literal["answer", "reset", "lost", "hang", "truncated", "garbage", "delay", "edit"]
    """The name of its kind; the class methods set it."""
    answer: Answer | None = None
    """The answer in place of the service's own."""
    seconds: float = 0.0
    """Seconds by which the answer is late."""
    change: Callable[[Any], object] | None = None
    """The function that changes the document of a success."""

    @classmethod
    def status(
        cls, code: int, *, retry_after: float | str | None = None, body: bytes | None = None
    ) -> Fault:
        """Answer with a status, without acting.

        Args:
            code: The HTTP status.
            retry_after: The `Retry-After` header: seconds, or any text. None: no header.
            body: The body, sent as HTML. None: the error document of the status.
        """
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after}"}
        if body is not None:
            page = Answer(code, body, "text/html", headers, verbatim=True)
            return cls(kind="answer", answer=page)
        document = error_document(code, f"The emulator was told to answer {code}.")
        return cls(kind="answer", answer=Answer(code, json_body(document), headers=headers))

    @classmethod
    def body(cls, content: bytes, *, status: int = 200, content_type: str = JSON_TYPE) -> Fault:
        """Answer with other content, without acting; no middleware changes it."""
        return cls(kind="answer", answer=Answer(status, content, content_type, verbatim=True))

    @classmethod
    def reset(cls) -> Fault:
        """Reset the connection, without acting."""
        return cls(kind="reset")

    @classmethod
    def lost(cls) -> Fault:
        """Act, then reset the connection in place of the answer."""
        return cls(kind="lost")

    @classmethod
    def hang(cls) -> Fault:
        """Never answer, without acting."""
        return cls(kind="hang")

    @classmethod
    def truncated(cls) -> Fault:
        """Act, promise the whole answer, send half of it, and close."""
        return cls(kind="truncated")

    @classmethod
    def garbage(cls) -> Fault:
        """Send bytes that are not HTTP, without acting."""
        return cls(kind="garbage")

    @classmethod
    def delay(cls, seconds: float) -> Fault:
        """Act and answer as usual, but later: both, after the delay.

        Args:
            seconds: Seconds of the event loop, at any speed of the emulator.
        """
        return cls(kind="delay", seconds=seconds)

    @classmethod
    def edit(cls, change: Callable[[Any], object]) -> Fault:
        """Act as usual, then change the document of a success, before a middleware does.

        Args:
            change: Takes the decoded document, or the bytes of a download, and returns the document
                or the raw bytes to send in its place. To return None, as `dict.update` does, is an
                error; for `null`, use `Fault.body(b"null")`.
        """
        return cls(kind="edit", change=change)


F = TypeVar("F")


@attrs.define(eq=False)
class Rule(Generic[F]):
    """The rule for one fault; `Emulator.fail` and `FaultProxy.fail` create it."""

    fault: F
    matches: Callable[..., bool]
    """Takes what comes, such as a request; returns True if the rule is for that."""
    times: int | None = attrs.field(validator=optional(ge(1)))
    """The number of matches that get the fault; None for all."""
    skip: int = attrs.field(validator=ge(0))
    """The number of matches that pass before."""
    hits: int = 0
    """The number of matches that got the fault."""
    removed: bool = False

    def remove(self) -> None:
        """End the rule, which may be done twice; requests that it already holds stay held."""
        self.removed = True

    @property
    def in_force(self) -> bool:
        """True while the rule may apply again."""
        return not self.removed and self.hits != self.times

    def applies_to(self, *what: object) -> bool:
        """Return True if the fault applies, and count that."""
        if not self.in_force or not self.matches(*what):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        return True


@attrs.define
class AppliedFaults:
    """The faults that apply to one request."""

    fault: Fault | None = None
    """The fault that decides its end; None: it is answered."""
    delay: float = 0.0
    """Seconds by which it is late."""
    changes: list[Callable[[Any], object]] = attrs.field(factory=list["Callable[[Any], object]"])
    """The functions that change the document of a success, in order."""


class FaultRules:
    """All rules in force.

    Delays and edits add up. Of all other faults, only that of the first rule applies.
    """

    def __init__(self) -> None:
        """Start without rules."""
        self._rules: list[Rule[Fault]] = []

    def add(self, rule: Rule[Fault]) -> None:
        """Add a rule."""
        self._rules.append(rule)

    def apply_to(self, request: RecordedRequest) -> AppliedFaults:
        """Decide which faults apply to a request, and count them."""
        self._rules = [rule for rule in self._rules if rule.in_force]
        applied = AppliedFaults()
        for rule in self._rules:
            fault = rule.fault
            if fault.kind == "delay":
                applied.delay += fault.seconds if rule.applies_to(request) else 0.0
            elif fault.change is not None:
                edit = partial(_edit, fault.change, request.operation)
                applied.changes += [edit] if rule.applies_to(request) else []
            elif applied.fault is None and rule.applies_to(request):
                applied.fault = fault
        return applied


def _edit(change: Callable[[Any], object], operation: str | None, document: object) -> object:
    """Return the changed document.

    Raises:
        TypeError: The function returned None. A `null` would look like a fault of the service, far
            from the mistake.
    """
    changed = change(document)
    if changed is None:
        raise TypeError(f"Fault.edit for {operation} returned None: let it return the document")
    return changed
