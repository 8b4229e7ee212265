"""Dispatches whose caller was cancelled: none is lost, and none is sent after that."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.conftest import client_of
from tests.dispatch.lost_answers import ANSWER_LOST
from tests.timing import now
from testvibe_async import (
    Client,
    Dispatched,
    DispatchUnknownError,
    Hooks,
    Ref,
)
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

    async def test_a_shutdown_that_cancels_all_tasks_leaves_a_trace(
        self, emulator: Emulator, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Cancelling caller and POST together logs what may have been dispatched."""
        emulator.fail("run_feature", Fault.delay(5))
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)
        posts = [t for t in asyncio.all_tasks() if t.get_name() == "testvibe_async dispatch"]
        tasks = [caller, *posts]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

        assert len(tasks) == 2
        assert "may have taken effect" in caplog.text

    async def test_a_cancelled_caller_does_not_lose_the_id(self, emulator: Emulator) -> None:
        """The POST goes on when its caller is cancelled, and the hook has the ref."""
        events: list[Dispatched] = []
        async with client_of(emulator, hooks=Hooks(on_dispatched=events.append)) as client:
            emulator.fail("run_feature", Fault.delay(5))
            caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
            await asyncio.sleep(1)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert now() == 1
            await asyncio.sleep(10)

            assert [event.ref.key[-1] for event in events] == list(emulator.runs)

    async def test_a_caller_cancelled_in_the_queue_sends_nothing(self, emulator: Emulator) -> None:
        """A dispatch that was still queued when its caller was cancelled is never sent."""
        async with client_of(emulator, max_connections=1) as client:
            emulator.fail("run_feature", Fault.delay(5))
            callers = [
                asyncio.ensure_future(client.project().run_feature("Checkout")) for _ in range(5)
            ]
            await asyncio.sleep(1)
            for caller in callers:
                caller.cancel()
            await asyncio.sleep(60)

        assert len(emulator.runs) == 1

    async def test_a_failure_after_the_caller_left_is_logged(
        self, emulator: Emulator, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A dispatch that is unknown after its caller was cancelled is logged, and an event."""
        emulator.fail("run_feature", Fault.hang())
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)
        caller.cancel()
        with caplog.at_level(logging.WARNING):
            await asyncio.sleep(60)

        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "DispatchUnknown" in caplog.text
        assert "feature=Checkout" in caplog.text
        assert "may have taken effect" in caplog.text

    async def test_an_operation_without_a_caller_leaves_its_ref(
        self, emulator: Emulator, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A dispatch whose caller was cancelled after it was sent logs the ref, as JSON."""
        emulator.fail("run_feature", Fault.delay(5))
        caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
        await asyncio.sleep(1)
        caller.cancel()
        with caplog.at_level(logging.WARNING):
            await asyncio.sleep(10)

        (record,) = caplog.records
        assert record.levelname == "WARNING"
        text = record.getMessage()
        ref = Ref.from_json(text[text.index("{") :])
        assert [ref.key[-1]] == list(emulator.runs)

    async def test_a_caller_that_stays_needs_no_trace(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A dispatch that reaches its caller logs nothing at WARNING."""
        with caplog.at_level(logging.WARNING):
            await client.project().run_feature("Checkout")
        assert caplog.records == []

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
        [
            (Fault.status(429, retry_after=3), {}),
            (Fault.reset(), {"retry_unknown": True}),
        ],
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

    @pytest.mark.parametrize("fault", ANSWER_LOST)
    async def test_a_lost_answer_is_reconciled_after_the_caller_left(
        self, emulator: Emulator, fault: Fault
    ) -> None:
        """The id of a run whose answer was lost still reaches the hook of a cancelled caller."""
        events: list[Dispatched] = []
        async with client_of(emulator, hooks=Hooks(on_dispatched=events.append)) as client:
            emulator.fail("run_feature", fault)
            emulator.fail("list_runs", Fault.delay(0.9))
            caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
            await asyncio.sleep(0.5)
            caller.cancel()
            await asyncio.sleep(30)

        assert [(event.ref.key[-1], event.adopted) for event in events] == [
            (run_id, True) for run_id in emulator.runs
        ]
        assert len(events) == 1
