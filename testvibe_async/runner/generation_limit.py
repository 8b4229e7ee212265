"""Limit on the generations that may be dispatched, enforced where each is sent.

Generations cost credits, so none is sent without permission, also of a resumed batch. This module
never decides who may grant permission.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from attrs import evolve

from testvibe_async.errors import LedgerError, VibeError
from testvibe_async.runner.kinds import POLICIES

if TYPE_CHECKING:
    from testvibe_async.intents import Intent
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.refs import Ref


LIMITED = "stopped at the limit"
"""The verdict of an operation that would have exceeded the limit."""

_SENTENCE = "not generated: the limit of generations is reached"

ItemT = TypeVar("ItemT", bound="BatchItem[Any]")


class GenerationLimitError(VibeError):
    """A generation was not sent: as many as were allowed are dispatched."""

    verdict: ClassVar[str] = LIMITED
    """The verdict of an item with this error; the library's own, `error`, says less."""

    def __init__(self) -> None:
        super().__init__(_SENTENCE)

    def __repr__(self) -> str:
        """Return the sentence alone: an error of the client quotes it."""
        return str(self)


class GenerationLimit:
    """A `Recorder` of a client, which refuses each generation beyond the limit.

    A generation whose answer was lost counts, as it may have started. One that was refused does
    not.
    """

    def __init__(self) -> None:
        """Allow none."""
        self.allowed: int = 0
        """Total number of generations that may be dispatched."""
        self._intents: set[str] = set()

    @property
    def is_reached(self) -> bool:
        """True if no other generation may be dispatched."""
        return len(self._intents) >= self.allowed

    async def intended(self, intent: Intent) -> None:
        """Count a generation that is about to be sent.

        Raises:
            GenerationLimitError: It is one more than are allowed.
        """
        if not POLICIES[intent.kind].costs_credits:
            return
        if self.is_reached:
            raise GenerationLimitError
        self._intents.add(intent.id)

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        """Do nothing: it was counted before it was sent."""

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:  # noqa: ARG002
        """Count a generation no more that provably did not start."""
        self._intents.discard(intent.id)


def with_limit_named(item: ItemT) -> ItemT:
    """Return the item, with an error that names the limit if the limit stopped it.

    The client wraps what its recorder raises, and a journal keeps the text of that alone.
    """
    if isinstance(item.error, LedgerError) and _SENTENCE in str(item.error):
        return evolve(item, error=GenerationLimitError())
    return item
