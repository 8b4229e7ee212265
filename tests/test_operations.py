"""What an operation promises, on virtual time and over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import json
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from attrs import evolve

from tests.conftest import client_of
from testvibe_async import (
    Client,
    ClientClosedError,
    ConfigError,
    ConflictError,
    ForbiddenError,
    GenerationRef,
    Hooks,
    MalformedResponseError,
    ObservationError,
    Operation,
    OperationNotFoundError,
    OperationSupersededError,
    Phase,
    PollFailed,
    RetryPolicy,
    Run,
    RunRef,
    ServerError,
    Transition,
    UnauthorizedError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.testing import Emulator, Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from testvibe_async import Project, RunOperation
    from testvibe_async._wire.endpoints import Request
    from testvibe_async._wire.protocol import Response
    from testvibe_async.errors import OperationRef

RUN_SECONDS = 30.0


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """Every run queues for 5 s, executes for 25 s and passes; every generation takes 100 s."""
    scenario = Scenario(
        run_queue=(5, 5),
        run_duration=(25, 25),
        failing_runs=0,
        generation_warm_up=(20, 20),
        generation_section=(35, 35),
        verification=(10, 10),
        failing_generations=0,
    )
    async with Emulator(scenario=scenario) as emulator:
        emulator.add_feature("Draft", status="draft")
        yield emulator


@pytest.fixture
async def operation(project: Project) -> RunOperation:
    return await project.run_feature("Checkout")


def now() -> float:
    return asyncio.get_running_loop().time()


async def statuses(operation: Operation[Any]) -> list[tuple[Phase, str | None]]:
    return [(change.phase, change.status) async for change in operation]


def a_task(operation: Operation[Run]) -> asyncio.Task[Run]:
    return asyncio.ensure_future(operation.wait())


class TestAwaiting:
    async def test_a_run_is_awaited_to_its_outcome(self, operation: RunOperation) -> None:
        """Awaiting returns the digest, soon after the run ended."""
        run = await operation

        assert run.is_success
        assert operation.done
        assert operation.outcome is run
        assert RUN_SECONDS <= now() <= RUN_SECONDS + 3

    async def test_a_failed_run_is_a_result(self, emulator: Emulator, project: Project) -> None:
        """A run that failed is returned, not raised."""
        operation = await project.run_feature("Checkout")
        emulator.finish_run(operation.run_id, "failed")

        run = await operation

        assert run.status == "failed"
        assert run.failures
        assert run.log

    async def test_awaiting_again_costs_nothing(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A terminal state is kept for good: no request, no time, the same value."""
        first = await operation
        asked, at = len(emulator.requests), now()

        assert await operation is first
        assert await operation.poll() is first
        assert await operation.wait(timeout=1) is first
        assert (len(emulator.requests), now()) == (asked, at)

    async def test_a_terminal_state_outlives_the_client(self, emulator: Emulator) -> None:
        """What is known to be over can be read after the client is closed."""
        async with client_of(emulator) as client:
            operation = await client.project().run_feature("Checkout")
            run = await operation

        assert await operation is run

    async def test_ten_waiters_and_three_iterators_cost_one_stream_of_polls(
        self, emulator: Emulator, operation: RunOperation, client: Client
    ) -> None:
        """Any number of waits on one operation cost as many polls as a single wait."""
        handles = [client.attach(operation.ref) for _ in range(5)]
        single = await client.project().run_feature("Returns")
        waits = [a_task(handle) for handle in (*handles, *handles)]
        iterations = [asyncio.ensure_future(statuses(handle)) for handle in handles[:3]]
        await single
        runs = await asyncio.gather(*waits)
        histories = await asyncio.gather(*iterations)

        assert len({id(run) for run in runs}) == 1
        assert [len(history) for history in histories] == [3, 3, 3]
        polls_of_one = emulator.count("get_run", run_id=single.run_id)
        assert 10 <= polls_of_one <= 11
        assert emulator.count("get_run", run_id=operation.run_id) == polls_of_one

    async def test_two_handles_of_one_ref_share_a_state(
        self, client: Client, operation: RunOperation
    ) -> None:
        """What one handle saw, the other knows."""
        other = client.attach(operation.ref)
        await operation

        assert other is not operation
        assert other.outcome is operation.outcome


class TestTimeouts:
    async def test_a_timeout_is_not_a_failure(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """The wait ends with the ref and the status; the run goes on, and so does a later wait."""
        with pytest.raises(WaitTimeoutError) as caught:
            await operation.wait(timeout=10)

        assert isinstance(caught.value, TimeoutError)
        assert caught.value.ref == operation.ref
        assert caught.value.status == "running"
        assert caught.value.elapsed == pytest.approx(10)
        assert emulator.count("cancel_generation") == 0
        assert (await operation).is_success

    async def test_the_message_says_what_to_do(self, operation: RunOperation) -> None:
        """The message names the operation, how it stands, and that a later wait goes on."""
        with pytest.raises(
            WaitTimeoutError, match=r"run \d+ is still running after 1 s.*wait again"
        ):
            await operation.wait(timeout=1)

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
    async def test_a_timeout_must_be_seconds(self, operation: RunOperation, timeout: Any) -> None:
        """What is no number of seconds above 0 is refused at once."""
        with pytest.raises(ValueError, match="timeout must be a number of seconds above 0"):
            await operation.wait(timeout=timeout)

    async def test_a_foreign_timeout_is_left_alone(self, operation: RunOperation) -> None:
        """asyncio.timeout around an await gives asyncio's own TimeoutError."""
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(5):
                await operation

        assert not isinstance(caught.value, WaitTimeoutError)


class TestCancelling:
    async def test_a_cancelled_waiter_takes_away_only_itself(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """One of two waits is cancelled; the other gets the outcome at the usual time."""
        lost, kept = a_task(operation), a_task(operation)
        await asyncio.sleep(4)
        lost.cancel()

        with pytest.raises(asyncio.CancelledError):
            await lost
        assert (await kept).is_success
        assert now() < RUN_SECONDS + 3
        assert emulator.count("get_run") in {10, 11}

    async def test_nobody_waiting_means_no_polls(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """Polling ends with the last wait, and begins again with the next."""
        wait = a_task(operation)
        await asyncio.sleep(4)
        wait.cancel()
        await asyncio.sleep(0)
        asked = emulator.count("get_run")
        await asyncio.sleep(20)

        assert emulator.count("get_run") == asked
        assert (await operation).is_success

    async def test_a_dispatch_alone_costs_no_polls(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """An operation that nobody waits for is not looked at."""
        await asyncio.sleep(60)

        assert emulator.count("get_run") == 0
        assert (operation.status, operation.phase) == ("running", "queued")

    async def test_an_end_at_the_very_moment_of_the_timeout(
        self, emulator: Emulator, project: Project, operation: RunOperation
    ) -> None:
        """A wait whose time runs out in the same turn in which the end is seen returns it."""
        emulator.finish_run(operation.run_id)
        digest = await project.get_run(operation.run_id)
        loop = asyncio.get_running_loop()
        loop.call_later(2, lambda: operation._state.accept(digest, ticket=1, now=loop.time()))

        assert (await operation.wait(timeout=2)).is_success

    async def test_a_wait_that_is_cancelled_and_told_at_once_is_cancelled(
        self, operation: RunOperation
    ) -> None:
        """Cancelling wins over an error that comes in the same turn, and nothing is left over."""
        wait = a_task(operation)
        await asyncio.sleep(1)
        wait.cancel()
        operation._state.tell(ObservationError("a test", ref=operation.ref))

        with pytest.raises(asyncio.CancelledError):
            await wait


class TestPolling:
    async def test_a_poll_looks_once(self, emulator: Emulator, operation: RunOperation) -> None:
        """poll() asks once and returns what it saw."""
        await asyncio.sleep(10)
        run = await operation.poll()

        assert run.phase is Phase.ACTIVE
        assert operation.snapshot is run
        assert operation.observed_at is not None
        assert emulator.count("get_run") == 1

    async def test_a_poll_that_fails_says_why(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A look that fails is an ObservationError with the ref, caused by what came."""
        emulator.fail("get_run", Fault.status(500))

        with pytest.raises(ObservationError) as caught:
            await operation.poll()

        assert caught.value.ref == operation.ref
        assert isinstance(caught.value.__cause__, ServerError)

    @pytest.mark.parametrize("status", [401, 404, 500])
    async def test_an_error_of_a_poll_is_not_its_own_cause(
        self, emulator: Emulator, operation: RunOperation, status: int
    ) -> None:
        """Who walks through the causes of what poll() raised comes to an end."""
        emulator.fail("get_run", Fault.status(status))

        with pytest.raises((ObservationError, UnauthorizedError)) as caught:
            await operation.poll()

        causes: list[BaseException] = [caught.value]
        while (cause := causes[-1].__cause__) is not None:
            assert cause not in causes
            causes.append(cause)

    async def test_what_this_release_does_not_know_is_as_fresh_as_the_rest(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A look in which nothing but an unknown field differs is no change, and yet is kept."""
        await operation.poll()
        emulator.fail("get_run", Fault.edit(lambda run: run | {"load": 0.5}), times=1)
        changes = operation.updates()
        await anext(changes)
        following = asyncio.ensure_future(anext(changes))

        seen = await operation.poll()

        assert seen.extra == {"load": 0.5}
        assert operation.snapshot is seen
        assert not following.done()
        following.cancel()

    async def test_a_look_that_shows_nothing_new_is_an_observation(
        self, operation: RunOperation
    ) -> None:
        """`observed_at` moves on where the same answer comes again."""
        seen = await operation.poll()
        long_ago = datetime(2026, 1, 1, tzinfo=UTC)
        operation._state.observed_at = long_ago

        assert await operation.poll() is seen
        assert operation.observed_at is not None
        assert operation.observed_at > long_ago

    async def test_a_poll_of_what_is_unknown(self, client: Client, emulator: Emulator) -> None:
        """A look at a run that the service does not know says so."""
        ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=99999)

        with pytest.raises(OperationNotFoundError):
            await client.attach(ref).poll()

    async def test_an_older_answer_never_overwrites_a_newer_one(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A look that was answered late, by a look that began after it, changes nothing."""
        await asyncio.sleep(1)
        emulator.fail("get_run", Fault.delay(20), times=1)
        emulator.fail("get_run", Fault.edit(lambda run: run | {"status": "old"}), times=1)
        late = asyncio.ensure_future(operation.poll())
        await asyncio.sleep(7)
        newer = await operation.poll()
        assert newer.phase is Phase.ACTIVE

        seen_late = await late

        assert seen_late is newer
        assert operation.status == "running"

    async def test_an_end_that_comes_late_is_the_end(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """An answer that was overtaken by a newer one still counts where it tells of the end."""
        end = {"status": "passed", "finishedUtc": "2026-06-10T14:32:07Z"}
        emulator.fail("get_run", Fault.delay(10), times=1)
        emulator.fail("get_run", Fault.edit(lambda run: run | end), times=1)
        late = asyncio.ensure_future(operation.poll())
        await asyncio.sleep(1)
        assert not (await operation.poll()).is_finished

        assert (await late).is_success
        assert operation.done

    async def test_nothing_overwrites_a_terminal_state(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """Even a look that began later changes nothing once the end was seen."""
        emulator.finish_run(operation.run_id)
        emulator.fail("get_run", Fault.delay(1), times=1)
        end = asyncio.ensure_future(operation.poll())
        await asyncio.sleep(0.5)
        emulator.fail("get_run", Fault.delay(5), times=1)
        emulator.fail("get_run", Fault.edit(lambda run: run | {"status": "running"}), times=1)
        later = asyncio.ensure_future(operation.poll())
        run = await end

        assert run.is_success
        assert await later is run
        assert operation.outcome is run


class TestIterating:
    async def test_transitions_come_in_order(self, operation: RunOperation) -> None:
        """The present one first, each change of phase or status once, ending with the last."""
        assert await statuses(operation) == [
            (Phase.QUEUED, "running"),
            (Phase.ACTIVE, "running"),
            (Phase.FINISHED, "passed"),
        ]

    async def test_the_dispatch_itself_has_no_snapshot(self, operation: RunOperation) -> None:
        """The first transition of a new operation tells no more than the dispatch did."""
        changes = [change async for change in operation]

        assert changes[0].snapshot is None
        assert changes[-1].snapshot is operation.outcome
        assert changes[0].observed_at <= changes[-1].observed_at

    async def test_what_is_over_gives_its_last_transition_alone(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """Iterating over a finished operation yields the end, and asks nothing."""
        await operation
        asked = len(emulator.requests)

        assert await statuses(operation) == [(Phase.FINISHED, "passed")]
        assert len(emulator.requests) == asked

    async def test_an_attached_operation_is_seen_first(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """Where nothing is known yet, the first transition is the first look's."""
        async with client_of(emulator) as other:
            attached = other.attach(operation.ref)
            assert (attached.status, attached.phase, attached.snapshot) == (None, None, None)

            changes = [change async for change in attached]

        assert changes[0].snapshot is not None
        assert [change.phase for change in changes] == ["queued", "active", "finished"]

    async def test_leaving_early_ends_the_polling(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """An iterator that was dropped asks for no more looks."""
        async for change in operation:
            if change.phase is Phase.ACTIVE:
                break
        asked = emulator.count("get_run")
        await asyncio.sleep(60)

        assert emulator.count("get_run") == asked

    async def test_an_iteration_may_go_while_a_change_is_told(
        self, operation: RunOperation
    ) -> None:
        """The garbage collector may take one away just then; the others hear of the change."""
        heard: list[str] = []

        class Leaver:
            is_following = True

            def observed(self, state: Any, *, is_transition: bool) -> None:
                heard.append(f"{state.phase} {is_transition}")
                state.unwatch(self)

            def failed(self, state: Any, error: VibeError) -> None:  # noqa: ARG002
                raise error

        for _ in range(3):
            operation._state.watch(Leaver())
        await asyncio.sleep(6)
        await operation.poll()

        assert heard == ["active True"] * 3

    async def test_the_last_of_several_ends_the_polling(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """Of three waits that are cancelled the last one asks for no more looks, none before."""
        waits = [asyncio.ensure_future(operation.wait()) for _ in range(3)]
        asked: list[int] = []
        for wait in waits:
            await asyncio.sleep(4)
            asked.append(emulator.count("get_run"))
            wait.cancel()
        await asyncio.sleep(60)

        assert 0 < asked[0] < asked[1] < asked[2] == emulator.count("get_run")

    async def test_closing_ends_the_polling(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """aclosing() works on an iteration, and a closed one ends."""
        changes: Any = operation.updates()
        async with aclosing(changes):
            await anext(changes)
        await asyncio.sleep(60)

        assert emulator.count("get_run") == 0
        with pytest.raises(StopAsyncIteration):
            await anext(changes)

    async def test_closing_wakes_the_task_that_waits(self, operation: RunOperation) -> None:
        """aclose() ends an iteration for the task that waits for its next change, at once."""
        changes = aiter(operation)
        await anext(changes)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(1)

        await changes.aclose()

        with pytest.raises(StopAsyncIteration):
            await waiting
        assert now() == 1

    async def test_closing_drops_what_was_not_taken(self, operation: RunOperation) -> None:
        """After aclose() an iteration yields nothing more, not even what had come before."""
        changes = aiter(operation)
        await anext(changes)
        await operation

        await changes.aclose()

        assert [change async for change in changes] == []

    async def test_a_slow_consumer_misses_nothing(self, operation: RunOperation) -> None:
        """Transitions are kept for a body that takes its time."""
        seen: list[Phase] = []
        async for change in operation:
            seen.append(change.phase)
            await asyncio.sleep(40)

        assert seen == ["queued", "active", "finished"]

    async def test_a_cancelled_step_can_be_taken_again(self, operation: RunOperation) -> None:
        """Cancelling the wait for the next transition loses none."""
        changes = aiter(operation)
        await anext(changes)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(changes)

        assert (await anext(changes)).phase is Phase.ACTIVE

    async def test_two_tasks_on_one_iteration_are_told(self, operation: RunOperation) -> None:
        """One iteration serves one task; a second is told so, and the first goes on."""
        changes = aiter(operation)
        await anext(changes)
        first = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)

        with pytest.raises(RuntimeError, match="give each its own"):
            await anext(changes)
        assert (await first).phase is Phase.ACTIVE

    async def test_updates_tell_of_sections(self, project: Project) -> None:
        """updates() yields every change that is seen, also where phase and status stay."""
        generation = await project.generate_feature("Draft")

        updates: list[Transition[Any]] = [change async for change in generation.updates()]
        sections = [
            [section.status for section in change.snapshot.sections]
            for change in updates
            if change.snapshot is not None
        ]

        assert [change.status for change in updates[-2:]] == ["generating", "generated"]
        assert sections[0] == ["queued"]
        assert ["in_progress"] in sections
        assert len(updates) > len([change async for change in generation]) + 2

    async def test_an_iteration_raises_what_a_wait_raises(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """An iteration ends with the error where the operation can't be observed."""
        changes = aiter(operation)
        await anext(changes)
        emulator.fail("get_run", Fault.status(401))

        with pytest.raises(UnauthorizedError):
            await anext(changes)
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


class TestObserving:
    async def test_500s_for_two_minutes_are_borne(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A service that fails for two minutes is waited out."""
        emulator.fail("get_run", Fault.status(500), when=lambda _: now() < 120)

        assert (await operation).is_success
        assert 120 <= now() <= 155

    async def test_an_outage_ends_the_wait_and_not_the_operation(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """After max_outage the wait is told, and a later one looks again."""
        outage = emulator.fail("get_run", Fault.status(503))

        with pytest.raises(ObservationError, match="nothing but failures") as caught:
            await operation

        assert 300 <= now() <= 345
        assert caught.value.ref == operation.ref
        assert isinstance(caught.value.__cause__, ServerError)
        assert not operation.done
        outage.remove()
        assert (await operation).is_success

    async def test_failures_before_a_pause_do_not_count(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A new wait, long after one that saw only failures, gets its full max_outage."""
        outage = emulator.fail("get_run", Fault.status(500))
        with pytest.raises(WaitTimeoutError):
            await operation.wait(timeout=20)
        await asyncio.sleep(600)
        wait = a_task(operation)
        await asyncio.sleep(20)
        outage.remove()

        assert (await wait).is_success

    async def test_failures_are_not_hammered(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """The poller backs off while it sees nothing but failures."""
        emulator.fail("get_run", Fault.status(500))

        with pytest.raises(ObservationError):
            await operation

        at = [request.at for request in emulator.requests if request.operation == "get_run"]
        gaps = [later - earlier for earlier, later in pairwise(at)]
        assert len(at) < 20
        assert gaps == pytest.approx([6, 12, 24, *[30] * (len(gaps) - 3)], abs=0.5)

    async def test_every_waiter_gets_an_error_of_its_own(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """No two waits share an exception, nor its traceback."""
        emulator.fail("get_run", Fault.status(403))

        first, second = await asyncio.gather(
            operation.wait(), operation.wait(), return_exceptions=True
        )

        assert isinstance(first, ForbiddenError)
        assert isinstance(second, ForbiddenError)
        assert first is not second
        assert first.__traceback__ is not second.__traceback__

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_refused_key_is_told_at_once(
        self, emulator: Emulator, operation: RunOperation, status: int
    ) -> None:
        """401 and 403 end the wait at the first look, with the ref."""
        emulator.fail("get_run", Fault.status(status), times=1)

        with pytest.raises((UnauthorizedError, ForbiddenError)) as caught:
            await operation

        assert emulator.count("get_run") == 1
        assert caught.value.ref == operation.ref
        assert (await operation).is_success

    async def test_a_session_that_was_closed_is_told_at_once(self, emulator: Emulator) -> None:
        """A wait whose client was given a session ends at the first look after its close."""
        session = aiohttp.ClientSession()
        async with client_of(emulator, session=session) as client:
            operation = await client.project().run_feature("Checkout")
            await session.close()

            with pytest.raises(ConfigError, match=r"session .* is closed") as caught:
                await operation

        assert caught.value.ref == operation.ref
        assert now() < 4

    @pytest.mark.parametrize(
        "fault",
        [
            Fault.body(b"<html>bad gateway</html>", content_type="text/html"),
            Fault.body(b"{}"),
            Fault.body(b'{"runId": 1, "status": "passed"}'),
            Fault.body(b'{"runId": 214, "status": 7}'),
            Fault.garbage(),
            Fault.truncated(),
            Fault.reset(),
            Fault.status(429),
            Fault.status(418),
            Fault.status(302),
        ],
    )
    async def test_a_look_that_shows_nothing_is_borne(
        self, emulator: Emulator, operation: RunOperation, fault: Fault
    ) -> None:
        """Whatever comes in place of an answer, the next look goes on."""
        rule = emulator.fail("get_run", fault, times=2)

        assert (await operation).is_success
        assert rule.hits == 2

    async def test_an_unreadable_answer_harms_no_neighbour(
        self, emulator: Emulator, operation: RunOperation, client: Client
    ) -> None:
        """What can't be decoded is one operation's trouble."""
        neighbour = await client.project().run_feature("Returns")
        bad = operation.run_id
        emulator.fail("get_run", Fault.body(b"["), when=lambda request: request.run_id == bad)

        results = await asyncio.gather(operation, neighbour, return_exceptions=True)

        assert isinstance(results[0], ObservationError)
        assert isinstance(results[0].__cause__, MalformedResponseError)
        assert isinstance(results[1], Run)
        assert emulator.count("get_run", run_id=neighbour.run_id) in {10, 11}

    async def test_an_unknown_status_is_not_the_end(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A status that is not documented is kept as it came, and polled on."""
        emulator.fail("get_run", Fault.edit(lambda run: run | {"status": "paused"}), times=1)

        assert await statuses(operation) == [
            (Phase.QUEUED, "running"),
            (Phase.QUEUED, "paused"),
            (Phase.ACTIVE, "running"),
            (Phase.FINISHED, "passed"),
        ]

    async def test_an_unknown_status_with_an_end_is_the_end(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A status that is not documented is terminal once `finishedUtc` is set."""
        over = {"status": "expired", "finishedUtc": "2026-06-10T16:02:54Z"}
        emulator.fail("get_run", Fault.edit(lambda run: run | over))

        run = await operation

        assert (run.status, run.phase) == ("expired", "finished")

    async def test_an_unknown_conclusion_ends_a_generation(
        self, emulator: Emulator, project: Project
    ) -> None:
        """An unknown status of a generation is terminal once `overallConclusion` is set."""
        over = {"featureStatus": "timed_out", "overallConclusion": "timed_out"}
        emulator.fail("get_generation_status", Fault.edit(lambda status: status | over), skip=1)

        generation = await (await project.generate_feature("Draft"))

        assert (generation.status, generation.phase) == ("timed_out", "finished")

    async def test_a_404_heals_within_the_grace(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A run that the service does not know yet is asked for again."""
        emulator.fail("get_run", Fault.status(404), when=lambda _: now() < 10)

        assert (await operation).is_success

    async def test_a_404_that_stays_is_told_after_the_grace(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """After 10 s the service's word is taken; a later wait asks again."""
        gone = emulator.fail("get_run", Fault.status(404))

        with pytest.raises(OperationNotFoundError) as caught:
            await operation

        assert 12 <= now() <= 17
        assert caught.value.ref == operation.ref
        gone.remove()
        assert (await operation).is_success

    async def test_what_was_dispatched_just_now_elsewhere_has_the_grace(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A ref that says that it is new is borne with, as the service may not know it yet."""
        emulator.fail("get_run", Fault.status(404), times=2)
        async with client_of(emulator) as other:
            assert (await other.attach(operation.ref)).is_success

    async def test_what_was_attached_and_seen_has_the_grace(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """An attached run that was seen once may be missing for a moment, as one of our own."""
        async with client_of(emulator) as other:
            attached = other.attach(operation.ref)
            await attached.poll()
            emulator.fail("get_run", Fault.status(404), times=2)

            assert (await attached).is_success

    async def test_what_nobody_ever_saw_has_no_grace(
        self, emulator: Emulator, client: Client
    ) -> None:
        """An attached run that the service does not know is told at the first look."""
        ref = RunRef(server=emulator.url, project=emulator.project_id, run_id=99999)

        with pytest.raises(OperationNotFoundError):
            await client.attach(ref)

        assert emulator.count("get_run") == 1
        assert now() < 1

    async def test_a_failed_look_is_told_to_the_hook(self, emulator: Emulator) -> None:
        """on_poll_failed hears of each look that failed, and whether the waits were told."""
        heard: list[PollFailed] = []
        async with client_of(emulator, hooks=Hooks(on_poll_failed=heard.append)) as client:
            operation = await client.project().run_feature("Checkout")
            emulator.fail("get_run", Fault.status(500), times=2)
            emulator.fail("get_run", Fault.status(401), times=1)
            with pytest.raises(UnauthorizedError):
                await operation

        assert [event.is_final for event in heard] == [False, False, True]
        assert {event.ref for event in heard} == {operation.ref}


class TestGenerations:
    async def test_a_generation_is_awaited(self, emulator: Emulator, project: Project) -> None:
        """Awaiting a generation returns its last status."""
        operation = await project.generate_feature("Draft")

        generation = await operation

        assert generation.is_success
        assert generation.request_id == operation.request_id
        assert operation.feature_id == generation.feature_id
        assert not operation.adopted
        assert emulator.features["Draft"].status == "generated"

    async def test_polls_slow_down_with_age(self, emulator: Emulator, project: Project) -> None:
        """A generation is looked at every 3 s at first, and never less than every 10 s."""
        operation = await project.generate_feature("Draft")
        with pytest.raises(WaitTimeoutError):
            await operation.wait(timeout=65)
        at = [r.at for r in emulator.requests if r.operation == "get_generation_status"][1:]
        gaps = [later - earlier for earlier, later in pairwise(at)]

        assert gaps[0] == pytest.approx(3, abs=0.3)
        assert max(gaps) < 4

    async def test_the_previous_generations_status_is_not_ours(
        self, emulator: Emulator, project: Project
    ) -> None:
        """While ours is new, a status of the one before it is waited out."""
        previous = {"requestId": "previous", "featureStatus": "generated"}
        emulator.fail(
            "get_generation_status",
            Fault.edit(lambda status: status | previous),
            when=lambda _: 0 < now() < 9,
        )
        operation = await project.generate_feature("Draft")

        assert await statuses(operation) == [
            (Phase.QUEUED, "generating"),
            (Phase.ACTIVE, "generating"),
            (Phase.FINISHED, "generated"),
        ]
        assert (await operation).request_id == operation.request_id

    async def test_a_poll_of_the_previous_one_says_so(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A look that shows only the generation before ours raises, and never returns it."""
        operation = await project.generate_feature("Draft")
        emulator.fail(
            "get_generation_status", Fault.edit(lambda status: status | {"requestId": "previous"})
        )

        with pytest.raises(ObservationError, match="still tells of the one before"):
            await operation.poll()

    async def test_superseded_before_it_was_seen(
        self, emulator: Emulator, project: Project
    ) -> None:
        """Another request id after the first 10 s means that ours was superseded."""
        operation = await project.generate_feature("Draft")
        emulator.fail(
            "get_generation_status", Fault.edit(lambda status: status | {"requestId": "newer"})
        )

        with pytest.raises(OperationSupersededError) as caught:
            await operation

        assert 10 <= now() <= 16
        assert caught.value.newer_request_id == "newer"
        assert caught.value.ref == operation.ref

    async def test_superseded_after_it_was_seen(self, emulator: Emulator, project: Project) -> None:
        """Once ours was seen, another request id supersedes it at once."""
        operation = await project.generate_feature("Draft")
        await operation.poll()
        emulator.finish_generation(operation.request_id)
        await project.generate_feature("Draft")

        with pytest.raises(OperationSupersededError):
            await operation

        assert now() < 4

    async def test_a_status_without_a_request_id_can_not_be_told(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A status that does not say of which generation it tells is never taken for ours."""
        emulator.fail(
            "get_generation_status",
            Fault.edit(lambda status: {k: v for k, v in status.items() if k != "requestId"}),
            skip=1,
            times=9,
        )
        operation = await project.generate_feature("Draft")

        assert (await operation).request_id == operation.request_id

    async def test_cancelling(self, project: Project) -> None:
        """cancel() ends the generation at the service, and the operation sees it."""
        operation = await project.generate_feature("Draft")
        await operation.cancel()

        assert (await operation).status == "cancelled"

    async def test_cancelling_what_is_over_does_nothing(
        self, emulator: Emulator, project: Project
    ) -> None:
        """cancel() of a finished generation sends nothing."""
        operation = await project.generate_feature("Draft")
        await operation
        await operation.cancel()

        assert emulator.count("cancel_generation") == 0

    async def test_cancelling_never_hits_another(
        self, emulator: Emulator, project: Project
    ) -> None:
        """cancel() of a superseded generation leaves the newer one alone."""
        operation = await project.generate_feature("Draft")
        await operation.poll()
        emulator.finish_generation(operation.request_id)
        newer = await project.generate_feature("Draft")

        with pytest.raises(OperationSupersededError):
            await operation.cancel()

        assert emulator.count("cancel_generation") == 0
        assert (await newer).is_success

    async def test_cancelling_what_ends_meanwhile(
        self, emulator: Emulator, project: Project
    ) -> None:
        """A generation that ends between the look and the cancel is a conflict."""
        operation = await project.generate_feature("Draft")
        emulator.fail("cancel_generation", Fault.status(409))

        with pytest.raises(ConflictError):
            await operation.cancel()

    async def test_the_log_is_its_own(self, project: Project) -> None:
        """log() reads the log of this generation."""
        operation = await project.generate_feature("Draft")
        await operation

        log = await operation.log()

        assert log.request_id == operation.request_id
        assert log.sections[0].log

    async def test_the_log_of_another_is_refused(self, project: Project) -> None:
        """log() never returns the log of a newer generation."""
        operation = await project.generate_feature("Draft")
        await operation
        await project.generate_feature("Draft")

        with pytest.raises(OperationSupersededError):
            await operation.log()


class TestRefs:
    async def test_another_client_picks_it_up(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A ref that went through JSON is a handle in another client."""
        text = operation.ref.to_json()
        async with client_of(emulator) as other:
            attached = other.attach(RunRef.from_json(text))

            assert (await attached).run_id == operation.run_id
            assert attached.project == operation.project
            assert emulator.api_key not in text

    async def test_a_generation_is_picked_up(self, emulator: Emulator, project: Project) -> None:
        """A generation's ref finds it again by its request id."""
        operation = await project.generate_feature("Draft")
        async with client_of(emulator) as other:
            attached = other.attach(GenerationRef.from_json(operation.ref.to_json()))

            assert (await attached).is_success

    async def test_an_old_ref_has_no_first_seconds(self, project: Project, client: Client) -> None:
        """A generation attached long after its dispatch is superseded at the first look."""
        operation = await project.generate_feature("Draft")
        document = json.loads(operation.ref.to_json()) | {
            "request_id": "older",
            "dispatched_at": "2026-01-01T00:00:00+00:00",
        }

        with pytest.raises(OperationSupersededError):
            await client.attach(GenerationRef.from_json(json.dumps(document)))

        assert now() < 1

    @pytest.mark.parametrize("seconds", [-3600, -60, 0, 55])
    async def test_a_clock_that_differs_a_little_takes_no_first_seconds(
        self, emulator: Emulator, project: Project, seconds: float
    ) -> None:
        """A ref that seems up to a minute old may be new: the one before it is waited out."""
        operation = await project.generate_feature("Draft")
        dispatched_at = datetime.now(UTC) - timedelta(seconds=seconds)
        emulator.fail(
            "get_generation_status",
            Fault.edit(lambda status: status | {"requestId": "previous"}),
            times=2,
        )
        async with client_of(emulator) as other:
            attached = other.attach(evolve(operation.ref, dispatched_at=dispatched_at))

            assert (await attached).request_id == operation.request_id

    async def test_the_feature_id_is_learned(
        self, emulator: Emulator, operation: RunOperation
    ) -> None:
        """A run attached by its id alone knows its feature once it was seen."""
        ref = RunRef(server=emulator.url, project=operation.project, run_id=operation.run_id)
        async with client_of(emulator) as other:
            attached = other.attach(ref)

            assert attached.feature_id is None
            await attached.poll()
            assert attached.feature_id == operation.feature_id

    async def test_a_handle_names_itself(self, operation: RunOperation, client: Client) -> None:
        """The repr says what it is and how it stands, and holds no key."""
        assert repr(operation) == f"<RunOperation run {operation.run_id}: running>"
        ref = GenerationRef(server=client.server, project="p", request_id="r", feature_id=1)
        assert repr(client.attach(ref)).endswith("generation r of feature 1: not seen yet>")


class TestOutcomes:
    async def test_diagnosis_and_artifacts(self, emulator: Emulator, project: Project) -> None:
        """A run's handle leads to its diagnosis and its artifacts."""
        operation = await project.run_feature("Checkout")
        emulator.finish_run(operation.run_id, "failed")
        await operation

        diagnosis, artifacts = await operation.diagnose(), await operation.artifacts()

        assert diagnosis.run_id == operation.run_id
        assert diagnosis.failures
        assert {artifact.kind for artifact in artifacts} >= {"trace", "screenshot"}
        assert all(artifact.url for artifact in artifacts)


class TestMany:
    async def test_they_come_as_they_finish(self, emulator: Emulator, client: Client) -> None:
        """finished() yields operations in the order of their ends."""
        operations = [await client.project().run_feature("Checkout") for _ in range(3)]
        await operations[1].poll()
        emulator.finish_run(operations[2].run_id)
        await operations[2]

        order: list[Operation[Run]] = []
        async for operation in client.finished(operations):
            order.append(operation)
            if len(order) == 1:
                emulator.finish_run(operations[1].run_id)

        assert order == [operations[2], operations[1], operations[0]]

    async def test_what_has_ended_is_let_go(self, emulator: Emulator, client: Client) -> None:
        """Who keeps the outcomes alone, and not the operations, keeps nothing else of them."""
        operations = [await client.project().run_feature("Checkout") for _ in range(3)]
        refs = [operation.ref for operation in operations]
        finished = client.finished(operations)
        del operations

        emulator.finish_run(refs[1].run_id)
        outcome = (await anext(finished)).outcome
        await asyncio.sleep(3)

        assert outcome is not None
        assert outcome.run_id == refs[1].run_id
        assert [client._poller.knows(ref) for ref in refs] == [True, False, True]

    async def test_closing_while_many_begin_to_be_watched(
        self, emulator: Emulator, client: Client
    ) -> None:
        """Whoever closes finished() before it has begun with all leaves nothing watched."""
        refs = [
            RunRef(server=emulator.url, project=emulator.project_id, run_id=number)
            for number in range(1, 1301)
        ]
        operations = [client.attach(ref) for ref in refs]
        finished = client.finished(operations)
        first = asyncio.ensure_future(anext(finished))
        await asyncio.sleep(0)
        await finished.aclose()

        with pytest.raises(StopAsyncIteration):
            await first
        assert not any(operation._state.is_watched for operation in operations)

    async def test_many_are_watched_in_turns(self, emulator: Emulator, client: Client) -> None:
        """Beginning to wait for many lets others run, and goes on after a cancellation."""
        refs = [
            RunRef(server=emulator.url, project=emulator.project_id, run_id=number)
            for number in range(1, 1301)
        ]
        operations = [client.attach(ref) for ref in refs]
        finished = client.finished(operations)

        def watched() -> int:
            return sum(operation._state.is_watched for operation in operations)

        first = asyncio.ensure_future(anext(finished))
        await asyncio.sleep(0)
        assert watched() == 500
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.ensure_future(anext(finished))
        for _ in range(3):
            await asyncio.sleep(0)
        assert watched() == 1300
        second.cancel()
        await asyncio.wait([second])
        await finished.aclose()
        assert watched() == 0

    async def test_the_outcomes_come_in_the_order_asked(self, client: Client) -> None:
        """gather() returns outcomes in the order of its arguments."""
        operations = [await client.project().run_feature("Checkout") for _ in range(3)]

        runs = await client.gather(*reversed(operations))

        assert [run.run_id for run in runs] == [op.run_id for op in reversed(operations)]

    async def test_none_are_no_trouble(self, client: Client) -> None:
        """Nothing to wait for is over at once."""
        none: list[RunOperation] = []

        assert await client.gather(*none) == []
        assert [operation async for operation in client.finished(none)] == []

    async def test_one_that_can_not_be_seen_is_raised_and_the_rest_goes_on(
        self, emulator: Emulator, client: Client
    ) -> None:
        """finished() raises for one, and the same iteration then yields the others."""
        bad, good = [await client.project().run_feature("Checkout") for _ in range(2)]
        emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)
        ends = client.finished([bad, good])

        with pytest.raises(ForbiddenError) as caught:
            await anext(ends)

        assert caught.value.ref == bad.ref
        assert [operation async for operation in ends] == [good]

    async def test_a_closed_client_is_told_once_for_each(self, emulator: Emulator) -> None:
        """finished() of a closed client's operations raises for each of them, and then ends."""
        async with client_of(emulator) as client:
            operations = [await client.project().run_feature("Checkout") for _ in range(3)]
        ends = client.finished(operations)
        refs: list[OperationRef | None] = []
        async with asyncio.timeout(60):
            for _ in operations:
                with pytest.raises(ClientClosedError) as caught:
                    await anext(ends)
                refs.append(caught.value.ref)

            assert [operation async for operation in ends] == []

        assert refs == [operation.ref for operation in operations]

    async def test_leaving_early_ends_the_polling_of_many(
        self, emulator: Emulator, client: Client
    ) -> None:
        """Dropping finished() asks for no more looks."""
        operations = [await client.project().run_feature("Checkout") for _ in range(3)]
        emulator.finish_run(operations[0].run_id)
        async for _ in client.finished(operations):
            break
        await asyncio.sleep(1)
        asked = emulator.count("get_run")
        await asyncio.sleep(60)

        assert emulator.count("get_run") == asked <= len(operations)

    async def test_two_tasks_on_one_iteration_of_many_are_told(self, client: Client) -> None:
        """One finished() serves one task; a second is told so, and the first goes on."""
        operations = [await client.project().run_feature("Checkout") for _ in range(2)]
        ends = client.finished(operations)
        first = asyncio.ensure_future(anext(ends))
        await asyncio.sleep(1)

        with pytest.raises(RuntimeError, match="give each its own"):
            await anext(ends)
        assert {id(await first), id(await anext(ends))} == set(map(id, operations))

    async def test_one_operation_twice_is_two_ends(
        self, client: Client, operation: RunOperation
    ) -> None:
        """An operation that was passed twice comes twice."""
        ends = client.finished([operation, operation])

        assert [end async for end in ends] == [operation, operation]

    async def test_a_closed_iteration_of_many_is_over(
        self, emulator: Emulator, client: Client
    ) -> None:
        """After aclose() of finished() there is no next one, and nobody waits for it."""
        operations = [await client.project().run_feature("Checkout") for _ in range(2)]
        emulator.finish_run(operations[0].run_id)
        ends = client.finished(operations)
        assert await anext(ends) is operations[0]

        await ends.aclose()

        assert [operation async for operation in ends] == []
        assert now() < 5

    async def test_a_kept_error_keeps_nobody_polled(
        self, emulator: Emulator, client: Client
    ) -> None:
        """What gather() raised can be kept, with its traceback, at no cost in looks."""
        bad, good = [await client.project().run_feature("Checkout") for _ in range(2)]
        emulator.fail("get_run", Fault.status(403), when=lambda r: r.run_id == bad.run_id)
        with pytest.raises(ForbiddenError) as kept:
            await client.gather(bad, good)
        await asyncio.sleep(1)
        asked = emulator.count("get_run")
        await asyncio.sleep(60)

        assert emulator.count("get_run") == asked
        assert kept.value.__traceback__ is not None

    async def test_a_cancelled_step_loses_no_end(self, client: Client) -> None:
        """A wait for the next end that is cancelled can be taken again."""
        operations = [await client.project().run_feature("Checkout") for _ in range(2)]
        ends = client.finished(operations)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await anext(ends)

        assert {id(operation) async for operation in ends} == set(map(id, operations))

    async def test_a_thousand_runs_at_once(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A thousand runs awaited at once all settle, and leave no task and no complaint."""
        problems: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: problems.append(context)
        )
        before = asyncio.all_tasks()
        async with client_of(emulator) as client:
            project = client.project()
            operations = await asyncio.gather(
                *(project.run_feature("Checkout") for _ in range(1000))
            )
            runs = await asyncio.gather(*operations)
        await asyncio.sleep(0)
        gc.collect()

        assert [run.run_id for run in runs] == [operation.run_id for operation in operations]
        assert all(run.is_success for run in runs)
        assert asyncio.all_tasks() - before == server_tasks(before)
        assert problems == []
        assert caplog.records == []


def server_tasks(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """The emulator's own tasks, one for each connection that is not closed yet."""
    return {
        task
        for task in asyncio.all_tasks() - before
        if "aiohttp/web" in task.get_coro().cr_code.co_filename  # type: ignore[union-attr]
    }


async def test_closing_the_ends_of_many_wakes_who_waits_for_the_next(client: Client) -> None:
    """A task that waits for the next end is over when somebody closes the iteration."""
    operations = [await client.project().run_feature("Checkout")]
    ends = client.finished(operations)
    waiting = asyncio.ensure_future(anext(ends, None))
    await asyncio.sleep(1)

    await ends.aclose()

    assert await waiting is None


class TestLateAnswers:
    async def test_an_older_answer_does_not_supersede(
        self, emulator: Emulator, client: Client, project: Project
    ) -> None:
        """What was asked before ours was seen, and tells of the one before it, comes too late."""
        before = await (await project.generate_feature("Draft"))
        operation = await project.generate_feature("Draft")
        stale = {
            "featureStatus": "generated",
            "requestId": before.request_id,
            "overallConclusion": "success",
        }
        emulator.fail(
            "get_generation_status", Fault.edit(lambda answer: {**answer, **stale}), times=1
        )
        hold_up_once(client, "get_generation_status", seconds=15)
        early = asyncio.ensure_future(operation.poll())
        wait = asyncio.ensure_future(operation.wait())
        await asyncio.sleep(4)
        assert operation.status == "generating"
        await asyncio.sleep(12)

        assert (await early).request_id == operation.request_id
        assert (await wait).request_id == operation.request_id

    async def test_a_look_that_fails_after_the_end_was_seen_fails_nobody(
        self, emulator: Emulator, client: Client, operation: RunOperation
    ) -> None:
        """Once it is over, no failure to see it counts."""
        heard: list[PollFailed] = []
        object.__setattr__(client._poller._hooks, "on_poll_failed", heard.append)
        emulator.fail("get_run", Fault.hang(), times=2)
        early = asyncio.ensure_future(operation.poll())
        wait = asyncio.ensure_future(operation.wait())
        await asyncio.sleep(5)
        emulator.finish_run(operation.run_id)
        outcome = await operation.poll()

        assert await early is outcome
        assert await wait is outcome
        await asyncio.sleep(100)
        assert heard == []

    async def test_a_list_does_not_change_when_the_end_was_seen(
        self, emulator: Emulator, client: Client, project: Project
    ) -> None:
        """A list that was asked before the end was seen says nothing about it."""
        operations = [await project.run_feature("Checkout") for _ in range(4)]
        gathering = asyncio.ensure_future(client.gather(*operations))
        await asyncio.sleep(8)
        await hold_up_once(client, "list_runs", seconds=2).wait()
        emulator.finish_run(operations[0].run_id)
        await operations[0].poll()
        seen_at = operations[0].observed_at
        await asyncio.sleep(2.5)

        assert operations[0].observed_at == seen_at
        await gathering

    async def test_looks_by_hand_that_fail_do_not_slow_a_wait(self, emulator: Emulator) -> None:
        """The intervals of a wait grow with its own failures, not with those of `poll`."""
        async with client_of(emulator, retry=RetryPolicy(attempts=1)) as client:
            operation = await client.project().run_feature("Checkout")
            wait = asyncio.ensure_future(operation.wait())
            await asyncio.sleep(22)
            outage = emulator.fail("get_run", Fault.status(500))
            for _ in range(7):
                await asyncio.sleep(0.5)
                with pytest.raises(ObservationError):
                    await operation.poll()
            outage.remove()
            await wait

        assert now() < 34


def hold_up_once(client: Client, name: str, *, seconds: float) -> asyncio.Event:
    """Let the next answer to an operation of the service come late; set when it was given."""
    send = client._transport._http.send
    is_given = asyncio.Event()
    names = [name]

    async def slow(request: Request[Any]) -> Response:
        if request.endpoint.name not in names:
            return await send(request)
        names.clear()
        response = await send(request)
        is_given.set()
        await asyncio.sleep(seconds)
        return response

    client._transport._http.send = slow  # type: ignore[method-assign]
    return is_given


class TestLettingGo:
    @pytest.mark.parametrize("way", ["iteration", "updates", "finished", "gather"])
    async def test_a_cancelled_task_that_is_kept_keeps_no_looks(
        self, emulator: Emulator, client: Client, operation: RunOperation, way: str
    ) -> None:
        """The traceback of a cancellation does not keep an iteration, and so no polling."""

        async def follow() -> None:
            if way == "gather":
                await client.gather(operation)
            elif way == "finished":
                async for _ in client.finished([operation]):
                    pass
            else:
                async for _ in operation if way == "iteration" else operation.updates():
                    pass

        task = asyncio.ensure_future(follow())
        await asyncio.sleep(4)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        gc.collect()
        await asyncio.sleep(0)
        asked = emulator.count("get_run")
        await asyncio.sleep(12)

        assert isinstance(result, asyncio.CancelledError)
        assert emulator.count("get_run") == asked

    async def test_an_iteration_may_be_closed_twice(self, operation: RunOperation) -> None:
        """The second time there is nothing left to end."""
        changes = aiter(operation)
        await anext(changes)
        await changes.aclose()
        await changes.aclose()

        assert not operation._state.is_watched
        assert [change async for change in changes] == []

    async def test_what_was_never_begun_is_let_go_of_as_well(
        self, client: Client, operation: RunOperation
    ) -> None:
        """Iterations that nobody asked for anything leave nothing behind."""
        unasked = client.finished([operation]), aiter(operation)
        del unasked
        gc.collect()

        assert not operation._state.is_watched
        assert (await operation).is_success

    async def test_an_iteration_that_is_deleted_is_let_go_of_soon(
        self, operation: RunOperation
    ) -> None:
        """The garbage collector may delete it in the midst of anything, so that is left alone."""
        changes = aiter(operation)
        await anext(changes)
        assert operation._state.is_watched

        del changes
        gc.collect()
        is_watched_then = operation._state.is_watched
        await asyncio.sleep(0)

        assert is_watched_then
        assert not operation._state.is_watched
