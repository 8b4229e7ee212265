"""The reasons of results and errors, as a command prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from testvibe_async import BatchItem, Run, VibeError, WaitTimeoutError
from testvibe_async._core.util import escape

if TYPE_CHECKING:
    from testvibe_async import Diagnosis
    from testvibe_async.models import Snapshot

Item: TypeAlias = "BatchItem[Snapshot]"
"""A feature with a configuration: to be dispatched, in flight, or over."""


def reason(error: VibeError | OSError) -> str:
    """Return why something went wrong, in few words, without an address."""
    if isinstance(error, OSError) and not isinstance(error, VibeError):
        return escape(f"{error.filename or 'this machine'}: {error.strerror or error}")
    # Its import is needed only where something went wrong.
    from testvibe_async.reports.reasons import why  # noqa: PLC0415

    return escape(why(error))


def item_reason(item: Item) -> str:
    """Return why an item has its verdict, in few words."""
    if item.error is not None:
        return reason(item.error)
    from testvibe_async.reports.reasons import reason_of  # noqa: PLC0415 - see above

    return escape(reason_of(item))


def tests_of(run: Run | Diagnosis) -> str:
    """Return how the tests of a run went, such as `1 of 3 tests failed`; empty if unknown."""
    ended = Run(run_id=run.run_id, status=run.status, summary=run.summary)
    if run.summary is None or not run.summary.total or not ended.is_finished:
        return ""
    return item_reason(BatchItem(feature="", outcome=ended))


def is_lost(item: Item) -> bool:
    """Return whether an error other than the time-out ended the wait for an item."""
    return item.error is not None and not isinstance(item.error, WaitTimeoutError)
