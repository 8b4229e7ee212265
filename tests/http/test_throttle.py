"""How many requests go at once, in which order, and when none does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.timing import now
from testvibe_async._http.throttle import Throttle
from testvibe_async.testing import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def slot(gate: Throttle, *, is_poll: bool = False) -> AsyncGenerator[None]:
    """Hold a turn for the body."""
    await gate.acquire(is_poll=is_poll)
    try:
        yield
    finally:
        gate.release()


class Traffic:
    """Requests through a gate, and what was seen of them."""

    def __init__(self, gate: Throttle, seconds: float = 1.0) -> None:
        self.gate = gate
        self.seconds = seconds
        self.began: dict[int, float] = {}
        self.at_once = self.most = 0

    async def pass_through(self, number: int, *, is_poll: bool = False) -> None:
        """Take a turn, and hold it for a while."""
        async with slot(self.gate, is_poll=is_poll):
            self.began[number] = now()
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(self.seconds)
            self.at_once -= 1


@pytest.mark.parametrize("slots", [1, 3, 10])
async def test_no_more_than_allowed_go_at_once(slots: int) -> None:
    """A gate lets exactly its number through at once, and the others as soon as one is out."""
    traffic = Traffic(Throttle(slots))
    await asyncio.gather(*(traffic.pass_through(number) for number in range(12)))
    assert traffic.most == min(slots, 12)
    assert now() == -(-12 // slots)


async def test_turns_are_taken_in_order() -> None:
    """Who came first goes first."""
    traffic = Traffic(Throttle(2))
    await asyncio.gather(*(traffic.pass_through(number) for number in range(7)))
    assert list(traffic.began) == list(range(7))


async def test_nothing_goes_through_while_resting() -> None:
    """A rest holds up whoever comes, for as long as it says, and not longer."""
    traffic = Traffic(Throttle(4))
    traffic.gate.pause(7.0)
    await asyncio.gather(traffic.pass_through(1), traffic.pass_through(2))
    assert traffic.began == {1: 7.0, 2: pytest.approx(7.2)}


async def test_a_rest_leaves_those_inside_alone() -> None:
    """Who is through already is not held up."""
    traffic = Traffic(Throttle(4))
    inside = asyncio.create_task(traffic.pass_through(1))
    await asyncio.sleep(0.5)
    traffic.gate.pause(60.0)
    await inside
    assert now() == 1.0


async def test_a_rest_holds_up_those_in_the_queue() -> None:
    """Who waits for a turn when the rest begins waits for its end too."""
    traffic = Traffic(Throttle(1))
    tasks = [asyncio.create_task(traffic.pass_through(number)) for number in range(2)]
    await asyncio.sleep(0.5)
    traffic.gate.pause(60.0)
    await asyncio.gather(*tasks)
    assert traffic.began == {0: 0.0, 1: 60.5}


@pytest.mark.parametrize(("first", "second"), [(10.0, 3.0), (3.0, 10.0)])
async def test_of_two_rests_the_longer_one_counts(first: float, second: float) -> None:
    """A shorter rest never ends a longer one, and a longer one holds up who already waits."""
    traffic = Traffic(Throttle(1))
    traffic.gate.pause(first)
    task = asyncio.create_task(traffic.pass_through(1))
    await asyncio.sleep(1.0)
    traffic.gate.pause(second)
    await task
    assert traffic.began == {1: max(first, 1.0 + second)}


async def test_a_shorter_rest_does_not_end_a_longer_one() -> None:
    """Who comes after a second rest, that is over before the first, waits for the first."""
    traffic = Traffic(Throttle(1))
    traffic.gate.pause(20.0)
    await asyncio.sleep(1.0)
    traffic.gate.pause(2.0)
    await traffic.pass_through(1)
    assert traffic.began == {1: 20.0}


async def test_a_rest_of_nothing_holds_up_nobody() -> None:
    """A rest of 0 s is none."""
    traffic = Traffic(Throttle(1))
    traffic.gate.pause(0.0)
    await traffic.pass_through(1)
    assert traffic.began == {1: 0.0}


async def test_a_failed_request_gives_its_turn_back() -> None:
    """An error in the body frees the place, and comes out as it is."""
    gate = Throttle(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with slot(gate):
                raise ZeroDivisionError
    await Traffic(gate).pass_through(1)


@pytest.mark.parametrize("is_resting", [False, True])
async def test_a_cancelled_request_gives_its_turn_back(*, is_resting: bool) -> None:
    """Cancelling who waits, in the queue or in a rest, takes no place away."""
    traffic = Traffic(Throttle(1))
    if is_resting:
        traffic.gate.pause(5.0)
    tasks = [asyncio.create_task(traffic.pass_through(number)) for number in range(3)]
    await asyncio.sleep(0.1)
    tasks[0].cancel()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert traffic.began[2] == (5.0 if is_resting else 0.1)


def test_a_gate_can_be_made_outside_an_event_loop() -> None:
    """Making a gate needs no event loop, and any one loop can use it afterwards."""
    gate = Throttle(1)

    async def use() -> None:
        async with slot(gate):
            await asyncio.sleep(0)

    asyncio.run(use())


async def test_a_rate_is_kept() -> None:
    """With a rate limit requests begin evenly spaced, however many may go at once."""
    traffic = Traffic(Throttle(50, rate_limit=4.0))
    await asyncio.gather(*(traffic.pass_through(number) for number in range(9)))
    assert list(traffic.began.values()) == pytest.approx([number / 4 for number in range(9)])


async def test_a_rest_holds_up_those_who_wait_for_their_start() -> None:
    """Who has a place already, and waits for the rate alone, does not begin during a rest."""
    traffic = Traffic(Throttle(50, rate_limit=0.5))
    tasks = [asyncio.create_task(traffic.pass_through(number)) for number in range(2)]
    await asyncio.sleep(1)
    traffic.gate.pause(10.0)
    await asyncio.gather(*tasks)
    assert traffic.began == {0: 0.0, 1: 11.0}


async def test_a_timer_that_is_late_does_not_slow_the_rate() -> None:
    """What a start is late is not taken from the next, which comes at its own time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.call_at(0.4, loop._jump, 0.2)  # something keeps the loop busy
    traffic = Traffic(Throttle(50, rate_limit=2.0))
    await asyncio.gather(*(traffic.pass_through(number) for number in range(4)))
    assert list(traffic.began.values()) == pytest.approx([0, 0.6, 1.0, 1.5])


async def test_looks_that_wait_for_the_rate_do_not_starve_a_call() -> None:
    """Where the rate is what is short the two lanes take turns too."""
    gate = Throttle(50, rate_limit=2.0)
    looks = Traffic(gate)
    waiting = [asyncio.create_task(looks.pass_through(n, is_poll=True)) for n in range(40)]
    await asyncio.sleep(0.1)

    calls = Traffic(gate)
    await calls.pass_through(0)
    await asyncio.gather(*waiting)

    assert calls.began == {0: 0.5}
    assert len(looks.began) == 40


async def test_a_rest_that_is_asked_for_as_a_turn_is_given_is_kept() -> None:
    """Who was let through and has not begun yet waits for the end of the rest, and goes first."""
    traffic = Traffic(Throttle(1))
    await traffic.gate.acquire()
    waiting = [asyncio.create_task(traffic.pass_through(number)) for number in range(2)]
    await asyncio.sleep(1)
    traffic.gate.release()
    traffic.gate.pause(5.0)
    await asyncio.gather(*waiting)

    assert traffic.began == {0: 6.0, 1: 7.0}


async def test_a_gate_that_opens_ends_a_rest() -> None:
    """Once the client closes, all who wait are let through, and so is whoever comes."""
    gate = Throttle(1, rate_limit=1.0)
    gate.pause(60.0)
    traffic = Traffic(gate, seconds=0.0)
    waiting = [asyncio.create_task(traffic.pass_through(number)) for number in range(5)]
    await asyncio.sleep(1)
    gate.close()
    await asyncio.gather(*waiting)

    assert set(traffic.began.values()) == {1.0}


async def test_who_is_cancelled_in_the_line_takes_nothing_of_the_rate() -> None:
    """However many give up while they wait for their start, the next begins when it may."""
    traffic = Traffic(Throttle(100, rate_limit=2.0))
    await traffic.pass_through(0)
    tasks = [asyncio.create_task(traffic.pass_through(number)) for number in range(1, 90)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await traffic.pass_through(90)
    assert traffic.began == {0: 0.0, 1: 1.0, 90: 1.5}


async def test_an_idle_time_earns_no_burst() -> None:
    """What was not used of a rate is not made up for later."""
    traffic = Traffic(Throttle(50, rate_limit=4.0))
    await traffic.pass_through(0)
    await asyncio.sleep(60)
    await asyncio.gather(*(traffic.pass_through(number) for number in range(1, 4)))
    assert list(traffic.began.values())[1:] == pytest.approx([61.0, 61.25, 61.5])


async def test_after_a_rest_the_rate_is_half_and_recovers() -> None:
    """Traffic of 100 a second comes back at 50 a second, and is itself again after 30 s."""
    gate = Throttle(10, rate_limit=None)
    began: list[float] = []

    async def one() -> None:
        async with slot(gate):
            began.append(now())

    async def steady(seconds: float) -> None:
        end = now() + seconds
        while now() < end:
            await one()
            await asyncio.sleep(0.01)

    await steady(20)
    gate.pause(5)
    rested_at = now()
    began.clear()
    await asyncio.gather(*(steady(50) for _ in range(4)))

    def in_second(number: int) -> int:
        begin = rested_at + 5 + number
        return sum(begin <= at < begin + 1 for at in began)

    assert in_second(0) == pytest.approx(50, abs=3)
    assert in_second(15) == pytest.approx(76, abs=4)
    assert in_second(29) == pytest.approx(99, abs=4)
    assert in_second(31) > 200


async def test_a_quiet_client_is_not_slowed_to_nothing() -> None:
    """Half of next to nothing is still 5 requests a second."""
    traffic = Traffic(Throttle(10), seconds=0.0)
    await traffic.pass_through(0)
    traffic.gate.pause(1)
    await asyncio.gather(*(traffic.pass_through(number) for number in range(1, 4)))
    assert list(traffic.began.values())[1:] == pytest.approx([1.0, 1.2, 1.4], abs=0.01)


async def test_a_second_rest_does_not_halve_the_half() -> None:
    """A rest that comes while another lasts is measured by the rate before both."""
    traffic = Traffic(Throttle(10), seconds=0.0)
    await asyncio.gather(*(traffic.pass_through(number) for number in range(1000)))
    for _ in range(3):
        traffic.gate.pause(5)
        await asyncio.sleep(1)
    assert traffic.gate._rate_before_pause == pytest.approx(100)


@pytest.mark.parametrize(("crowd", "single"), [(False, True), (True, False)])
async def test_neither_lane_starves_the_other(*, crowd: bool, single: bool) -> None:
    """One look among a hundred calls, or one call among a hundred looks, soon has its turn."""
    gate = Throttle(1)
    served: list[bool] = []

    async def pass_through(*, is_poll: bool) -> None:
        async with slot(gate, is_poll=is_poll):
            served.append(is_poll)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(pass_through(is_poll=crowd)) for _ in range(100)]
    await asyncio.sleep(2.5)
    tasks.append(asyncio.create_task(pass_through(is_poll=single)))
    await asyncio.gather(*tasks)
    assert served.index(single) <= 4


async def test_a_turn_that_was_just_given_is_passed_on_when_its_owner_is_cancelled() -> None:
    """Cancelling a request in the moment in which it gets its turn loses no place."""
    gate = Throttle(1)
    async with slot(gate):
        tasks = [asyncio.create_task(Traffic(gate).pass_through(number)) for number in range(2)]
        await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert tasks[0].cancelled()
    assert gate._free == 1


async def test_an_open_gate_holds_up_nobody() -> None:
    """When the client closes, all in the queue go on, to hear of it."""
    gate = Throttle(1)
    entered = 0

    async def pass_through() -> None:
        nonlocal entered
        async with slot(gate):
            entered += 1
            await asyncio.sleep(3600)

    tasks = [asyncio.create_task(pass_through()) for _ in range(5)]
    await asyncio.sleep(1)
    tasks[1].cancel()
    gate.close()
    await asyncio.sleep(0)
    assert entered == 4
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
