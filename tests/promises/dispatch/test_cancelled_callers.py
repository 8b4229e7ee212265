"""Dispatches whose caller was cancelled: none is lost, and none is sent after that."""

import asyncio
from typing import Any

import pytest

from tests.conftest import client_of
from testvibe_async import Client, DispatchUnknownError
from testvibe_async.testing import Emulator, Fault


class TestCancelling:
    async def test_a_cancelled_dispatch_task_is_reported_as_unknown(
        self, emulator: Emulator, client: Client
    ) -> None:
        """Cancelling the task of a POST raises DispatchUnknownError for its caller."""
        emulator.fail("run_feature", Fault.delay(5))
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)
        for task in asyncio.all_tasks():
            if task.get_name() == "testvibe_async dispatch":
                task.cancel()

        with pytest.raises(DispatchUnknownError, match="its task was cancelled"):
            await caller

    async def test_a_caller_cancelled_before_a_retry_sends_nothing_more(
        self, emulator: Emulator, client: Client
    ) -> None:
        """Cancelling the caller of a dispatch that waits for a retry ends the dispatch."""
        emulator.fail("run_feature", Fault.status(429, retry_after=30), times=1)
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(10)
        caller.cancel()
        await asyncio.sleep(60)

        assert emulator.count("run_feature") == 1

    @pytest.mark.parametrize(
        ("fault", "options"),
        [(Fault.status(429, retry_after=3), {}), (Fault.reset(), {"retry_unknown": True})],
        ids=["429", "retry_unknown"],
    )
    async def test_a_cancelled_caller_prevents_a_second_post(
        self, emulator: Emulator, client: Client, fault: Fault, options: dict[str, Any]
    ) -> None:
        """A POST whose caller was cancelled is not repeated, where it otherwise would be."""
        emulator.fail("run_feature", fault, times=1)
        emulator.fail("run_feature", Fault.delay(5), times=1)
        caller = asyncio.ensure_future(client.project().run_feature("Checkout", **options))
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.sleep(60)

        assert emulator.count("run_feature") == 1
        assert emulator.runs == {}

    async def test_a_queued_second_post_is_not_sent(self) -> None:
        """Cancelling a caller before the second POST of retry_unknown starts no second run."""
        async with Emulator(lists=False) as emulator, client_of(emulator, rate_limit=0.1) as client:
            emulator.fail("run_feature", Fault.lost(), times=1)
            caller = asyncio.ensure_future(
                client.project().run_feature("Checkout", retry_unknown=True)
            )
            await asyncio.sleep(15)  # the second POST may begin at 20 s
            caller.cancel()
            await asyncio.sleep(60)

            assert emulator.count("run_feature") == 1
