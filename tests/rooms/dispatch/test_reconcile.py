"""The operation that a reconciled dispatch started."""

from tests.promises.dispatch.test_reconcile import intend
from testvibe_async import Client
from testvibe_async.testing import Emulator


async def test_an_adopted_generation_knows_the_one_before_it(
    emulator: Emulator, client: Client
) -> None:
    """What the intent says of the generation before is kept, so that a poll can tell them apart."""
    intent = await intend(emulator, "generation")
    operation = await client.reconcile(intent)
    assert operation is not None
    assert getattr(operation._polled.state, "previous_id", None) == intent.previous_id
