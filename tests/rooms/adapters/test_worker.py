"""What a worker makes of a feature, wherever it stands, and what it may write."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of
from testvibe_async import (
    Client,
    ConfigError,
    DispatchUnknownError,
    FeatureNotGeneratedError,
    NotFoundError,
    NotSentError,
    RunRef,
    Verdict,
)
from testvibe_async.adapters.store import Store
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from tests.rooms.adapters.conftest import Stored
    from testvibe_async.intents import Intent

FEATURES = ("Checkout", "Returns", "Wishlist")


async def test_a_whole_batch(stored: Stored, client: Client, emulator: Emulator) -> None:
    """Each feature is dispatched once and waited for; a refusal is an item with its error."""
    await stored.submit(*FEATURES, "Nothing")
    assert stored.queue == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert await stored.verdicts() == ["waiting"] * 4
    worker = stored.worker(client)
    await asyncio.gather(*(worker.perform(place, turn) for place, turn in stored.queue))
    items = await stored.items()
    assert [str(item.verdict) for item in items] == ["succeeded", "failed", "succeeded", "error"]
    assert isinstance(items[3].error, NotFoundError)
    assert emulator.count("run_feature") == 4
    assert await stored.store.left() == 0


async def test_what_ended_is_left_alone(stored: Stored, client: Client, emulator: Emulator) -> None:
    """A feature that is handed out again after its end costs nothing."""
    await stored.submit("Checkout")
    await stored.worker(client).perform(0, 0)
    requests = len(emulator.requests)
    await stored.worker(client).perform(0, 0)
    assert len(emulator.requests) == requests


async def test_another_worker_goes_on(stored: Stored, client: Client, emulator: Emulator) -> None:
    """What was dispatched is waited for by another worker, and not dispatched again."""
    await stored.submit("Checkout")
    first = stored.worker(client)
    task = asyncio.create_task(first.perform(0, 0))
    await asyncio.sleep(10)
    await first.aclose()
    assert task.cancelled()
    assert await stored.verdicts() == ["in flight"]
    async with client_of(emulator) as other:
        await stored.worker(other).perform(0, 0)
    assert await stored.verdicts() == ["succeeded"]
    assert emulator.count("run_feature") == 1


async def test_two_workers_at_once(stored: Stored, client: Client, emulator: Emulator) -> None:
    """Of two that were handed the same feature one works on it, and it runs once."""
    await stored.submit("Checkout")
    async with client_of(emulator) as other:
        await asyncio.gather(
            stored.worker(client).perform(0, 0), stored.worker(other).perform(0, 0)
        )
    assert await stored.verdicts() == ["succeeded"]
    assert emulator.count("run_feature") == 1


async def test_a_worker_that_was_taken_over_from_sends_nothing(
    stored: Stored, client: Client, emulator: Emulator
) -> None:
    """An intent of one that is no longer the holder is refused, and its dispatch is not sent."""
    await stored.submit("Checkout")
    first = stored.worker(client)
    intended = first.intended

    async def late(place: int, holder: str, intent: Intent) -> None:
        await stored.store.claim(0, turn=0, holder="another", is_first=True)
        await intended(place, holder, intent)

    setattr(first, "intended", late)  # noqa: B010
    await first.perform(0, 0)
    assert emulator.count("run_feature") == 0
    assert await stored.verdicts() == ["waiting"]


async def test_a_worker_that_was_taken_over_from_writes_no_end(
    stored: Stored, client: Client
) -> None:
    """What an earlier holder wants to note of the end is refused."""
    await stored.submit("Checkout")
    await stored.store.claim(0, turn=0, holder="first", is_first=True)
    await stored.store.claim(0, turn=0, holder="second", is_first=True)
    run = await client.project().run_feature("Checkout")
    outcome = await run.wait()
    assert not await stored.store.note_end(0, "first", outcome=outcome)
    assert not await stored.store.note_attempt(0, "first", [outcome])
    assert await stored.store.claim(0, turn=0, holder="first", is_first=False) is None
    assert await stored.store.note_end(0, "second", outcome=outcome)


async def test_a_turn_that_is_over(stored: Stored, client: Client, emulator: Emulator) -> None:
    """A feature that was enqueued anew is left alone by its earlier turn."""
    await stored.submit("Checkout")
    assert await stored.turns.enqueue_failed() == ["Checkout"]
    assert stored.queue == [(0, 0), (0, 1)]
    await stored.worker(client).perform(0, 0)
    assert emulator.count("run_feature") == 0
    await stored.worker(client).perform(0, 1)
    assert emulator.count("run_feature") == 1


async def test_attempts(stored: Stored, client: Client, emulator: Emulator) -> None:
    """What failed runs again, and the item has all its runs."""
    await stored.submit("Returns", attempts=2)
    await stored.worker(client).perform(0, 0)
    (item,) = await stored.items()
    assert item.verdict is Verdict.FAILED
    assert [run.run_id for run in item.attempts] == [*emulator.runs]
    assert len(item.attempts) == 2
    assert len(await stored.store.refs()) == 2


async def test_missing_tests_are_generated(
    stored: Stored, client: Client, emulator: Emulator
) -> None:
    """The generation has an intent too, and the run follows it."""
    emulator.add_feature("Draft", status="draft")
    await stored.submit("Draft", on_conflict="generate")
    await stored.worker(client).perform(0, 0)
    assert await stored.verdicts() == ["succeeded"]
    assert len(emulator.generations) == 1


async def test_a_cancelled_batch(stored: Stored, client: Client, emulator: Emulator) -> None:
    """Nothing more is dispatched, what is in flight is waited for, and all goes on afterwards."""
    await stored.submit(*FEATURES)
    worker = stored.worker(client)
    task = asyncio.create_task(worker.perform(0, 0))
    await asyncio.sleep(5)
    await stored.store.set_cancelled(is_cancelled=True)
    assert await stored.store.left() == 1
    await worker.perform(1, 0)
    await task
    assert await stored.store.left() == 0
    assert emulator.count("run_feature") == 1
    await stored.store.set_cancelled(is_cancelled=False)
    assert await stored.turns.enqueue_failed() == ["Returns", "Wishlist"]
    await worker.perform(1, 1)
    assert emulator.count("run_feature") == 2


async def test_a_batch_that_is_cancelled_at_the_last_moment(
    stored: Stored, client: Client, emulator: Emulator
) -> None:
    """A dispatch that has its connection already is not sent; later ones are not even begun."""
    await stored.submit(*FEATURES)
    worker = stored.worker(client)
    intended = worker.intended

    async def late(place: int, holder: str, intent: Intent) -> None:
        await stored.store.set_cancelled(is_cancelled=True)
        await intended(place, holder, intent)

    setattr(worker, "intended", late)  # noqa: B010
    await worker.perform(0, 0)
    assert emulator.count("run_feature") == 0
    setattr(worker, "operation", None)  # noqa: B010
    await worker.perform(1, 0)
    assert await stored.verdicts() == ["waiting"] * 3


async def test_a_service_that_comes_back(
    stored: Stored, client: Client, emulator: Emulator
) -> None:
    """What provably was not sent is sent again, for five minutes."""
    await stored.submit("Checkout", "Wishlist")
    worker = stored.worker(client)
    real = worker.operation
    failures = 3

    async def failing(*args: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise NotSentError("not sent", method="POST", url=emulator.url)
        return await real(*args)

    setattr(worker, "operation", failing)  # noqa: B010
    await worker.perform(0, 0)
    assert emulator.count("run_feature") == 1
    failures = 1000
    await worker.perform(1, 0)
    items = await stored.items()
    assert [str(item.verdict) for item in items] == ["succeeded", "error"]
    assert await stored.turns.enqueue_failed() == ["Wishlist"]


async def test_a_database_that_fails_for_a_while(
    stored: Stored,
    client: Client,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is asked again until it answers; nothing is sent without a stored intent."""
    await stored.submit("Checkout")
    commit, failures = Store._commit, 2

    def failing(store: Store, works: list[Any]) -> list[Any]:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            with store.engine.begin() as connection:
                connection.exec_driver_sql("SELECT * FROM nothing")
        return commit(store, works)

    monkeypatch.setattr(Store, "_commit", failing)
    with caplog.at_level(logging.WARNING, "testvibe_async"):
        await stored.worker(client).perform(0, 0)
    assert "is asked again" in caplog.text
    assert await stored.verdicts() == ["succeeded"]
    assert emulator.count("run_feature") == 1


class TestOpenIntents:
    async def _cut_off(self, stored: Stored, emulator: Emulator) -> None:
        """Leave an intent open, as a killed worker does: nothing is noted after it."""
        async with client_of(emulator, timeout=2.0) as client:
            worker = stored.worker(client)

            async def dies(*_: Any) -> bool:
                await asyncio.sleep(1e6)
                return False

            setattr(worker, "answered", dies)  # noqa: B010
            task = asyncio.create_task(worker.perform(0, 0))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
        assert await stored.verdicts() == ["unknown"]

    async def test_what_began_is_adopted(
        self, stored: Stored, client: Client, emulator: Emulator
    ) -> None:
        """The next worker finds the run, and waits for it."""
        await stored.submit("Checkout")
        await self._cut_off(stored, emulator)
        await stored.worker(client).perform(0, 0)
        assert await stored.verdicts() == ["succeeded"]
        assert emulator.count("run_feature") == 1

    async def test_what_did_not_begin_is_dispatched(
        self, stored: Stored, client: Client, emulator: Emulator
    ) -> None:
        """Once a later run shows that nothing began, it is dispatched."""
        await stored.submit("Checkout")
        emulator.fail("run_feature", Fault.reset(), times=1)
        emulator.fail("list_runs", Fault.status(404), times=1)
        await self._cut_off(stored, emulator)
        await asyncio.sleep(60)
        await client.project().run_feature("Wishlist")
        await stored.worker(client).perform(0, 0)
        assert await stored.verdicts() == ["succeeded"]
        assert len(emulator.runs) == 2

    async def _unknown(self, stored: Stored, client: Client, emulator: Emulator) -> None:
        emulator.fail("run_feature", Fault.reset(), times=1)
        await self._cut_off(stored, emulator)
        await stored.worker(client).perform(0, 0)
        (item, *_) = await stored.items()
        assert isinstance(item.error, DispatchUnknownError)
        assert item.error.reason == "absent"

    async def test_what_nobody_can_say_is_asked_again_after_a_later_run(
        self, stored: Stored, client: Client, emulator: Emulator
    ) -> None:
        """It is enqueued again once another feature of the batch was dispatched, and only then."""
        await stored.submit("Checkout")
        await self._unknown(stored, client, emulator)
        assert await stored.turns.enqueue_absent() == []
        assert await stored.store.left() == 0
        assert await stored.turns.enqueue_failed() == ["Checkout"]
        assert stored.queue[-1] == (0, 1)

    async def test_the_last_one_is_held_back(
        self, stored: Stored, client: Client, emulator: Emulator
    ) -> None:
        """The last feature waits for open intents, and then shows that they did not begin."""
        await stored.submit("Checkout", "Wishlist")
        emulator.fail("run_feature", Fault.reset(), times=1)
        async with client_of(emulator, timeout=2.0) as first:
            worker = stored.worker(first)

            async def dies(*_: Any) -> bool:
                await asyncio.sleep(1e6)
                return False

            setattr(worker, "answered", dies)  # noqa: B010
            task = asyncio.create_task(worker.perform(0, 0))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
        worker = stored.worker(client)
        await asyncio.gather(worker.perform(0, 0), worker.perform(1, 0))
        assert (await stored.items())[0].verdict is Verdict.UNKNOWN
        assert await stored.turns.enqueue_absent() == ["Checkout"]
        await worker.perform(0, 1)
        assert await stored.verdicts() == ["succeeded"] * 2
        assert len(emulator.runs) == 2

    @pytest.mark.parametrize(
        ("decision", "verdict", "runs"), [("resend", "succeeded", 1), ("drop", "skipped", 0)]
    )
    async def test_decisions(  # noqa: PLR0913, PLR0917
        self,
        stored: Stored,
        client: Client,
        emulator: Emulator,
        decision: str,
        verdict: str,
        runs: int,
    ) -> None:
        """Somebody who knows better has it dispatched again, or left alone."""
        await stored.submit("Checkout")
        await self._unknown(stored, client, emulator)
        with pytest.raises(ConfigError, match="nothing of feature 'Returns' is unknown"):
            await stored.turns.decide(decision, "Returns")
        assert await stored.turns.decide(decision, "Checkout") == ["Checkout"]
        await stored.worker(client).perform(*stored.queue[-1])
        assert await stored.verdicts() == [verdict]
        assert len(emulator.runs) == runs

    async def test_a_run_that_somebody_names(
        self, stored: Stored, client: Client, emulator: Emulator
    ) -> None:
        """It is taken for the feature's, and waited for."""
        await stored.submit("Checkout")
        await self._unknown(stored, client, emulator)
        run = await client.project().run_feature("Checkout")
        await stored.turns.decide(run.ref, None)
        await stored.worker(client).perform(*stored.queue[-1])
        assert [item.ref for item in await stored.items()] == [run.ref]

    async def test_a_wrong_run_that_somebody_names(
        self, stored: Stored, client: Client, emulator: Emulator
    ) -> None:
        """A run of another feature leaves it unknown, and the right one can be named then."""
        await stored.submit("Checkout")
        await self._unknown(stored, client, emulator)
        elsewhere = RunRef(server=emulator.url, project="other", run_id=1)
        with pytest.raises(ConfigError, match="same project"):
            await stored.turns.decide(elsewhere, None)
        wrong = await client.project().run_feature("Returns")
        await stored.turns.decide(wrong.ref, None)
        await stored.worker(client).perform(*stored.queue[-1])
        assert await stored.verdicts() == ["unknown"]
        run = await client.project().run_feature("Checkout")
        await stored.turns.decide(run.ref, None)
        await stored.worker(client).perform(*stored.queue[-1])
        assert await stored.verdicts() == ["succeeded"]

    async def test_an_answer_that_comes_late(
        self, stored: Stored, caplog: pytest.LogCaptureFixture, client: Client
    ) -> None:
        """A run that is told of after the decision is logged with its ref."""
        await stored.submit("Checkout")
        worker = stored.worker(client)
        intended = worker.intended

        async def decided(place: int, holder: str, intent: Intent) -> None:
            await intended(place, holder, intent)
            await stored.store.note_result(intent, None)

        setattr(worker, "intended", decided)  # noqa: B010
        with caplog.at_level(logging.WARNING, "testvibe_async"):
            await worker.perform(0, 0)
        assert '"testvibe": "run"' in caplog.text


async def test_adopting_several(stored: Stored, client: Client, emulator: Emulator) -> None:
    """A ref is of one dispatch."""
    await stored.submit("Checkout", "Wishlist")
    emulator.fail("run_feature", Fault.lost())
    emulator.fail("list_runs", Fault.status(404))
    worker = stored.worker(client)
    await asyncio.gather(worker.perform(0, 0), worker.perform(1, 0))
    assert await stored.verdicts() == ["unknown"] * 2
    ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=1)
    with pytest.raises(ConfigError, match="2 are unknown: name the feature"):
        await stored.turns.decide(ref, None)


async def test_a_generation_that_failed_is_not_paid_for_again(
    stored: Stored, client: Client, emulator: Emulator
) -> None:
    """Whichever process goes on: the generation of missing tests is the feature's own."""
    emulator.add_feature("Doomed", status="draft")
    await stored.submit("Doomed", on_conflict="generate")
    first = stored.worker(client)
    task = asyncio.create_task(first.perform(0, 0))
    await asyncio.sleep(10)
    await first.aclose()
    assert task.cancelled()
    emulator.finish_generation(next(iter(emulator.generations)), "failed")
    async with client_of(emulator) as other:
        await stored.worker(other).perform(0, 0)
    assert len(emulator.generations) == 1
    (item,) = await stored.items()
    assert isinstance(item.error, FeatureNotGeneratedError)


async def test_what_is_refused_as_one_too_many_is_sent_again(
    stored: Stored, emulator: Emulator
) -> None:
    """A service that takes no more at the moment is waited for, as one that is away."""
    emulator.fail("run_feature", Fault.status(429, retry_after=5), times=10)
    await stored.submit("Checkout")
    async with client_of(emulator) as client:
        await stored.worker(client).perform(0, 0)
    assert await stored.verdicts() == ["succeeded"]
