"""When a request goes out, over the one session of a client."""

from testvibe_async._http.retry import RetryPolicy, retry_delay
from testvibe_async._http.transport import Delivery, Transport

__all__ = ["Delivery", "RetryPolicy", "Transport", "retry_delay"]
