"""The requests to an origin, and the faults that some of them get.

Decides which faults apply to a request. It never answers one, nor touches a socket: `origin`
carries faults out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
from attrs.validators import ge, optional

from .answers import JSON_TYPE, Answer, error_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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


@attrs.frozen(kw_only=True)
class Fault:
    """A failure of a request, created by one of the class methods."""

    kind: str
    """The name of the class method; `answer` for those that answer in place of the service."""
    answer: Answer | None = None
    """The answer in place of the service's own."""
    seconds: float = 0.0
    """Seconds by which the answer is late."""
    bytes_per_second: float = 0.0
    """The rate at which the answer is sent."""
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
        message = f"The emulator was told to answer {code}."
        return cls(kind="answer", answer=error_answer(code, message, headers))

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
    def unanswered(cls) -> Fault:
        """Act, but never answer."""
        return cls(kind="unanswered")

    @classmethod
    def truncated(cls) -> Fault:
        """Act, promise the whole answer, send half of it, and close."""
        return cls(kind="truncated")

    @classmethod
    def cut_head(cls) -> Fault:
        """Act, send half of the answer's head, and close."""
        return cls(kind="cut_head")

    @classmethod
    def slow(cls, bytes_per_second: float) -> Fault:
        """Act, then send the answer at this rate, by the event loop's clock, and close.

        Raises:
            ValueError: The rate is not a number above 0.
        """
        if not 0 < bytes_per_second < math.inf:
            raise ValueError(f"A rate must be above 0 bytes a second, not {bytes_per_second}.")
        return cls(kind="slow", bytes_per_second=bytes_per_second)

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

    @property
    def ends_request(self) -> bool:
        """True if nothing is answered as usual."""
        return self.kind not in {"delay", "edit"}


@attrs.define(eq=False)
class Rule:
    """The rule for one fault; `Emulator.fail` creates it."""

    fault: Fault
    matches: Callable[[RecordedRequest], bool]
    """Returns True if the rule is for a request."""
    times: int | None = attrs.field(validator=optional(ge(1)))
    """The number of requests that get the fault; None for all."""
    skip: int = attrs.field(validator=ge(0))
    """The number of matching requests that pass before."""
    hits: int = 0
    """The number of requests that got the fault."""
    removed: bool = False

    def remove(self) -> None:
        """End the rule; may be called twice. Requests that hang already continue to hang."""
        self.removed = True

    def applies_to(self, request: RecordedRequest) -> bool:
        """Return True if the fault applies, and count that."""
        if self.removed or self.hits == self.times or not self.matches(request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        return True


def faults_of(request: RecordedRequest, rules: Iterable[Rule]) -> list[Fault]:
    """Return the faults that apply to a request, and count them.

    Delays and edits add up. Of all other faults, only that of the first rule applies.
    """
    found: list[Fault] = []
    for rule in rules:
        comes_too_late = rule.fault.ends_request and any(fault.ends_request for fault in found)
        if not comes_too_late and rule.applies_to(request):
            found.append(rule.fault)
    return found
