"""The workers of a batch, which carry its features from recovery to outcome.

Exported for other packages: `Workers` for the caller's `Batch`; `Entry`, one feature; `Plan`, the
settings common to all features; `Store`, which saves both; `Limits`, those of one process; and
`EntrySource`, which reads the entries.
"""

from testvibe_async._batch.documents import entry_document, read_entry
from testvibe_async._batch.entry import Entry, EntryState, decided, is_refusal
from testvibe_async._batch.plan import Limits, Plan, difference
from testvibe_async._batch.store import EntrySource, Store
from testvibe_async._batch.workers import Workers

__all__ = [
    "Entry",
    "EntrySource",
    "EntryState",
    "Limits",
    "Plan",
    "Store",
    "Workers",
    "decided",
    "difference",
    "entry_document",
    "is_refusal",
    "read_entry",
]
