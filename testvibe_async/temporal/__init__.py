"""Batches on many machines, carried by Temporal (`testvibe-async[temporal]`).

Exported: `worker`, which carries batches; `TemporalBatch`, which starts one and reads it; and, for
the connection to the engine, `connect`, `failure_of` and `UNREACHABLE`.
"""

from testvibe_async.temporal.batches import UNREACHABLE, TemporalBatch, connect, failure_of
from testvibe_async.temporal.workers import TASK_QUEUE, worker

__all__ = ["TASK_QUEUE", "UNREACHABLE", "TemporalBatch", "connect", "failure_of", "worker"]
