"""HTTP: when a request is sent, over the one session of a client.

Exported for other packages: `Transport`, the retry policy, and `Sending`, which receives its
reports on a dispatch; `HttpSession` below it, for requests that are sent once, immediately, and
return a response whatever the status; `Availability`, which knows whether the service answers;
`Failures`, those of a read in a row; `Moment`, an instant whose age is known even if the machine
sleeps; and `failure_of`, for sessions with other hosts.
"""

from testvibe_async._core.http.availability import Availability
from testvibe_async._core.http.clock import Moment
from testvibe_async._core.http.failures import failure_of
from testvibe_async._core.http.patience import call_through_outage
from testvibe_async._core.http.request_body import Sending
from testvibe_async._core.http.retry import (
    Failures,
    Outlook,
    RetryPolicy,
    is_throttled,
    outlook_after,
    refused_seconds,
    retry_delay,
)
from testvibe_async._core.http.session import HttpSession
from testvibe_async._core.http.transport import Transport, running_loop

__all__ = [
    "Availability",
    "Failures",
    "HttpSession",
    "Moment",
    "Outlook",
    "RetryPolicy",
    "Sending",
    "Transport",
    "call_through_outage",
    "failure_of",
    "is_throttled",
    "outlook_after",
    "refused_seconds",
    "retry_delay",
    "running_loop",
]
