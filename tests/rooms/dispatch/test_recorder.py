"""A recorder that is slower than a close waits, or than the machine was awake."""

import asyncio
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest

from tests.conftest import client_of
from tests.promises.dispatch.test_recorder import Notes
from testvibe_async import ClientClosedError, RecorderError, RunRef
from testvibe_async._dispatch import dispatch, dispatcher
from testvibe_async.intents import Intent
from testvibe_async.testing import Emulator


async def test_a_client_that_closes_names_what_a_slow_recorder_was_told(emulator: Emulator) -> None:
    """After the 10 s of a close the caller gets the ref with the error."""
    notes = Notes(emulator)
    notes.seconds = {"dispatched": 9.9}
    client = client_of(emulator, recorder=notes)
    caller = asyncio.ensure_future(client.project().run_feature("Checkout"))
    await asyncio.sleep(0.1)
    with patch.object(dispatcher, "CLOSE_SECONDS", 1.0):
        await client.aclose()
    with pytest.raises(ClientClosedError) as caught:
        await caller
    assert isinstance(caught.value.ref, RunRef)
    assert caught.value.ref.run_id in emulator.runs


async def test_what_a_machine_slept_over_is_not_sent(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An intent that grew old by the wall's clock, while the loop's stood still, is not sent."""
    now = datetime.now(UTC)

    class Wall(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
            return now

    class Sleeping(Notes):
        async def intended(self, intent: Intent) -> None:
            nonlocal now
            now += timedelta(minutes=5)
            await super().intended(intent)

    monkeypatch.setattr(dispatch, "datetime", Wall)
    async with client_of(emulator, recorder=Sleeping(emulator)) as client:
        with pytest.raises(RecorderError, match="after 300 s, and 5 s are allowed"):
            await client.project().run_feature("Checkout")
    assert emulator.count("run_feature") == 0
