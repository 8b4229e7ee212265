"""What hangs or is cancelled holds up nobody for long, and is named as the cause."""

import asyncio

import pytest

from tests.conftest import client_of
from tests.support.timing import STEADY, now
from testvibe_async import (
    DispatchUnknownError,
    Hooks,
    Project,
    RecorderError,
    Ref,
    Verdict,
    VibeError,
)
from testvibe_async.intents import Intent
from testvibe_async.testing import Emulator, Fault, Scenario


@pytest.fixture
def scenario() -> Scenario:
    return STEADY


class Hanging:
    """A recorder that never returns, or cancels itself."""

    def __init__(self, *, cancels: bool = False) -> None:
        self.cancels = cancels

    async def intended(self, intent: Intent) -> None:  # noqa: ARG002
        if self.cancels:
            raise asyncio.CancelledError
        await asyncio.Event().wait()

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        """Store nothing."""

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:
        """Store nothing."""


class TestRecorders:
    async def test_one_that_hangs_is_named(self, emulator: Emulator) -> None:
        """A recorder that does not return within 5 s ends its dispatch with a `RecorderError`."""
        async with client_of(emulator, recorder=Hanging()) as client:
            with pytest.raises(RecorderError, match="5 s"):
                await client.project().run_feature("Checkout")
        assert now() < 7
        assert emulator.count("run_feature") == 0

    async def test_one_that_is_cancelled_is_named(self, emulator: Emulator) -> None:
        """A recorder that is cancelled ends its dispatch with a `RecorderError`."""
        async with client_of(emulator, recorder=Hanging(cancels=True)) as client:
            with pytest.raises(RecorderError, match="cancelled"):
                await client.project().run_feature("Checkout")
        assert emulator.count("run_feature") == 0

    async def test_a_caller_that_leaves_meanwhile_is_not_told_of_it(
        self, emulator: Emulator
    ) -> None:
        """A caller that is cancelled while a recorder hangs gets no `RecorderError`."""
        async with client_of(emulator, recorder=Hanging()) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await client.project().run_feature("Checkout")
        assert emulator.count("run_feature") == 0


class TestProbes:
    async def test_an_abandoned_probe_frees_the_next(self, emulator: Emulator) -> None:
        """After a pause, a first request whose caller is cancelled holds up no other."""
        paused = asyncio.Event()
        async with client_of(emulator, hooks=Hooks(on_pause=lambda _: paused.set())) as client:
            project = client.project()
            emulator.fail("get_feature", Fault.status(429, retry_after=2), times=8)
            refused = [asyncio.ensure_future(project.get_feature("Checkout")) for _ in range(8)]
            await paused.wait()
            emulator.fail("read_file", Fault.hang(), times=1)
            hanging = asyncio.ensure_future(project.read_file("Features/a.feature"))
            began = now()
            await asyncio.sleep(2.5)
            hanging.cancel()
            await asyncio.gather(*refused)
            assert now() - began < 4


class TestCancelledBatches:
    async def test_it_ends_within_two_seconds(self, emulator: Emulator, project: Project) -> None:
        """A batch that is cancelled while a POST hangs ends soon, and that dispatch is unknown."""
        emulator.fail("run_feature", Fault.hang(), times=1)
        batch = project.run_features(["Checkout"])

        async def consume() -> None:
            await batch

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(consume(), timeout=2)
        assert now() < 4.5
        (item,) = batch.items
        assert item.verdict is Verdict.UNKNOWN
        assert isinstance(item.error, DispatchUnknownError)

    async def test_an_open_one_does_too(self, emulator: Emulator, project: Project) -> None:
        """So does one that was opened, with what it has not sent left out."""
        emulator.fail("run_feature", Fault.hang())
        batch = project.run_features(["Checkout", "Returns"], max_in_flight=1)

        async def consume() -> None:
            async with batch:
                async for _ in batch:
                    pass

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(consume(), timeout=2)
        assert now() < 4.5
        assert [item.verdict for item in batch.items] == [Verdict.UNKNOWN, Verdict.SKIPPED]
