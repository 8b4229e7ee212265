"""The workers of a batch, which carry its features from the ledger's rows to their outcomes.

Exported for other packages: `Workers` for the caller's `Batch`; `Plan`, the settings common to all
features, and `Limits`, those of one process; `JobSource`, which makes jobs of `Features`, and
`select_features`; `StoredBatch`, a batch as a ledger file has it.
"""

from testvibe_async._core.batch.entry import Entry, is_futile, is_refusal
from testvibe_async._core.batch.jobs import Features, Job, JobSource, select_features
from testvibe_async._core.batch.plan import Limits, Plan
from testvibe_async._core.batch.source import EntrySource
from testvibe_async._core.batch.stored import StoredBatch, item_from_dict, items_of_rows
from testvibe_async._core.batch.workers import Workers

__all__ = [
    "Entry",
    "EntrySource",
    "Features",
    "Job",
    "JobSource",
    "Limits",
    "Plan",
    "StoredBatch",
    "Workers",
    "is_futile",
    "is_refusal",
    "item_from_dict",
    "items_of_rows",
    "select_features",
]
