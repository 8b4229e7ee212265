"""Which of the service's lists are suspended, and the sentence for it.

A list is optional: while one is suspended, each operation is polled by itself. It decides from the
client's events alone. A list that failed together with all else is an outage's, which `contact`
tells of: it is left out here. It reads no clock and prints nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from testvibe_async import RateLimitedError, ServerError, TransportError
from testvibe_async.cli.words import duration, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testvibe_async import VibeError
    from testvibe_async.events import ListPollingSuspended, RequestFinished

__all__ = ["Suspension", "Suspensions"]

ALONE_SECONDS = 3.0
"""How soon after a list failed something else is answered, where the list alone fails."""

SETTLED_SECONDS = 1.0
"""How long after a list was answered it is sure that the answer was of use."""

_PASSING = (TransportError, ServerError, RateLimitedError)
"""What may become of any request while the service is in trouble."""

_MEMBERS = {"list_runs": ("runs", "run"), "list_features": ("features", "generation")}
"""What each list holds, and what is polled by itself without it."""


@frozen(kw_only=True)
class Suspension:
    """A list that the service has not, or not now, or that is of no use."""

    operation: str
    """`list_runs` or `list_features`."""

    seconds: float
    """For how long it is suspended; once over, how long it was."""

    error: VibeError | None
    """What the list call raised; None where the list was wrong, or cost more than it saved."""

    began: float
    """When that was, in seconds of the board's clock."""

    is_certain: bool
    """Whether it is not just a part of an outage."""

    answered: float | None = None
    """When the list was answered again; None where it was not yet."""

    is_over: bool = False
    """Whether the list is in use again."""

    def __str__(self) -> str:
        """Return the sentence."""
        listed, polled = _MEMBERS.get(self.operation, (self.operation, "operation"))
        if self.is_over:
            after = duration(self.seconds, short=True)
            return f"the list of {listed} is in use again, after {after}"
        why = reason(self.error) if self.error else "it was wrong, or cost more than it saved"
        seconds = duration(self.seconds, short=True)
        return f"no list of {listed} for {seconds}, so each {polled} is polled by itself: {why}"


class Suspensions:
    """The lists of one client that are suspended. Instants are seconds of one clock."""

    def __init__(self) -> None:
        self._suspended: dict[str, Suspension] = {}
        self._told: dict[str, Suspension] = {}

    def begin(self, event: ListPollingSuspended, *, now: float) -> None:
        """Take note that a list is suspended."""
        self._suspended[event.operation] = Suspension(
            operation=event.operation,
            seconds=event.seconds,
            error=event.error,
            began=now,
            is_certain=not isinstance(event.error, _PASSING),
        )

    def note(self, event: RequestFinished, *, now: float) -> None:
        """Take in the end of a request."""
        if event.status is None or event.status >= 300:  # noqa: PLR2004 - no answer of use
            return
        for name, each in list(self._suspended.items()):
            if name == event.operation:
                # A list that failed for a while is used again as soon as anything is answered.
                if isinstance(each.error, _PASSING) or now >= each.began + each.seconds:
                    self._suspended[name] = evolve(each, answered=now)
            elif not each.is_certain and now - each.began <= ALONE_SECONDS:
                self._suspended[name] = evolve(each, is_certain=True)

    def news(self, now: float) -> Iterator[Suspension]:
        """Yield what to tell at a moment: each suspension once, and its end."""
        for name, each in list(self._suspended.items()):
            told = self._told.get(name)
            if each.answered is None:
                if told is None and each.is_certain:
                    self._told[name] = each
                    yield each
            elif now - each.answered >= SETTLED_SECONDS:
                del self._suspended[name]
                if told is not None:
                    del self._told[name]
                    yield evolve(each, seconds=each.answered - told.began, is_over=True)
