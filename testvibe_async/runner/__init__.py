"""What "run these features" means, for every surface.

The door of this room; it knows no terminal, no protocol and no test framework. What is decided
where:

- `generation_limit`: how many generations may be dispatched, enforced where each is sent
"""

from testvibe_async.runner.generation_limit import (
    LIMITED,
    GenerationLimit,
    GenerationLimitError,
    with_limit_named,
)

__all__ = ["LIMITED", "GenerationLimit", "GenerationLimitError", "with_limit_named"]
