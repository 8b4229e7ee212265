"""The meaning of a failure for the next attempt, and its time. Pure: no clock and no I/O."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from attrs.validators import ge, instance_of, lt

from testvibe_async.errors import (
    EndpointNotFoundError,
    ForbiddenError,
    LedgerError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    ServerError,
    TransportError,
    UnauthorizedError,
    VibeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TOKENS = 500
FAILED_COST = 14
THROTTLED_COST = 5

MAX_REFUSED_DELAY = 30.0
"""Maximum delay in seconds of a batch's rate-limited dispatch without `Retry-After`."""

MAX_PAUSE = 120.0
"""Maximum pause in seconds, even if `Retry-After` asks for a longer one."""

MAX_BACKOFF_SECONDS = 30.0
"""Maximum seconds between two attempts of a read during an outage."""

MAX_EQUAL_ANSWERS = 3
"""Number of equal, uninformative answers in a row at which a read is abandoned."""

MAX_REFUSALS = 2
"""Number of refusals of the key in a row that is final."""

_seconds: list[Callable[[Any, Any, Any], Any]] = [
    instance_of((int, float)),
    ge(0),
    lt(float("inf")),
]


@frozen(kw_only=True)
class RetryPolicy:
    """The policy by which failed calls are retried.

    Reads are retried after a lost connection, a time-out, a rate limit or a 5xx. All other calls
    are retried only if the service provably did not act: it could not be reached, or it answered
    with a rate limit and `Retry-After`. A rate limit is a 429, or a 403 that says so.

    A batch retries a rate-limited dispatch for up to five minutes. It waits as long as
    `Retry-After` says. Otherwise, the first delay is about a second, and later ones grow to about
    half a minute.

    The retries of reads draw on a budget. During an outage in which nothing succeeds, a client
    makes 35 retries in total; after that, each call is tried once.
    """

    attempts: int = field(default=4, validator=[instance_of(int), ge(1)])
    """Maximum number of attempts of a call in total, 1 or more."""

    base_delay: float = field(default=0.5, validator=_seconds)
    """Upper bound of the first delay in seconds. It doubles each time; a delay is drawn below."""

    max_delay: float = field(default=8.0, validator=_seconds)
    """Maximum delay in seconds, unless the service asks for a longer one."""


def retry_delay(  # noqa: PLR0913 - each by name
    error: TransportError | ResponseError,
    attempt: int,
    *,
    policy: RetryPolicy,
    is_repeatable: bool,
    random: Callable[[], float],
    patience_left: float | None = None,
) -> float | None:
    """Return the seconds to wait before another attempt; None if there must be none.

    Args:
        error: The error of the last attempt.
        attempt: The number of the last attempt, from 1.
        policy: The number of attempts, and their delays.
        is_repeatable: True if the service may receive the request twice without harm.
        random: Draws a number from 0 to 1.
        patience_left: Seconds for which a rate limit is still followed by another attempt, however
            many there were; None for a call, whose attempts are limited.
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
        # A request that its recorder refused must not be sent: another worker may have taken over.
        return not isinstance(error, LedgerError)
    if isinstance(error, RateLimitedError):
        return is_repeatable or error.retry_after is not None
    return is_repeatable and isinstance(error, OutcomeUnknownError | ServerError)


class Outlook(Enum):
    """The result that another attempt of a read may bring, after a failed one."""

    AWAY = auto()
    """An answer, later: the service is down, under maintenance or not reachable."""

    BUSY = auto()
    """An answer, later: the service limits the rate."""

    REFUSED = auto()
    """The service refuses the key, which one more attempt confirms."""

    MISSING = auto()
    """The service does not know the requested resource, or not yet."""

    SAME = auto()
    """Most likely the same result: an answer that can't be read, or is not the service's."""

    FINAL = auto()
    """The same result, for certain: the error did not come from an answer."""


def outlook_after(error: Exception, *, has_answered: bool) -> Outlook:
    """Return the expected result of another attempt of a read.

    Args:
        error: The error of the last attempt, if any.
        has_answered: True if this client has received a good answer from the same route. An answer
            that is not the service's own, such as a page, a redirect or an error without a `code`,
            is then temporary. Without a good answer, the address is most likely not the service's.
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
    """Return the result that another attempt may bring after the service's own refusal."""
    if isinstance(error, UnauthorizedError | ForbiddenError):
        return Outlook.REFUSED
    return Outlook.MISSING if isinstance(error, NotFoundError) else Outlook.SAME


@define(eq=False)
class Failures:
    """The failures of one read in a row, with no answer between them."""

    since: float
    """The event loop's clock at the first of them; until there is one, at the creation."""

    count: int = 0
    """Their number."""

    equal_count: int = 0
    """Number of equal failures at the end of the row."""

    last: VibeError | None = None
    """The last of them."""

    def add(self, error: VibeError, *, now: float) -> None:
        """Add a failure at a time of the event loop's clock."""
        if not self.count:
            self.since = now
        self.equal_count = self.equal_count + 1 if _is_same(error, self.last) else 1
        self.count += 1
        self.last = error

    def are_tolerated(self, outlook: Outlook, *, seconds: float, max_outage: float) -> bool:
        """Return whether to attempt the read again.

        Args:
            outlook: The result that another attempt may bring.
            seconds: Seconds since the first failure.
            max_outage: Maximum number of those seconds.
        """
        if outlook is Outlook.REFUSED:
            return self.equal_count < MAX_REFUSALS
        if outlook is Outlook.SAME:
            return self.equal_count < MAX_EQUAL_ANSWERS and seconds < max_outage
        return outlook in {Outlook.AWAY, Outlook.BUSY} and seconds < max_outage

    def interval_after(self, interval: float) -> float:
        """Return the seconds to the next attempt: an interval, longer after each failure."""
        return min(interval * 2.0 ** min(self.count, 16), max(interval, MAX_BACKOFF_SECONDS))


def _is_same(error: VibeError, other: VibeError | None) -> bool:
    """Return whether two failures are the same, wherever the requests went."""
    if type(error) is not type(other):
        return False
    if isinstance(error, ResponseError) and isinstance(other, ResponseError):
        return (error.status, error.message) == (other.status, other.message)
    return True


class RetryBudget:
    """The budget for retries of reads, so that an outage does not cause more requests.

    The AWS SDKs use the same numbers: 500 tokens, of which a retry takes 14, or 5 after a
    throttling refusal. Its success returns them, and any other success returns one more.
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
    """

    def __init__(self) -> None:
        self.tokens: int = MAX_TOKENS
        """Number of tokens left."""

    def take(self, error: Exception) -> int | None:
        """Consume the tokens that a retry costs, and return them; None if too few are left."""
        cost = THROTTLED_COST if is_throttled(error) else FAILED_COST
        if cost > self.tokens:
            return None
        self.tokens -= cost
        return cost

    def give_back(self, tokens: int) -> None:
        """Return tokens after a success: one, or what its last retry took."""
        self.tokens = min(MAX_TOKENS, self.tokens + tokens)


def is_throttled(error: Exception | None) -> bool:
    """Return whether an error is a throttling refusal: a rate limit, or 503 with `Retry-After`."""
    if isinstance(error, RateLimitedError):
        return True
    return isinstance(error, ServerError) and error.status == 503 and error.retry_after is not None  # noqa: PLR2004


def refused_seconds(error: Exception | None) -> float | None:
    """Return the seconds that a refusal asks for, at most 120; None if it does not say."""
    if not is_throttled(error) or not isinstance(error, ResponseError):
        return None
    return None if error.retry_after is None else min(error.retry_after, MAX_PAUSE)
