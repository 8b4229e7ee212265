"""When each operation is polled, and who is told of what was seen."""

from testvibe_async._polling.plan import PollPlan, checked_plan, standard_poll_plan
from testvibe_async._polling.poller import Poller
from testvibe_async._polling.state import State
from testvibe_async._polling.waits import (
    Changes,
    CompletionListener,
    Completions,
    Mailbox,
    until_finished,
)

__all__ = [
    "Changes",
    "CompletionListener",
    "Completions",
    "Mailbox",
    "PollPlan",
    "Poller",
    "State",
    "checked_plan",
    "standard_poll_plan",
    "until_finished",
]
