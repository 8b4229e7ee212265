"""Durable batches: one is submitted and worked on in SQLite."""

import asyncio

from testvibe_async import Client
from testvibe_async.adapters.durable import DurableBatch
from testvibe_async.testing import Emulator


async def main() -> None:
    """Submit a batch, and be its one worker."""
    async with (
        Emulator(speed=50.0) as service,
        Client(
            service.url, api_key=service.api_key, project=service.project_id, poll_interval=0.1
        ) as client,
    ):
        batch = DurableBatch("batches.sqlite", id="nightly")
        await batch.submit(client, ["Newsletter", "Wishlist"])
        items = await batch.work(client)
    assert all(item.outcome is not None and item.outcome.is_finished for item in items), items
    print(f"{len(items)} features worked on")


asyncio.run(main())
