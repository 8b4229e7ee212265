"""When a call is tried again, how long all traffic pauses, and what retries draw on."""

import asyncio
from typing import Any

import pytest

from tests.conftest import client_of
from testvibe_async import RetryPolicy, errors
from testvibe_async._core.http import retry
from testvibe_async._core.http.retry import Outlook, RetryBudget
from testvibe_async.testing import Emulator, Fault

URL = "https://testvibe.example/api/v1/ops/projects"


def lost(kind: type[errors.TransportError]) -> errors.TransportError:
    """Return a failure on the way."""
    return kind("lost", method="GET", url=URL)


def refused(
    kind: type[errors.ResponseError], status: int, retry_after: float | None = None
) -> errors.ResponseError:
    """Return an answer that is an error of the service."""
    return kind("no", status=status, code="no", method="GET", url=URL, retry_after=retry_after)


def described(error: Exception) -> str:
    """Return what distinguishes an error from others."""
    parts = vars(error)
    source = "" if parts.get("is_from_service", True) else " page"
    return f"{type(error).__name__} {parts.get('status')} {parts.get('retry_after')}{source}"


def delay(
    error: errors.TransportError | errors.ResponseError,
    attempt: int = 1,
    *,
    policy: RetryPolicy | None = None,
    is_repeatable: bool = True,
    random: float = 1.0,
) -> float | None:
    """Return what the policy says."""
    return retry.retry_delay(
        error,
        attempt,
        policy=policy or RetryPolicy(),
        is_repeatable=is_repeatable,
        random=lambda: random,
    )


@pytest.mark.parametrize(
    ("attempt", "random", "seconds"),
    [(1, 0.0, 0.5), (1, 1.0, 1.0), (3, 0.0, 2.0), (3, 1.0, 4.0), (9, 0.0, 15.0), (9, 1.0, 30.0)],
)
def test_the_delay_of_a_patient_dispatch(attempt: int, random: float, seconds: float) -> None:
    """Without `Retry-After`, it grows from a second to half a minute, or half of that."""
    delayed = retry.retry_delay(
        refused(errors.RateLimitedError, 429),
        attempt,
        policy=RetryPolicy(),
        is_repeatable=False,
        random=lambda: random,
        patience_left=60.0,
    )
    assert delayed == seconds


def page(kind: type[errors.ResponseError], status: int) -> errors.ResponseError:
    """Return an error without the service's `code`, such as a proxy's page."""
    return kind("a web page", status=status, method="GET", url=URL)


UNREADABLE = errors.MalformedResponseError(("no status",), status=200, method="GET", url=URL)
UNKNOWN = errors.DispatchUnknownError(
    "lost", method="POST", url=URL, kind="run", project="p", feature=12
)


@pytest.mark.parametrize(
    ("error", "repeated", "before", "after"),
    [
        (lost(errors.NotSentError), "all", Outlook.AWAY, Outlook.AWAY),
        (lost(errors.OutcomeUnknownError), "reads", Outlook.AWAY, Outlook.AWAY),
        (UNKNOWN, "reads", Outlook.AWAY, Outlook.AWAY),
        (refused(errors.ServerError, 500), "reads", Outlook.AWAY, Outlook.AWAY),
        (refused(errors.ServerError, 500, 5.0), "reads", Outlook.AWAY, Outlook.AWAY),
        (refused(errors.ServerError, 502, 5.0), "reads", Outlook.AWAY, Outlook.AWAY),
        (refused(errors.ServerError, 503), "reads", Outlook.AWAY, Outlook.AWAY),
        (page(errors.ServerError, 503), "reads", Outlook.AWAY, Outlook.AWAY),
        (refused(errors.ServerError, 503, 5.0), "reads", Outlook.BUSY, Outlook.BUSY),
        (refused(errors.RateLimitedError, 429), "reads", Outlook.BUSY, Outlook.BUSY),
        (refused(errors.RateLimitedError, 429, 2.0), "all", Outlook.BUSY, Outlook.BUSY),
        (refused(errors.RateLimitedError, 429, 0.0), "all", Outlook.BUSY, Outlook.BUSY),
        (refused(errors.RateLimitedError, 403, 5.0), "all", Outlook.BUSY, Outlook.BUSY),
        (page(errors.ResponseError, 302), "none", Outlook.SAME, Outlook.AWAY),
        (page(errors.InvalidRequestError, 400), "none", Outlook.SAME, Outlook.AWAY),
        (page(errors.UnauthorizedError, 401), "none", Outlook.SAME, Outlook.AWAY),
        (page(errors.ForbiddenError, 403), "none", Outlook.SAME, Outlook.AWAY),
        (page(errors.NotFoundError, 404), "none", Outlook.SAME, Outlook.AWAY),
        (page(errors.ResponseError, 410), "none", Outlook.SAME, Outlook.AWAY),
        (UNREADABLE, "none", Outlook.SAME, Outlook.AWAY),
        (refused(errors.ResponseError, 302, 5.0), "none", Outlook.SAME, Outlook.SAME),
        (refused(errors.ResponseError, 408, 2.0), "none", Outlook.SAME, Outlook.SAME),
        (refused(errors.InvalidRequestError, 400), "none", Outlook.SAME, Outlook.SAME),
        (refused(errors.ConflictError, 409, 2.0), "none", Outlook.SAME, Outlook.SAME),
        (refused(errors.UnauthorizedError, 401), "none", Outlook.REFUSED, Outlook.REFUSED),
        (refused(errors.ForbiddenError, 403, 5.0), "none", Outlook.REFUSED, Outlook.REFUSED),
        (refused(errors.NotFoundError, 404), "none", Outlook.MISSING, Outlook.MISSING),
        (errors.ConfigError("the session is closed"), "none", Outlook.FINAL, Outlook.FINAL),
    ],
    ids=lambda value: described(value) if isinstance(value, Exception) else str(value),
)
def test_what_a_try_may_bring(error: Any, repeated: str, before: Outlook, after: Outlook) -> None:
    """Reads are repeated after a passing fault; all else only where the service did not act.

    Only a 429, or a 403 that means it, and a 503 with Retry-After are refusals of the rate. What is
    not the service's own is an outage once its route has answered well.
    """
    assert (delay(error, is_repeatable=True) is not None) == (repeated in {"all", "reads"})
    assert (delay(error, is_repeatable=False) is not None) == (repeated == "all")
    assert retry.is_throttled(error) == (before is Outlook.BUSY)
    assert retry.refused_seconds(error) == (error.retry_after if before is Outlook.BUSY else None)
    assert retry.outlook_after(error, has_answered=False) is before
    assert retry.outlook_after(error, has_answered=True) is after


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "waited"), [(3, 3.0), (120, 120.0), (1e9, 120.0), (0, 0.05)])
def test_what_the_service_asks_for_is_waited(status: int, asked: float, waited: float) -> None:
    """A Retry-After of a 429 or 503 is waited for, up to two minutes; of 0, the drawn delay is."""
    error = refused(errors.RateLimitedError if status == 429 else errors.ServerError, status, asked)
    assert delay(error, random=0.1) == waited
    assert retry.refused_seconds(error) == min(asked, 120.0)


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


FAILED = errors.ServerError("?", status=500, method="GET", url="u")
THROTTLED = errors.RateLimitedError("?", status=429, method="GET", url="u")


@pytest.mark.parametrize(("error", "retries"), [(FAILED, 500 // 14), (THROTTLED, 500 // 5)])
def test_it_is_used_up(error: errors.VibeError, retries: int) -> None:
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


async def test_a_dispatch_draws_on_none(emulator: Emulator) -> None:
    """A dispatch that was refused for its rate is retried however many reads have failed."""
    async with client_of(emulator) as client:
        emulator.fail("list_projects", Fault.status(500), times=200)
        calls = [client.list_projects() for _ in range(100)]
        await asyncio.gather(*calls, return_exceptions=True)
        emulator.fail("run_feature", Fault.status(429, retry_after=1), times=2)
        await client.project().run_feature("Checkout")
    assert emulator.count("run_feature") == 3
