"""Polling: when each operation is polled, and which listeners are notified.

Exported for other packages: `Poller` and its record of an operation, the observed run ids, the
waits and subscriptions that listen to operations, and poll plans.
"""

from testvibe_async._core.polling.end_wait import EndWait
from testvibe_async._core.polling.polled import Change, PolledOperation, own_copy
from testvibe_async._core.polling.poller import Poller
from testvibe_async._core.polling.schedule import PollPlan, checked_plan, standard_poll_plan
from testvibe_async._core.polling.subscription import Iteration, Mailbox, Subscription

__all__ = [
    "Change",
    "EndWait",
    "Iteration",
    "Mailbox",
    "PollPlan",
    "PolledOperation",
    "Poller",
    "Subscription",
    "checked_plan",
    "own_copy",
    "standard_poll_plan",
]
