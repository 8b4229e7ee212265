"""A recorder that is slower than a close waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from tests.conftest import client_of
from tests.promises.dispatch.test_recorder import Notes
from testvibe_async import (
    ClientClosedError,
    RunRef,
)
from testvibe_async._dispatch import dispatcher

if TYPE_CHECKING:
    from testvibe_async.testing import Emulator


async def test_a_client_that_closes_names_what_a_slow_recorder_was_told(
    emulator: Emulator,
) -> None:
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
