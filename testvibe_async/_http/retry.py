"""What a failure means for the next try, and when that is. Pure: no clock and no I/O."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from attrs.validators import ge, instance_of, lt

from testvibe_async.errors import (
    EndpointNotFoundError,
    ForbiddenError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    RecorderError,
    ResponseError,
    ServerError,
    TransportError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Outlook",
    "RetryBudget",
    "RetryPolicy",
    "is_same_failure",
    "is_throttled",
    "is_tolerated",
    "outage_interval",
    "outlook_after",
    "refused_seconds",
    "retry_delay",
]

MAX_TOKENS = 500
FAILED_COST = 14
THROTTLED_COST = 5

MAX_REFUSED_DELAY = 30.0
"""The longest delay in seconds of a batch's dispatch that was refused without `Retry-After`."""

MAX_PAUSE = 120.0
"""The longest pause in seconds, even if `Retry-After` asks for a longer one."""

MAX_BACKOFF_SECONDS = 30.0
"""The longest interval between two tries of a read during an outage."""

MAX_EQUAL_ANSWERS = 3
"""How often the same answer that says nothing is accepted."""

MAX_REFUSALS = 2
"""How often in a row the service refuses the key until that is final."""

_seconds: list[Callable[[Any, Any, Any], Any]] = [
    instance_of((int, float)),
    ge(0),
    lt(float("inf")),
]


@frozen(kw_only=True)
class RetryPolicy:
    """How calls that failed on the way are retried.

    Reads are retried after a lost connection, a time-out, a rate limit or a 5xx. All other calls
    only where the service provably did not act: it could not be reached, or it answered with a rate
    limit and `Retry-After`. A rate limit is a 429, or a 403 that says so. A batch repeats, for up
    to five minutes, a dispatch that is refused for the rate: when `Retry-After` says, or else at
    first after about a second and at last after about half a minute. The retries of reads draw
    on a budget: while a service is out, and nothing succeeds, 35 of all calls of a client are
    retried, and then each is tried once.
    """

    attempts: int = field(default=4, validator=[instance_of(int), ge(1)])
    """How often a call is tried in total, 1 or more."""

    base_delay: float = field(default=0.5, validator=_seconds)
    """The longest first delay in seconds. It doubles each time; each is drawn at random below."""

    max_delay: float = field(default=8.0, validator=_seconds)
    """The longest delay in seconds, except where the service asks for a longer one."""


def retry_delay(  # noqa: PLR0913 - each by name
    error: TransportError | ResponseError,
    attempt: int,
    *,
    policy: RetryPolicy,
    is_repeatable: bool,
    random: Callable[[], float],
    patience_left: float | None = None,
) -> float | None:
    """Return the seconds to wait before another attempt, or None where it must not be made.

    Args:
        error: What came of the last attempt.
        attempt: Its number, from 1.
        policy: How often, and how fast.
        is_repeatable: Whether the service may see the request twice without harm.
        random: Draws a number from 0 to 1.
        patience_left: Seconds for which a refusal for the rate is still answered by another
            attempt, however many there were; None for a call, whose attempts count.
    """
    if isinstance(error, RateLimitedError) and patience_left is not None and patience_left >= 0:
        longest = min(MAX_REFUSED_DELAY, 2.0 ** min(attempt - 1, 16))
        # A `Retry-After` of 0, or of an instant that has passed, says as little as none.
        return refused_seconds(error) or longest * (1 + random()) / 2
    if attempt >= policy.attempts or not _may_retry(error, is_repeatable=is_repeatable):
        return None
    longest = min(policy.max_delay, policy.base_delay * 2.0 ** min(attempt - 1, 64))
    return max(longest * random(), refused_seconds(error) or 0.0)


def _may_retry(error: TransportError | ResponseError, *, is_repeatable: bool) -> bool:
    if isinstance(error, NotSentError):
        # What its recorder refuses once must not be sent: another may have taken the work over.
        return not isinstance(error, RecorderError)
    if isinstance(error, RateLimitedError):
        return is_repeatable or error.retry_after is not None
    return is_repeatable and isinstance(error, OutcomeUnknownError | ServerError)


class Outlook(Enum):
    """What another try of a read may bring, after one that failed."""

    AWAY = auto()
    """An answer, later: the service is down, under maintenance or not reachable."""

    BUSY = auto()
    """An answer, later: the service limits the rate."""

    REFUSED = auto()
    """The service refuses the key, which one more try confirms."""

    MISSING = auto()
    """The service does not know what was asked for, or not yet."""

    SAME = auto()
    """Most likely the same again: an answer that can't be read, or is not the service's."""

    FINAL = auto()
    """The same again, for certain: no answer is the reason."""


def outlook_after(error: Exception, *, has_answered: bool) -> Outlook:
    """Return what another try of a read may bring.

    Args:
        error: The error of the last one, if any.
        has_answered: Whether this client has had a good answer from the same route. Then what is
            not the service's own, such as a page, a redirect or an error without its `code`, stands
            in its place for a while; else the address is most likely not the service's.
    """
    if is_throttled(error):
        return Outlook.BUSY
    if isinstance(error, TransportError | ServerError):
        return Outlook.AWAY
    if not isinstance(error, ResponseError):
        return Outlook.FINAL
    if error.is_from_service:
        return _refusal(error)
    if has_answered:
        return Outlook.AWAY
    return Outlook.MISSING if isinstance(error, EndpointNotFoundError) else Outlook.SAME


def _refusal(error: ResponseError) -> Outlook:
    """Return what another try may bring after the service's own refusal."""
    if isinstance(error, UnauthorizedError | ForbiddenError):
        return Outlook.REFUSED
    return Outlook.MISSING if isinstance(error, NotFoundError) else Outlook.SAME


def is_tolerated(
    outlook: Outlook, *, equal_failures: int, seconds: float, max_outage: float
) -> bool:
    """Say whether to try a read again.

    Args:
        outlook: What that may bring.
        equal_failures: How many of the last failures were the same.
        seconds: Time since the first of nothing but failures.
        max_outage: How long that may last, in seconds.
    """
    if outlook is Outlook.REFUSED:
        return equal_failures < MAX_REFUSALS
    if outlook is Outlook.SAME:
        return equal_failures < MAX_EQUAL_ANSWERS and seconds < max_outage
    return outlook in {Outlook.AWAY, Outlook.BUSY} and seconds < max_outage


def is_same_failure(error: Exception, other: Exception | None) -> bool:
    """Say whether two failures are the same, wherever the requests went."""
    if type(error) is not type(other):
        return False
    if isinstance(error, ResponseError) and isinstance(other, ResponseError):
        return (error.status, error.message) == (other.status, other.message)
    return True


def outage_interval(interval: float, failures: int) -> float:
    """Return the seconds to the next try after a number of failures in a row."""
    return min(interval * 2.0 ** min(failures, 16), max(interval, MAX_BACKOFF_SECONDS))


class RetryBudget:
    """What the retries of reads may cost, so that an outage is not met with more requests.

    The numbers are those of the AWS SDKs: 500 tokens, of which a retry takes 14, or 5 after a
    refusal that asks for patience. Its success gives them back, and any other success one more.
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
    """

    def __init__(self) -> None:
        self.tokens: int = MAX_TOKENS
        """How much of it is left."""

    def take(self, error: Exception) -> int | None:
        """Take what a retry costs, and return it; None where there is not enough."""
        cost = THROTTLED_COST if is_throttled(error) else FAILED_COST
        if cost > self.tokens:
            return None
        self.tokens -= cost
        return cost

    def give_back(self, cost: int) -> None:
        """Note a success; `cost` is what its last retry took, 0 where there was none."""
        self.tokens = min(MAX_TOKENS, self.tokens + max(cost, 1))


def is_throttled(error: Exception | None) -> bool:
    """Say whether an error is a refusal for too many requests: 429, or 503 that says when."""
    if isinstance(error, RateLimitedError):
        return True
    return isinstance(error, ServerError) and error.status == 503 and error.retry_after is not None  # noqa: PLR2004


def refused_seconds(error: Exception | None) -> float | None:
    """Return for how many seconds a refusal asks, at most 120; None where it does not say."""
    if not is_throttled(error) or not isinstance(error, ResponseError):
        return None
    return None if error.retry_after is None else min(error.retry_after, MAX_PAUSE)
