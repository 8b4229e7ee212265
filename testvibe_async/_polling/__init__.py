"""When each operation is polled, and who is notified of what was seen.

For other packages: `Poller` and what it keeps of an operation, the run ids that were seen, the ways
to wait, and poll plans.
"""

from testvibe_async._polling.plan import PollPlan, checked_plan, standard_poll_plan
from testvibe_async._polling.polled import PolledOperation, own_copy
from testvibe_async._polling.poller import Poller
from testvibe_async._polling.run_ids import RunIds
from testvibe_async._polling.waits import (
    CompletionListener,
    Completions,
    Mailbox,
    ManyTransitions,
    Transitions,
    wait_until_finished,
)

__all__ = [
    "CompletionListener",
    "Completions",
    "Mailbox",
    "ManyTransitions",
    "PollPlan",
    "PolledOperation",
    "Poller",
    "RunIds",
    "Transitions",
    "checked_plan",
    "own_copy",
    "standard_poll_plan",
    "wait_until_finished",
]
