"""The budget that the retries of reads draw on."""

import asyncio

import pytest

from tests.conftest import client_of
from testvibe_async import Client, RateLimitedError, ServerError, VibeError
from testvibe_async._http.retry import RetryBudget
from testvibe_async.testing import Emulator, Fault

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
        budget.give_back(0)
    assert budget.take(FAILED) == 14


def test_it_is_never_more_than_full() -> None:
    """Successes without a failure save up nothing."""
    budget = RetryBudget()
    for _ in range(1000):
        budget.give_back(0)
    assert sum(budget.take(FAILED) is not None for _ in range(100)) == 35


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
