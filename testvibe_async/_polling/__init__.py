"""When each operation is polled, and who is notified of what was seen.

For other packages: `Poller` and what it keeps of an operation, the run ids that were seen, what a
wait listens with, and poll plans.
"""

from testvibe_async._polling.plan import PollPlan, checked_plan, standard_poll_plan
from testvibe_async._polling.polled import PolledOperation, own_copy
from testvibe_async._polling.poller import Poller
from testvibe_async._polling.run_ids import RunIds
from testvibe_async._polling.state import Change
from testvibe_async._polling.subscription import Iteration, Mailbox, Subscription

__all__ = [
    "Change",
    "Iteration",
    "Mailbox",
    "PollPlan",
    "PolledOperation",
    "Poller",
    "RunIds",
    "Subscription",
    "checked_plan",
    "own_copy",
    "standard_poll_plan",
]
