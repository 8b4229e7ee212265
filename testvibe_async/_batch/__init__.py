"""The parts of a batch: its features that wait, what a crash left open, and what is known of each.

For `batch` alone: a `JobQueue` gives what is to be dispatched next, a `Reconciliation` finds out
what became of the dispatches that a crash left open, and `Records` makes the items.
"""

from testvibe_async._batch.job_queue import JobQueue
from testvibe_async._batch.reconciliation import Reconciliation, Resumption
from testvibe_async._batch.records import Records

__all__ = ["JobQueue", "Reconciliation", "Records", "Resumption"]
