"""What "run these features" means, for every surface.

The door of this room; it knows no terminal, no protocol and no test framework. What is decided
where:

- `batches`: the batches of a folder, each with a number, and which of them a command means
- `generation_limit`: how many generations may be dispatched, enforced where each is sent
"""

from testvibe_async.runner.batches import (
    Batch,
    Batches,
    BatchRecord,
    Place,
    require_batch,
    require_existing,
)
from testvibe_async.runner.generation_limit import (
    LIMITED,
    GenerationLimit,
    GenerationLimitError,
    with_limit_named,
)

__all__ = [
    "LIMITED",
    "Batch",
    "BatchRecord",
    "Batches",
    "GenerationLimit",
    "GenerationLimitError",
    "Place",
    "require_batch",
    "require_existing",
    "with_limit_named",
]
