"""Batches whose requests the service refuses: for the rate, or because of the key."""

import asyncio

import pytest

from tests.conftest import client_of
from tests.support.timing import STEADY, now
from testvibe_async import (
    Client,
    ClientClosedError,
    ConfigError,
    Project,
    RateLimitedError,
    UnauthorizedError,
    Verdict,
)
from testvibe_async.testing import Emulator, Fault, VirtualTimeLoop

SCENARIO = STEADY


class TestRates:
    @pytest.mark.parametrize("retry_after", [None, 0])
    async def test_a_refusal_without_a_time_is_repeated_ever_more_slowly(
        self, emulator: Emulator, project: Project, retry_after: int | None
    ) -> None:
        """One feature is sent a few times in five minutes, not three hundred."""
        emulator.fail("run_feature", Fault.status(429, retry_after=retry_after))
        (item,) = await project.run_features(["Checkout"])
        assert isinstance(item.error, RateLimitedError)
        assert 5 < emulator.count("run_feature") < 25


class TestKeys:
    async def test_a_wrong_key_is_asked_with_a_few_times(self, emulator: Emulator) -> None:
        """Of 500 features only as many are sent as are under way when the first is refused."""
        async with Client(
            emulator.url, api_key="tvb_" + "x" * 43, project=emulator.project_id
        ) as client:
            names = [f"Feature {number}" for number in range(500)]
            items = await client.project().run_features(names)
        assert emulator.count() < 80
        assert {item.verdict for item in items} == {Verdict.ERROR, Verdict.SKIPPED}

    async def test_a_revoked_key_ends_the_batch(self, emulator: Emulator) -> None:
        """What is in flight is named as in flight, in the summary and in `in_flight` alike."""
        names = [f"Feature {number}" for number in range(60)]
        for name in names:
            emulator.add_feature(name)
        async with client_of(emulator) as client:
            batch = client.project().run_features(names, max_in_flight=30)
            async with batch:
                await asyncio.sleep(15)
                before = emulator.count()
                emulator.fail("*", Fault.status(401))
                items = [item async for item in batch]
        assert emulator.count() - before < 100
        assert {item.verdict for item in items} == {Verdict.IN_FLIGHT, Verdict.SKIPPED}
        assert len(batch.in_flight) == batch.summary.in_flight == 30
        assert batch.summary.errors == 0
        assert all(
            isinstance(item.error, UnauthorizedError)
            for item in items
            if item.verdict is Verdict.IN_FLIGHT
        )

    async def test_a_refused_key_ends_the_wait_for_a_generation(self, emulator: Emulator) -> None:
        """Dispatches that the key is refused for end the open waits, before their next poll."""
        async with client_of(emulator, poll_interval=60) as client:
            batch = client.project().run_features(["Checkout", *range(500, 600)], max_in_flight=2)
            emulator.fail("run_feature", Fault.status(401), skip=1)
            items = await batch
        assert now() < 60
        assert items[0].verdict is Verdict.IN_FLIGHT
        assert isinstance(items[0].error, UnauthorizedError)
        assert items[0].error.ref == items[0].ref


class TestMisuse:
    async def test_a_closed_client_is_raised(self, emulator: Emulator) -> None:
        """A batch of a closed client raises, and makes no item's error of it."""
        async with client_of(emulator) as client:
            project = client.project()
        with pytest.raises(ClientClosedError):
            await project.run_features(["Checkout"])

    def test_another_event_loop_is_raised(self) -> None:
        """A batch in another event loop than its client's raises."""
        client = Client("http://127.0.0.1:1", api_key="tvb_" + "k" * 43, project="p")
        loop, other = VirtualTimeLoop(), VirtualTimeLoop()

        async def first() -> None:
            await client.__aenter__()

        async def second() -> None:
            await client.project().run_features(["Checkout"])

        async def close() -> None:
            await client.aclose()

        try:
            loop.run_until_complete(first())
            with pytest.raises(ConfigError, match="another event loop"):
                other.run_until_complete(second())
            loop.run_until_complete(close())
        finally:
            loop.close()
            other.close()
