"""A call whose key has an open row, of another process or another day: what it finds and does."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.ledgers import Notes
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, GenerationOperation, Project, Ref, RunOperation, errors
from testvibe_async.ledger import Row
from testvibe_async.testing import Emulator, Fault

EXPIRES = 65.0

KEY = "pr-1"


async def intend(client: Client, kind: Any = "run", **values: Any) -> Row:
    """Leave the row of a process that died before the answer came."""
    usual: dict[str, Any] = {
        "server": client.server,
        "project": client.project().id,
        "key": KEY,
        "kind": kind,
        "feature": "Checkout" if kind == "run" else "Draft",
        "expires_after": EXPIRES,
        "before": 0 if kind == "run" else None,
        "is_before_known": True,
    }
    return await client.ledger.insert(Row(**usual | values))


async def run(client: Client, feature: int | str = "Checkout") -> RunOperation:
    """Make the call."""
    return await client.project().run_feature(feature, key=KEY)


async def generate(client: Client) -> GenerationOperation:
    """Make the call of a generation."""
    return await client.project().generate_feature("Draft", key=KEY)


@pytest.mark.parametrize("kind", ["run", "generation"])
@pytest.mark.parametrize("delay", [45, 64])
async def test_what_begins_late_is_found(
    emulator: Emulator, client: Client, rival: Project, kind: str, delay: float
) -> None:
    """A service that acts on a request after its time-out is not asked a second time."""
    await intend(client, kind)
    calling: Any = run(client) if kind == "run" else generate(client)
    call = asyncio.ensure_future(calling)
    await asyncio.sleep(delay)
    dispatch: Any = rival.run_feature if kind == "run" else rival.generate_feature
    late = await dispatch("Checkout" if kind == "run" else "Draft")
    assert (await call).ref == late.ref
    assert emulator.count("run_feature") + emulator.count("generate_feature") == 1


async def test_a_feature_that_is_spelled_otherwise(
    emulator: Emulator, client: Client, rival: Project
) -> None:
    """An id is the same as a number and with zeros, and a name in any case: one request each."""
    checkout = emulator.features["Checkout"].id
    theirs = await rival.run_feature("Checkout")
    await intend(client, feature=f"00{checkout}")
    assert (await run(client, f"00{checkout}")).ref == theirs.ref
    assert (await run(client, checkout)).ref == theirs.ref
    named = await client.project().run_feature("Returns", key="pr-2")
    assert (await client.project().run_feature("returns", key="pr-2")).ref == named.ref


async def test_only_the_last_search_proves_an_absence(emulator: Emulator, client: Client) -> None:
    """If the list fails once the request has expired, what earlier ones showed proves nothing."""
    await intend(client)
    emulator.fail("list_runs", Fault.status(500), when=lambda _: now() > 50)
    await raised(errors.DispatchUnknownError, run(client))
    assert emulator.count("run_feature") == 0


@pytest.mark.parametrize("kind", ["run", "generation"])
@pytest.mark.parametrize("offset", [0.75, 2.25, 2.5])
async def test_two_callers_make_the_next_attempt_once(
    emulator: Emulator, client: Client, kind: str, offset: float
) -> None:
    """What one of them has seen of the first attempt is no evidence against the other's second."""
    operation = "run_feature" if kind == "run" else "generate_feature"
    emulator.fail(operation, Fault.reset(), times=1)
    emulator.fail(operation, Fault.delay(0.5), skip=1)
    for read in ("list_runs", "get_generation_status"):
        emulator.fail(read, Fault.delay(1))

    async def call(caller: Client, delay: float) -> object:
        await asyncio.sleep(delay)
        calling: Any = run(caller) if kind == "run" else generate(caller)
        return (await calling).ref

    async with client_of(emulator, ledger=client.ledger) as other:
        first, second = await asyncio.gather(call(client, 0), call(other, offset))
    assert first == second
    assert len(emulator.runs if kind == "run" else emulator.generations) == 1


class Unreadable(Notes):
    """A ledger that answers no question about what a search has shown."""

    async def related(self, server: str, project: str, refs: Collection[Ref]) -> list[Row]:  # noqa: ARG002
        raise OSError("connection to the database lost")


async def test_a_ledger_that_fails_during_a_search(emulator: Emulator) -> None:
    """What was sent may have taken effect, which is said rather than that the ledger failed."""
    emulator.fail("run_feature", Fault.lost())
    async with client_of(emulator, ledger=Unreadable()) as client:
        error = await raised(errors.DispatchUnknownError, run(client))
        assert "could not be read: connection to the database lost" in error.what
        (item,) = await client.project().run_features(["Returns"])
        assert item.verdict == "unknown"


async def test_a_slow_answer_shows_what_was_newest_when_it_was_asked_for(
    emulator: Emulator, client: Client, rival: Project
) -> None:
    """A run that somebody started while an answer was on its way is not taken for a later one."""
    emulator.fail("run_feature", Fault.slow(10), times=1)
    slow = asyncio.ensure_future(run(client, "Wishlist"))
    await asyncio.sleep(1)
    theirs = await rival.run_feature("Checkout")
    await slow
    emulator.fail("run_feature", Fault.reset(), times=1)
    ours = await client.project().run_feature("Checkout", key="ours")
    assert (ours.adopted, ours.ref == theirs.ref) == (False, False)


async def test_a_stale_status_is_waited_out(
    emulator: Emulator, client: Client, rival: Project
) -> None:
    """A copy that is behind shows the old status first; the new one is found all the same."""
    await intend(client, "generation")
    theirs = await rival.generate_feature("Draft")
    (generation,) = emulator.generations.values()
    stale = Fault.edit(lambda _: {"status": "draft", "featureId": generation.feature_id})
    emulator.fail("get_generation_status", stale, times=2)
    assert (await generate(client)).ref == theirs.ref


async def test_a_second_caller_does_not_repeat_what_was_accepted() -> None:
    """An answer whose id can't be read proves the operation, though nothing shows it."""
    async with Emulator(dispatch_lag=300) as emulator, client_of(emulator) as client:
        emulator.fail("run_feature", Fault.edit(lambda _: {"queued": True}), times=1)
        emulator.fail("run_feature", Fault.delay(12), times=1)
        emulator.fail("list_runs", Fault.edit(lambda _: []))

        async def call(delay: float) -> object:
            await asyncio.sleep(delay)
            return await run(client)

        found = await asyncio.gather(call(0), call(1), return_exceptions=True)
        assert [getattr(each, "reason", None) for each in found] == ["accepted", "accepted"]
        assert emulator.count("run_feature") == 1


@pytest.mark.parametrize("is_polling", [False, True])
async def test_a_client_that_closes_ends_it(emulator: Emulator, *, is_polling: bool) -> None:
    """It does not wait on for what may still begin: it is unknown."""
    if is_polling:  # The close cuts off the poll, which is no failure to see the operation.
        emulator.fail("list_runs", Fault.hang())
    async with client_of(emulator) as client:
        await intend(client)
        call = asyncio.ensure_future(run(client))
        await asyncio.sleep(10)
    await raised(errors.DispatchUnknownError, call)
    assert now() < 10 + 11
