"""How a batch dispatches its features: what waits, what is in flight, and what is known of each.

For `batch` and `batches`: a `Scheduler` does all of this, with a `Resumption` where there is a
journal.
"""

from testvibe_async._batch.reconciliation import Resumption
from testvibe_async._batch.scheduler import Scheduler

__all__ = ["Resumption", "Scheduler"]
