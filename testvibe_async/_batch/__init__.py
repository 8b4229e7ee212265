"""The workers of a batch, which carry its features from their recovery to their end.

For other packages: `Workers` do it for the caller's `Batch`; an `Entry` is one feature, a `Plan`
what all are for, and a `Store` keeps both; `EntrySource` reads the entries of a batch.
"""

from testvibe_async._batch.entry import Entry, EntryState, check_named, is_refusal
from testvibe_async._batch.plan import Plan, difference
from testvibe_async._batch.recovery import named_operation
from testvibe_async._batch.store import EntrySource, Store
from testvibe_async._batch.stored import entry_document, read_entry
from testvibe_async._batch.workers import Workers

__all__ = [
    "Entry",
    "EntrySource",
    "EntryState",
    "Plan",
    "Store",
    "Workers",
    "check_named",
    "difference",
    "entry_document",
    "is_refusal",
    "named_operation",
    "read_entry",
]
