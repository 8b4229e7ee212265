"""Batches on many machines, carried by Temporal (`testvibe-async[temporal]`).

Exported: `worker`, which carries batches; `TemporalBatch`, which starts one and reads it; `connect`
and `failure_of`, for the connection to the engine.
"""

from testvibe_async.temporal.batches import TemporalBatch, connect, failure_of
from testvibe_async.temporal.workers import TASK_QUEUE, worker

__all__ = ["TASK_QUEUE", "TemporalBatch", "connect", "failure_of", "worker"]
