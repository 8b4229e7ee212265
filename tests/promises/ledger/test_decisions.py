"""`Ledger.decide`: what becomes of dispatches of which it is unknown whether they started."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import evolve

from tests.conftest import client_of
from tests.promises.ledger.conftest import KEY, leave_unknown, ran, ref_of
from tests.support.batches import verdicts
from tests.support.raising import raised
from tests.support.timing import STEADY
from testvibe_async import (
    Client,
    GenerationRef,
    MemoryLedger,
    Project,
    RetryPolicy,
    SqliteLedger,
    errors,
)
from testvibe_async.ledger import Decision, Row
from testvibe_async.testing import Emulator, Fault, Outcome

SCENARIO = evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})

FEATURES = ["Checkout", "Returns", "Wishlist"]
ENDS = ["succeeded", "failed", "succeeded"]


async def decide(path: Path, decision: Decision, feature: str | None = None) -> list[Row]:
    """Decide in the ledger file."""
    async with SqliteLedger(path) as ledger:
        return await ledger.decide(KEY, decision, feature=feature)


async def test_what_is_no_decision(path: Path, emulator: Emulator) -> None:
    """It is refused in a sentence, and so is one of a key that nobody used."""
    await leave_unknown(path, emulator, FEATURES)
    said = "'resend', 'drop' or a ref, not 'retry'"
    await raised(errors.ConfigError, decide(path, cast("Any", "retry")), match=said)
    nothing = MemoryLedger().decide("other", "drop")
    await raised(errors.ConfigError, nothing, match="nothing is unknown under key 'other'")


@pytest.mark.parametrize(("decision", "posts"), [("drop", 3), ("resend", 6)])
async def test_all_of_a_key(path: Path, emulator: Emulator, decision: Decision, posts: int) -> None:
    """What is dropped is left alone; what is to be sent again is dispatched by the next call."""
    await leave_unknown(path, emulator, FEATURES, fault=Fault.reset())
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert [row.feature for row in await decide(path, decision)] == FEATURES
    assert (loop.time() - began > 60) is (decision == "resend")
    expected = ["unknown"] * 3 if decision == "drop" else ENDS
    assert verdicts(await ran(path, emulator)) == expected
    assert emulator.count("run_feature") == posts


async def test_one_of_several(path: Path, emulator: Emulator) -> None:
    """A run that somebody names is that of one feature, which must be named."""
    await leave_unknown(path, emulator, FEATURES)
    ref = ref_of(emulator, "Checkout")
    await raised(errors.ConfigError, decide(path, ref), match="3 are unknown")
    await decide(path, ref, "Checkout")
    await raised(errors.ConfigError, decide(path, ref), match="2 are unknown")
    other = decide(path, "drop", "Gift card")
    await raised(errors.ConfigError, other, match="nothing of feature 'Gift card' is unknown")
    items = await ran(path, emulator)
    assert items[0].ref == ref
    assert verdicts(items) == ENDS


@pytest.mark.parametrize("mishap", [Fault.hang(), Fault.status(503), Fault.status(401)])
async def test_it_outlives_a_failed_poll(path: Path, emulator: Emulator, mishap: Fault) -> None:
    """A decision holds until a poll of the named run shows whether it fits."""
    await leave_unknown(path, emulator, FEATURES)
    ref = ref_of(emulator, "Checkout")
    await decide(path, ref, "Checkout")
    failing = emulator.fail("get_run", mishap)
    async with client_of(emulator, retry=RetryPolicy(attempts=1), ledger=path) as impatient:
        items = await impatient.project().run_features(key=KEY, timeout=2)
        assert items[0].ref == ref
    failing.remove()
    items = await ran(path, emulator)
    assert items[0].outcome is not None
    assert items[0].outcome.run_id == ref.run_id


async def test_one_of_another_place_is_refused(path: Path, emulator: Emulator) -> None:
    """What this dispatch started is of its server, project and kind, and of no other feature."""
    await leave_unknown(path, emulator, FEATURES, lists_read=0)
    ref = ref_of(emulator, "Checkout")
    others = {
        "server": evolve(ref, server="https://other.example"),
        "project": evolve(ref, project="other"),
        "kind": GenerationRef(server=ref.server, project=ref.project, request_id="g", feature_id=1),
    }
    for what, other in others.items():
        refused = decide(path, other, "Checkout")
        await raised(errors.ConfigError, refused, match=f"same {what}")
    await decide(path, ref, "Returns")
    await raised(errors.ConfigError, decide(path, ref, "Checkout"), match="that of 'Returns'")


async def test_the_run_of_an_earlier_attempt_is_refused(path: Path, emulator: Emulator) -> None:
    """It is of the item that it failed for, although another attempt followed it."""
    emulator.fail("run_feature", Fault.lost(), skip=1, times=1)
    emulator.fail("list_runs", Fault.status(404), skip=1)
    await ran(path, emulator, ["Returns", "Checkout"], attempts=2, timeout=60)
    first, _, second = emulator.runs
    for run_id in (first, second):
        refused = decide(path, evolve(ref_of(emulator, "Checkout"), run_id=run_id), "Checkout")
        await raised(errors.ConfigError, refused, match="that of 'Returns'")


@pytest.mark.parametrize("run_id", ["another feature's", "missing"])
async def test_a_wrong_one_is_seen(
    path: Path, emulator: Emulator, rival: Project, run_id: str
) -> None:
    """A run of another feature, or none, is no outcome of it; the right one is taken then."""
    await leave_unknown(path, emulator, FEATURES)
    ref = ref_of(emulator, "Checkout")
    theirs = await rival.run_feature("Login Functionality")
    wrong = theirs.run_id if run_id == "another feature's" else 9999
    await decide(path, evolve(ref, run_id=wrong), "Checkout")
    item = (await ran(path, emulator))[0]
    assert item.outcome is None
    assert isinstance(item.error, errors.VibeError)
    await decide(path, ref, "Checkout")
    assert verdicts(await ran(path, emulator)) == ENDS
    assert emulator.count("run_feature", feature="Checkout") == 1


@pytest.mark.parametrize("run_id", ["another feature's", "missing"])
async def test_a_wrong_one_of_a_single_call_is_replaced(
    emulator: Emulator, client: Client, rival: Project, run_id: str
) -> None:
    """The wait that shows it raises, and another operation may be named after that."""
    project = client.project()
    hidden = emulator.fail("list_runs", Fault.status(404), skip=1)
    emulator.fail("run_feature", Fault.lost(), times=1)
    await raised(errors.DispatchUnknownError, project.run_feature("Checkout", key="pr-1"))
    ref = ref_of(emulator, "Checkout")
    theirs = await rival.run_feature("Returns")
    wrong = theirs.run_id if run_id == "another feature's" else 9999
    await client.ledger.decide("pr-1", evolve(ref, run_id=wrong))
    expected = errors.ContradictionError, errors.OperationNotFoundError
    await raised(expected, project.run_feature("Checkout", key="pr-1").wait())
    await client.ledger.decide("pr-1", ref)
    hidden.remove()
    assert (await project.run_feature("Checkout", key="pr-1").wait()).run_id == ref.run_id
    assert emulator.count("run_feature", feature="Checkout") == 1


async def test_a_key_of_two_servers(path: Path, emulator: Emulator) -> None:
    """The decision names the server whose dispatch is meant."""
    async with Emulator(scenario=SCENARIO) as other:
        servers = [emulator, other]
        for each in servers:
            await leave_unknown(path, each, ["Checkout"])
        async with SqliteLedger(path) as ledger:
            await raised(errors.ConfigError, ledger.decide(KEY, "drop"), match="name the server")
            (row,) = await ledger.decide(KEY, "drop", server=other.url)
        assert row.server == other.url
        results = [verdicts(await ran(path, each)) for each in servers]
    assert results == [["succeeded"], ["unknown"]]


async def test_one_from_before_the_dispatch_is_refused(
    path: Path, emulator: Emulator, project: Project
) -> None:
    """A run whose id was known before can't be what a dispatch started."""
    old = await project.run_feature("Checkout")
    await asyncio.sleep(86_400)
    await leave_unknown(path, emulator, FEATURES, fault=Fault.reset())
    await raised(errors.ConfigError, decide(path, old.ref, "Checkout"), match="before")
