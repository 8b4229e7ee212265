"""Batches on many machines, carried by Temporal (`testvibe-async[temporal]`).

Exported: `worker`, which carries batches; `TemporalBatch`, which starts one and reads it.
"""

from testvibe_async.temporal.batches import TemporalBatch
from testvibe_async.temporal.workers import TASK_QUEUE, worker

__all__ = ["TASK_QUEUE", "TemporalBatch", "worker"]
