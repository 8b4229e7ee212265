"""A service that gives an id twice, such as one whose staging data were reset."""

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.support.timing import STEADY
from testvibe_async import Client, ObservationError, Run, RunStatus
from testvibe_async.testing import Emulator

FAILING = evolve(STEADY, failing_runs=1)


async def run_before_a_reset(client: Client, emulator: Emulator) -> Run:
    """Run a feature, which passes, and stop the service."""
    run = await (await client.project().run_feature("Checkout"))
    assert run.is_success
    await emulator.aclose()
    return run


def port_of(emulator: Emulator) -> int:
    """Return the port that a service listens on."""
    return int(emulator.url.rpartition(":")[2])


async def test_an_id_that_is_used_again_has_its_own_outcome() -> None:
    """The verdict of the operation that had the id before is never the new one's."""
    async with Emulator(scenario=STEADY) as first, client_of(first) as client:
        earlier = await run_before_a_reset(client, first)
        async with Emulator(scenario=FAILING, port=port_of(first)) as second:
            operation = await client.project().run_feature("Checkout")
            assert operation.run_id == earlier.run_id
            assert not operation.done
            assert (await operation).status == RunStatus.FAILED
            assert second.count("get_run") >= 1


async def test_a_batch_that_gets_old_ids_polls_them() -> None:
    """None of its items has an outcome from before it was dispatched."""
    async with Emulator(scenario=STEADY) as first, client_of(first) as client:
        await run_before_a_reset(client, first)
        async with Emulator(scenario=FAILING, port=port_of(first)):
            items = await client.project().run_features(["Checkout", "Returns"])
    assert [item.outcome and item.outcome.status for item in items] == [RunStatus.FAILED] * 2


async def test_a_ref_of_the_later_operation_attaches_to_it() -> None:
    """A ref that was dispatched after an outcome was seen is not of that outcome."""
    async with Emulator(scenario=STEADY) as first, client_of(first) as client:
        await run_before_a_reset(client, first)
        async with Emulator(scenario=FAILING, port=port_of(first)) as second:
            async with client_of(second) as other:
                ref = (await other.project().run_feature("Checkout")).ref
            assert (await client.attach(ref)).status == RunStatus.FAILED


async def test_the_run_of_another_feature_is_no_outcome() -> None:
    """Where the service was reset between two processes, an id may be that of another feature."""
    async with Emulator(scenario=STEADY) as first, client_of(first) as client:
        ref = (await client.project().run_feature("Checkout")).ref
        await first.aclose()
        async with Emulator(scenario=STEADY, port=port_of(first)) as second:
            async with client_of(second) as other:
                theirs = await other.project().run_feature("Wishlist")
                assert (await theirs).run_id == ref.run_id
            async with client_of(second) as resumed:
                with pytest.raises(ObservationError, match=r"of feature \d+, not \d+"):
                    await resumed.attach(ref)


async def test_handles_on_one_operation_share_what_is_known(emulator: Emulator) -> None:
    """A ref that was stored and read again names the same operation, and costs no request."""
    async with client_of(emulator) as client:
        operation = await client.project().run_feature("Checkout")
        await operation
        polls = emulator.count("get_run")
        again = client.attach(type(operation.ref).from_json(operation.ref.to_json()))
        assert again == operation
        assert (await again) == operation.outcome
        assert emulator.count("get_run") == polls
