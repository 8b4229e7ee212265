"""When a call is tried again, how long all traffic pauses, and what retries draw on."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import client_of
from testvibe_async import Client, RetryPolicy, VibeError
from testvibe_async._http.retry import (
    Outlook,
    RetryBudget,
    is_throttled,
    outlook_after,
    refused_seconds,
    retry_delay,
)
from testvibe_async.errors import (
    ConfigError,
    ConflictError,
    DispatchUnknownError,
    ForbiddenError,
    InvalidRequestError,
    MalformedResponseError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    ServerError,
    TransportError,
    UnauthorizedError,
)
from testvibe_async.testing import Emulator, Fault

URL = "https://testvibe.example/api/v1/ops/projects"


def lost(kind: type[TransportError]) -> TransportError:
    """Return a failure on the way."""
    return kind("lost", method="GET", url=URL)


def refused(
    kind: type[ResponseError], status: int, retry_after: float | None = None
) -> ResponseError:
    """Return an answer that is an error of the service."""
    return kind("no", status=status, code="no", method="GET", url=URL, retry_after=retry_after)


def described(error: Exception) -> str:
    """Return what distinguishes an error from others."""
    parts = vars(error)
    source = "" if parts.get("is_from_service", True) else " page"
    return f"{type(error).__name__} {parts.get('status')} {parts.get('retry_after')}{source}"


def delay(
    error: TransportError | ResponseError,
    attempt: int = 1,
    *,
    policy: RetryPolicy | None = None,
    is_repeatable: bool = True,
    random: float = 1.0,
) -> float | None:
    """Return what the policy says."""
    return retry_delay(
        error,
        attempt,
        policy=policy or RetryPolicy(),
        is_repeatable=is_repeatable,
        random=lambda: random,
    )


@pytest.mark.parametrize(
    ("error", "read", "other"),
    [
        (lost(NotSentError), True, True),
        (lost(OutcomeUnknownError), True, False),
        (refused(ServerError, 500), True, False),
        (refused(ServerError, 502), True, False),
        (refused(ServerError, 503), True, False),
        (refused(ServerError, 503, 2.0), True, False),
        (refused(RateLimitedError, 429), True, False),
        (refused(RateLimitedError, 429, 2.0), True, True),
        (refused(RateLimitedError, 429, 0.0), True, True),
        (refused(InvalidRequestError, 400), False, False),
        (refused(UnauthorizedError, 401), False, False),
        (refused(ForbiddenError, 403), False, False),
        (refused(NotFoundError, 404), False, False),
        (refused(ConflictError, 409), False, False),
        (refused(ConflictError, 409, 2.0), False, False),
        (refused(ResponseError, 302), False, False),
        (refused(ResponseError, 408, 2.0), False, False),
        (MalformedResponseError(("x",), status=200, method="GET", url=URL), False, False),
        (MalformedResponseError(("x",), status=0, method="GET", url=URL), False, False),
        (
            DispatchUnknownError("lost", method="POST", url=URL, project="p", feature=12),
            True,
            False,
        ),
    ],
    ids=lambda value: described(value) if isinstance(value, Exception) else str(value),
)
def test_what_is_retried(error: TransportError | ResponseError, *, read: bool, other: bool) -> None:
    """Reads are repeated after a passing fault; all else only where the service did not act."""
    assert (delay(error, is_repeatable=True) is not None) == read
    assert (delay(error, is_repeatable=False) is not None) == other


@pytest.mark.parametrize("attempts", [1, 2, 4, 9])
def test_attempts_are_counted_in_all(attempts: int) -> None:
    """A policy of n attempts allows n - 1 repetitions, also where the service asks for one."""
    policy = RetryPolicy(attempts=attempts)
    for error in (lost(NotSentError), refused(RateLimitedError, 429, 1.0)):
        delays = [delay(error, attempt, policy=policy) for attempt in range(1, attempts + 2)]
        assert [wait is not None for wait in delays] == [True] * (attempts - 1) + [False] * 2


def test_delays_are_drawn_below_the_longest() -> None:
    """The longest is the base, twice that, and so on up to the policy's; a delay is its share."""
    policy = RetryPolicy(attempts=8)
    delays = [delay(lost(NotSentError), attempt, policy=policy) for attempt in range(1, 8)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert [delay(lost(NotSentError), 2, random=share) for share in (0.25, 0.0)] == [0.25, 0.0]


@pytest.mark.parametrize(("asked", "waited"), [(3.0, 3.0), (120.0, 120.0), (1e9, 120.0)])
@pytest.mark.parametrize("status", [429, 503])
def test_what_the_service_asks_for_is_waited(status: int, asked: float, waited: float) -> None:
    """A Retry-After of a 429 or 503 is waited for, up to two minutes."""
    error = refused(RateLimitedError if status == 429 else ServerError, status, asked)
    assert delay(error, random=0.1) == waited
    assert is_throttled(error)
    assert refused_seconds(error) == waited


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (refused(RateLimitedError, 403, 5.0), 5.0),  # a 403 that means a 429
        (refused(RateLimitedError, 429, 0.0), 0.0),
        (refused(RateLimitedError, 429), None),  # It may not say when.
    ],
)
def test_a_refused_rate_may_ask_for_any_wait(error: ResponseError, seconds: float | None) -> None:
    """It is one whatever it asks for; with a Retry-After of 0 the drawn delay is waited."""
    assert is_throttled(error)
    assert refused_seconds(error) == seconds
    assert delay(error, random=0.1) == (seconds or 0.05)


@pytest.mark.parametrize(
    "error",
    [
        refused(ServerError, 503),
        refused(ServerError, 500, 5.0),
        refused(ServerError, 502, 5.0),
        refused(ConflictError, 409, 5.0),
        refused(ResponseError, 302, 5.0),
        refused(ForbiddenError, 403, 5.0),
        lost(NotSentError),
        ValueError("x"),
    ],
    ids=described,
)
def test_other_errors_are_no_refusals_of_the_rate(error: Exception) -> None:
    """Only a 429, and a 503 with Retry-After, say that there are too many requests."""
    assert not is_throttled(error)
    assert refused_seconds(error) is None


def page(kind: type[ResponseError], status: int) -> ResponseError:
    """Return an error without the service's `code`, such as a proxy's page."""
    return kind("a web page", status=status, method="GET", url=URL)


@pytest.mark.parametrize(
    ("error", "before", "after"),
    [
        (lost(NotSentError), Outlook.AWAY, Outlook.AWAY),
        (lost(OutcomeUnknownError), Outlook.AWAY, Outlook.AWAY),
        (refused(ServerError, 500), Outlook.AWAY, Outlook.AWAY),
        (page(ServerError, 503), Outlook.AWAY, Outlook.AWAY),
        (refused(ServerError, 503, 5.0), Outlook.BUSY, Outlook.BUSY),
        (refused(RateLimitedError, 429), Outlook.BUSY, Outlook.BUSY),
        (page(ResponseError, 302), Outlook.SAME, Outlook.AWAY),
        (page(InvalidRequestError, 400), Outlook.SAME, Outlook.AWAY),
        (page(UnauthorizedError, 401), Outlook.SAME, Outlook.AWAY),
        (page(ForbiddenError, 403), Outlook.SAME, Outlook.AWAY),
        (page(NotFoundError, 404), Outlook.SAME, Outlook.AWAY),
        (page(ResponseError, 410), Outlook.SAME, Outlook.AWAY),
        (
            MalformedResponseError(("no status",), status=200, method="GET", url=URL),
            Outlook.SAME,
            Outlook.AWAY,
        ),
        (refused(InvalidRequestError, 400), Outlook.SAME, Outlook.SAME),
        (refused(UnauthorizedError, 401), Outlook.REFUSED, Outlook.REFUSED),
        (refused(ForbiddenError, 403), Outlook.REFUSED, Outlook.REFUSED),
        (refused(NotFoundError, 404), Outlook.MISSING, Outlook.MISSING),
        (ConfigError("the session is closed"), Outlook.FINAL, Outlook.FINAL),
    ],
    ids=described,
)
def test_what_another_try_may_bring(error: Exception, before: Outlook, after: Outlook) -> None:
    """What is not the service's own is an outage once its route has answered well."""
    assert outlook_after(error, has_answered=False) is before
    assert outlook_after(error, has_answered=True) is after


@given(
    attempt=st.integers(1, 10**7),
    base=st.floats(0, 1e6),
    longest=st.floats(0, 1e6),
    random=st.floats(0, 1),
)
def test_delays_are_within_the_policy(
    attempt: int, base: float, longest: float, random: float
) -> None:
    """However many attempts are allowed, no delay is negative, or longer than the policy says."""
    policy = RetryPolicy(attempts=10**8, base_delay=base, max_delay=longest)
    wait = delay(lost(NotSentError), attempt, policy=policy, random=random)
    assert wait is not None
    assert 0 <= wait <= longest
    if attempt == 1:
        assert wait <= base


def test_the_default_policy_is_the_documented_one() -> None:
    """A call is tried four times in all, by default."""
    assert RetryPolicy() == RetryPolicy(attempts=4, base_delay=0.5, max_delay=8.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("attempts", value) for value in (0, -1, 1.5, None)),
        *(("base_delay", value) for value in (-0.1, float("nan"), float("inf"), "1")),
        *(("max_delay", value) for value in (-1, float("nan"), float("inf"))),
    ],
)
def test_a_policy_that_is_none_is_refused(name: str, value: Any) -> None:
    """A policy without an attempt, or with delays that are no seconds, can't be made."""
    with pytest.raises((ValueError, TypeError), match=name):
        RetryPolicy(**{name: value})


FAILED = ServerError("?", status=500, method="GET", url="u")
THROTTLED = RateLimitedError("?", status=429, method="GET", url="u")


@pytest.mark.parametrize(("error", "retries"), [(FAILED, 500 // 14), (THROTTLED, 500 // 5)])
def test_it_is_used_up(error: VibeError, retries: int) -> None:
    """500 tokens pay for 35 retries after a failure, or 100 after a refusal of the rate."""
    budget = RetryBudget()
    taken = [budget.take(error) for _ in range(retries + 1)]
    assert None not in taken[:-1]
    assert taken[-1] is None


def test_a_success_gives_back_what_it_cost() -> None:
    """A retry that succeeds costs nothing, and any other success fills the budget by one."""
    budget = RetryBudget()
    while budget.take(FAILED) is not None:
        """It is used up."""
    budget.give_back(14)
    assert budget.take(FAILED) == 14
    assert budget.take(FAILED) is None
    for _ in range(14 - 500 % 14):
        budget.give_back(1)
    assert budget.take(FAILED) == 14


async def test_reads_of_a_service_that_is_out(emulator: Emulator, client: Client) -> None:
    """Many calls during an outage are soon not retried; after it they are again."""
    emulator.fail("list_projects", Fault.status(500), times=200)
    calls = [client.list_projects() for _ in range(200 - 35)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, ServerError) for result in results)
    assert emulator.count("list_projects") == 200
    for _ in range(20):
        await client.list_projects()
    emulator.fail("list_projects", Fault.status(500), times=1)
    await client.list_projects()


async def test_a_dispatch_draws_on_none(emulator: Emulator) -> None:
    """A dispatch that was refused for its rate is retried however many reads have failed."""
    async with client_of(emulator) as client:
        emulator.fail("list_projects", Fault.status(500), times=200)
        calls = [client.list_projects() for _ in range(100)]
        await asyncio.gather(*calls, return_exceptions=True)
        emulator.fail("run_feature", Fault.status(429, retry_after=1), times=2)
        await client.project().run_feature("Checkout")
    assert emulator.count("run_feature") == 3
