"""The contents of journals: how far each feature of a batch has come, and how that is kept.

For other packages: `Plan`, the states and what can be read back of them are a durable batch's too;
`Rows`, `PlannedJobs` and `RowRecorder` are what a `Journal` and its batch share; `files_of` and
`is_in_use` are for those that keep many journals.
"""

from testvibe_async._journal.files import files_of, is_in_use
from testvibe_async._journal.plan import Plan, difference
from testvibe_async._journal.planned_jobs import PlannedJobs
from testvibe_async._journal.rows import RowRecorder, Rows
from testvibe_async._journal.stored import (
    ItemState,
    Restored,
    is_refusal,
    item_of,
    restored,
)
from testvibe_async._journal.tables import Contents, problem, read_contents

__all__ = [
    "Contents",
    "ItemState",
    "Plan",
    "PlannedJobs",
    "Restored",
    "RowRecorder",
    "Rows",
    "difference",
    "files_of",
    "is_in_use",
    "is_refusal",
    "item_of",
    "problem",
    "read_contents",
    "restored",
]
