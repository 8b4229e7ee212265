"""Faults: what can go wrong between a client and the service, and the rules for when it does.

Decides which faults strike a request. Carrying them out on the socket is `origin`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from .answers import JSON_TYPE, Answer, error_document, json_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from .requests import RecordedRequest

__all__ = ["DOWNLOAD", "Fault", "FaultRules", "Rule", "Strike"]

DOWNLOAD = "download"
"""What a request to the second origin is called; no operation of the service has that name."""


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong with a request. Make it with one of the class methods."""

    kind: Literal["answer", "reset", "lost", "hang", "truncated", "garbage", "delay", "edit"]
    answer: Answer | None = None
    """What is answered in place of the service's own."""
    seconds: float = 0.0
    """By how much the answer is late."""
    change: Callable[[Any], object] | None = None
    """What is done to the document of a success."""

    @classmethod
    def status(
        cls, code: int, *, retry_after: float | str | None = None, body: bytes | None = None
    ) -> Fault:
        """Answer with a status, without acting.

        Args:
            code: The HTTP status.
            retry_after: The `Retry-After` header: seconds, or a text as it is. None: no header.
            body: The body as it is, as HTML. None: the error document of the status.
        """
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after}"}
        if body is not None:
            return cls(kind="answer", answer=Answer(code, body, "text/html", headers))
        document = error_document(code, f"The emulator was told to answer {code}.")
        return cls(kind="answer", answer=Answer(code, json_body(document), headers=headers))

    @classmethod
    def body(cls, content: bytes, *, status: int = 200, content_type: str = JSON_TYPE) -> Fault:
        """Answer something else, without acting."""
        return cls(kind="answer", answer=Answer(status, content, content_type))

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
        """Act and answer as usual, but later.

        Args:
            seconds: Seconds of the event loop, whatever the emulator's speed.
        """
        return cls(kind="delay", seconds=seconds)

    @classmethod
    def edit(cls, change: Callable[[Any], object]) -> Fault:
        """Act as usual, then change the document of a success.

        Args:
            change: Takes the decoded document, or the bytes of a download, and returns what is
                sent in its place: a document, or bytes as they are.
        """
        return cls(kind="edit", change=change)


@attrs.define(eq=False, kw_only=True)
class Rule:
    """When a fault strikes; `Emulator.fail` makes it, and tells what the fields mean."""

    operation: str
    fault: Fault
    times: int | None
    skip: int
    when: Callable[[RecordedRequest], bool] | None
    hits: int = 0
    """How many requests it has struck."""
    removed: bool = False

    def remove(self) -> None:
        """Let it strike no more; twice is fine."""
        self.removed = True

    @property
    def in_force(self) -> bool:
        """Whether it may strike again."""
        return not self.removed and self.hits != self.times

    def strikes(self, request: RecordedRequest) -> bool:
        """Say whether it strikes this request, and count that."""
        if not self._fits(request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        return True

    def _fits(self, request: RecordedRequest) -> bool:
        named = self.operation == request.operation
        if not named and (self.operation != "*" or request.operation == DOWNLOAD):
            return False
        return self.when is None or self.when(request)


@attrs.define
class Strike:
    """What strikes one request."""

    fault: Fault | None = None
    """What decides its end; None: it is answered."""
    delay: float = 0.0
    """By how many seconds it is late."""
    changes: list[Callable[[Any], object]] = attrs.field(factory=list["Callable[[Any], object]"])
    """What is done to the document of a success, one after the other."""


class FaultRules:
    """All rules in force.

    Delays and edits add up. Of all else, the rule that was made first strikes alone.
    """

    def __init__(self) -> None:
        """Begin without rules."""
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Put a rule in force."""
        self._rules.append(rule)

    def strike(self, request: RecordedRequest) -> Strike:
        """Decide what strikes a request."""
        self._rules = [rule for rule in self._rules if rule.in_force]
        strike = Strike()
        for rule in self._rules:
            fault = rule.fault
            if fault.kind == "delay":
                strike.delay += fault.seconds if rule.strikes(request) else 0.0
            elif fault.change is not None:
                strike.changes += [fault.change] if rule.strikes(request) else []
            elif strike.fault is None and rule.strikes(request):
                strike.fault = fault
        return strike
