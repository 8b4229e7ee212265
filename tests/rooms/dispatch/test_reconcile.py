"""Dispatches that are reconciled at once."""

from attrs import evolve

from tests.promises.dispatch.test_reconcile import intend
from testvibe_async import Client
from testvibe_async.testing import Emulator


async def test_dispatches_that_are_reconciled_at_once_know_of_each_other_to_the_end(
    emulator: Emulator, client: Client
) -> None:
    """One that is decided first takes nothing away that another one must know of."""
    reconciler = client._dispatcher._reconciler
    one, two, three = [evolve(await intend(emulator), id=name) for name in ("1", "2", "3")]
    with reconciler._open([two, three]):
        with reconciler._open([one, three]):
            pass
        assert set(reconciler._elsewhere) == {two, three}
    assert not reconciler._elsewhere


async def test_an_adopted_generation_knows_the_one_before_it(
    emulator: Emulator, client: Client
) -> None:
    """What the intent says of the generation before is kept, so that a poll can tell them apart."""
    intent = await intend(emulator, "generation")
    operation = await client.reconcile(intent)
    assert operation is not None
    assert getattr(operation._polled.state, "previous_id", None) == intent.previous_id
