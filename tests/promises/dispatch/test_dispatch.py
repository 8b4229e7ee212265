"""When a dispatch is sent again, and what the hook and the log report of it."""

import logging
from datetime import UTC, datetime
from typing import cast

import pytest

from tests.conftest import client_of
from testvibe_async import Client, DispatchUnknownError, Hooks, Project, Ref, RunOperation
from testvibe_async.events import Dispatched, DispatchUnknown
from testvibe_async.testing import Emulator, Fault


class TestRetries:
    @pytest.mark.parametrize("status", [400, 404, 409])
    async def test_a_refusal_is_final(
        self, emulator: Emulator, project: Project, status: int
    ) -> None:
        """A refusal is raised at once, after one request and without reconciling."""
        emulator.fail("run_feature", Fault.status(status))

        with pytest.raises(Exception, match=str(status)):
            await project.run_feature("Checkout")

        assert [request.operation for request in emulator.requests] == ["list_runs", "run_feature"]


class TestHooks:
    async def test_every_dispatch_is_reported(self, emulator: Emulator) -> None:
        """on_dispatched gets the ref of each operation, answered or adopted."""
        events: list[Dispatched] = []
        async with client_of(emulator, hooks=Hooks(on_dispatched=events.append)) as client:
            project = client.project()
            run = await project.run_feature("Checkout")
            emulator.fail("generate_feature", Fault.lost())
            generation = await project.generate_feature("Draft")

        assert [(event.ref, event.adopted) for event in events] == [
            (run.ref, False),
            (generation.ref, True),
        ]

    async def test_a_hook_that_raises_loses_nothing(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The operation is returned all the same, and the ref is in the log."""

        def broken(_: Dispatched) -> None:
            raise ZeroDivisionError

        async with client_of(emulator, hooks=Hooks(on_dispatched=broken)) as client:
            operation = await client.project().run_feature("Checkout")

        assert f"the hook on_dispatched failed on Dispatched ref={operation.ref}" in caplog.text

    async def test_a_log_that_fails_loses_nothing(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A logging filter that raises does not keep the ref from the hook or the caller."""
        events: list[Dispatched] = []

        def broken(_record: logging.LogRecord) -> bool:
            raise ZeroDivisionError

        log = logging.getLogger("testvibe_async")
        log.addFilter(broken)
        try:
            with caplog.at_level(logging.DEBUG, "testvibe_async"):
                async with client_of(emulator, hooks=Hooks(on_dispatched=events.append)) as client:
                    operation = await client.project().run_feature("Checkout")
        finally:
            log.removeFilter(broken)

        assert [event.ref for event in events] == [operation.ref]

    async def test_a_hook_that_turns_out_async_is_logged(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A hook that returns an awaitable is logged as failed, with the ref."""

        async def store(_ref: Ref) -> None:
            pass

        hooks = Hooks(on_dispatched=lambda event: cast("None", store(event.ref)))
        async with client_of(emulator, hooks=hooks) as client:
            operation = await client.project().run_feature("Checkout")

        assert f"the hook on_dispatched failed on Dispatched ref={operation.ref}" in caplog.text
        assert "returned an awaitable" in caplog.text

    async def test_a_hook_may_attach_the_operation(self, emulator: Emulator) -> None:
        """A 404 right after a dispatch is tolerated, also where the hook attached first."""
        kept: list[RunOperation] = []

        def attach(event: Dispatched) -> None:
            operation = client.attach(event.ref)
            assert isinstance(operation, RunOperation)
            kept.append(operation)

        async with client_of(emulator, hooks=Hooks(on_dispatched=attach)) as client:
            emulator.fail("get_run", Fault.status(404), when=lambda _: emulator.now() < 6)
            operation = await client.project().run_feature("Checkout")

            assert (operation.phase, kept[0].phase) == ("queued", "queued")
            assert (await operation).is_success

    async def test_the_ref_says_when_it_was_sent(self, emulator: Emulator, client: Client) -> None:
        """A pause before the dispatch does not make the operation older."""
        emulator.fail("run_feature", Fault.status(429, retry_after=70), times=1)
        operation = await client.project().run_feature("Checkout")

        assert operation.ref.dispatched_at is not None
        age = datetime.now(UTC) - operation.ref.dispatched_at
        assert age.total_seconds() < 5


class TestPollInterval:
    async def test_a_poll_interval_may_be_endless(self, emulator: Emulator) -> None:
        """An interval beyond all dates does not break a dispatch."""
        async with client_of(emulator, poll_interval=1e300) as client:
            operation = await client.project().run_feature("Checkout")
        assert operation.run_id in emulator.runs


async def test_an_unknown_dispatch_is_an_event(emulator: Emulator) -> None:
    """The hook has what was asked for and the error, before the caller does."""
    events: list[DispatchUnknown] = []
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost())
    async with client_of(emulator, hooks=Hooks(on_dispatch_unknown=events.append)) as client:
        project = client.project()
        with pytest.raises(DispatchUnknownError) as caught:
            await project.run_feature("Checkout", config="Mobile")
    (event,) = events
    assert event.error is caught.value
    assert (event.kind, event.project, event.feature, event.config) == (
        "run",
        project.id,
        "Checkout",
        "Mobile",
    )


async def test_another_feature_than_asked_for_is_said(
    emulator: Emulator, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A 202 that names another feature is taken, and logged at WARNING with the ref."""
    feature = await client.project().get_feature("Checkout")
    emulator.fail("run_feature", Fault.edit(lambda answer: answer | {"featureId": 9999}), times=1)
    with caplog.at_level(logging.WARNING):
        operation = await client.project().run_feature(feature)
        await client.project().run_feature(feature)
    assert operation.feature_id == 9999
    (record,) = caplog.records
    assert f"asked for feature {feature.id}, the service answered with feature 9999" in (
        record.getMessage()
    )
    assert operation.ref.to_json() in record.getMessage()
    assert getattr(record, "testvibe_told", False)
