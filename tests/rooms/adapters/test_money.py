"""Generations cost credits: a durable batch pays once for each feature, whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.rooms.adapters.conftest import Nightly
from tests.support.amounts import by_turns
from tests.support.faults import NO_ID
from testvibe_async import FeatureNotGeneratedError
from testvibe_async.runner.generation_limit import GenerationLimitError
from testvibe_async.testing import Emulator, Fault

HOUR = 3_600.0


MISHAPS: dict[str, tuple[Fault | None, Callable[[Nightly], Awaitable[object]]]] = {
    "answer lost": (Fault.lost(), Nightly.work),
    "a page as the 2xx": (Fault.edit(lambda _: b"<!doctype html>"), Nightly.work),
    "killed before the answer": (None, Nightly.killed),
    "gave up in flight": (None, lambda nightly: nightly.interrupted(10)),
    "two workers": (None, lambda nightly: asyncio.gather(nightly.work(), nightly.work())),
}


@pytest.mark.parametrize(
    ("mishap", "kind", "has_ids"),
    [
        (mishap, *request)
        for mishap, request in by_turns(
            [*MISHAPS], [("run", True), ("generation", False), ("generation", True)]
        )
    ],
)
async def test_one_request_is_paid_once(
    nightly: Nightly, emulator: Emulator, mishap: str, kind: str, *, has_ids: bool
) -> None:
    """The next workers find the generation, of missing tests or asked for, or leave it unknown."""
    emulator.add_feature("Draft", status="draft")
    if not has_ids:
        emulator.fail("get_generation_status", NO_ID)
    fault, happen = MISHAPS[mishap]
    if fault is not None:
        emulator.fail("generate_feature", fault, times=1)
    policy = "generate" if kind == "run" else "raise"
    await nightly.submit("Draft", kind=kind, on_conflict=policy)
    await happen(nightly)
    for pause in (0.0, HOUR):
        await asyncio.sleep(pause)
        await nightly.work()
    assert nightly.paid == 1


async def test_a_failed_generation_is_paid_once(nightly: Nightly, emulator: Emulator) -> None:
    """Whichever process resumes: the generation of missing tests is the feature's own."""
    emulator.add_feature("Doomed", status="draft")
    await nightly.submit("Doomed", on_conflict="generate")
    await nightly.interrupted(10)
    emulator.finish_generation(next(iter(emulator.generations)), "failed")
    await nightly.work()
    assert nightly.paid == 1
    (item,) = await nightly.items()
    assert isinstance(item.error, FeatureNotGeneratedError)


@pytest.mark.parametrize(("allowed", "kind"), by_turns([1, 0, None], ["run", "generation"]))
async def test_no_more_than_are_allowed(nightly: Nightly, kind: str, allowed: int | None) -> None:
    """All workers together dispatch so many; what needs one more says so, also when resumed."""
    drafts = nightly.add_features(4, status="draft")
    policy = "generate" if kind == "run" else "raise"
    await nightly.submit(*drafts, kind=kind, on_conflict=policy, max_generations=allowed)
    await asyncio.gather(nightly.work(), nightly.work(), nightly.work())
    await nightly.batch.resume()
    await nightly.work()
    count = len(drafts) if allowed is None else allowed
    assert nightly.paid == count
    errors = [item.error for item in await nightly.items()]
    assert sum(isinstance(error, GenerationLimitError) for error in errors) == 4 - count


@pytest.mark.parametrize("allowed", [1, None])
async def test_a_resume_may_allow_more(nightly: Nightly, allowed: int | None) -> None:
    """Beyond what was paid for, whatever the limit was; and no more than that."""
    drafts = nightly.add_features(4, status="draft")
    asked: Any = {"kind": "generation", "max_generations": allowed}
    await nightly.submit(*drafts, **asked)
    if allowed is None:
        await nightly.batch.resume(max_generations=1)
    await nightly.work()
    assert nightly.paid == 1
    await nightly.batch.resume(max_generations=2)
    await asyncio.gather(nightly.work(), nightly.work())
    assert nightly.paid == 3
    assert not await nightly.submit(*drafts, **asked)  # It is the same batch still.


@pytest.mark.parametrize("fault", [Fault.status(400), Fault.status(401)])
async def test_refused_ones_do_not_count(
    nightly: Nightly, emulator: Emulator, fault: Fault
) -> None:
    """A generation that was refused, or provably was not sent, leaves room for another."""
    drafts = nightly.add_features(2, status="draft")
    emulator.fail("generate_feature", fault, times=1)
    await nightly.submit(*drafts, kind="generation", max_generations=1, max_in_flight=1)
    await nightly.work()
    assert nightly.paid == 1
