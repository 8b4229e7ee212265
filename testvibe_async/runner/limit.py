"""The error of a generation that was not sent, because as many as were allowed are dispatched.

The limit itself is enforced in `ledgers`, which loads more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from attrs import evolve

from testvibe_async.errors import LedgerError, VibeError

if TYPE_CHECKING:
    from testvibe_async.outcomes import BatchItem


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


def with_limit_named(item: ItemT) -> ItemT:
    """Return the item, with an error that names the limit if the limit stopped it.

    The client wraps what its ledger raises, and a row keeps the text of that alone.
    """
    if isinstance(item.error, LedgerError) and _SENTENCE in str(item.error):
        return evolve(item, error=GenerationLimitError())
    return item
