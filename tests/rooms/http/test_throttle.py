"""How many requests go at once, in which order, and when none does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.support.timing import now
from testvibe_async._core.http.throttle import Throttle


@asynccontextmanager
async def slot(throttle: Throttle, *, is_poll: bool = False) -> AsyncGenerator[None]:
    """Hold a slot for the body."""
    await throttle.acquire(is_poll=is_poll)
    try:
        yield
    finally:
        throttle.release()


def pause(throttle: Throttle, seconds: float) -> None:
    """Refuse as many requests as it takes for a pause of so many seconds."""
    for _ in range(3):
        throttle.refuse(seconds)


class Traffic:
    """Requests through a throttle, and what was seen of them."""

    def __init__(self, throttle: Throttle) -> None:
        self.throttle = throttle
        self.began: dict[int, float] = {}

    async def pass_through(self, number: int, *, is_poll: bool = False) -> None:
        """Take a slot, and hold it for a while."""
        async with slot(self.throttle, is_poll=is_poll):
            self.began[number] = now()
            await asyncio.sleep(1)
            self.throttle.accept(now())


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_cancelled_request_frees_its_slot(*, is_paused: bool) -> None:
    """Cancelling a request that waits, in the queue or in a pause, loses no slot."""
    traffic = Traffic(Throttle(1))
    if is_paused:
        pause(traffic.throttle, 5.0)
    tasks = [asyncio.create_task(traffic.pass_through(number)) for number in range(3)]
    await asyncio.sleep(0.1)
    tasks[0].cancel()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert traffic.began[2] == (5.0 if is_paused else 0.1)


async def test_a_rate_is_kept() -> None:
    """Requests begin evenly spaced, however many may go at once; unused rate is lost."""
    traffic = Traffic(Throttle(50, rate_limit=4.0))
    await asyncio.gather(*(traffic.pass_through(number) for number in range(9)))
    await asyncio.sleep(60)
    later = now()
    await asyncio.gather(*(traffic.pass_through(number) for number in range(9, 12)))
    expected = [*(number / 4 for number in range(9)), later, later + 0.25, later + 0.5]
    assert list(traffic.began.values()) == pytest.approx(expected)


async def test_a_pause_that_begins_as_a_slot_is_given_is_kept() -> None:
    """A request that got its slot right before a pause waits for its end, and goes first."""
    traffic = Traffic(Throttle(1))
    await traffic.throttle.acquire()
    waiting = [asyncio.create_task(traffic.pass_through(number)) for number in range(2)]
    await asyncio.sleep(1)
    traffic.throttle.release()
    pause(traffic.throttle, 5.0)
    await asyncio.gather(*waiting)

    assert traffic.began == {0: 6.0, 1: 7.0}


@pytest.mark.parametrize(("many", "single"), [(False, True), (True, False)])
async def test_neither_queue_starves_the_other(*, many: bool, single: bool) -> None:
    """One poll among a hundred calls, or one call among a hundred polls, soon gets a slot."""
    throttle = Throttle(1)
    served: list[bool] = []

    async def pass_through(*, is_poll: bool) -> None:
        async with slot(throttle, is_poll=is_poll):
            served.append(is_poll)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(pass_through(is_poll=many)) for _ in range(100)]
    await asyncio.sleep(2.5)
    tasks.append(asyncio.create_task(pass_through(is_poll=single)))
    await asyncio.gather(*tasks)
    assert served.index(single) <= 4
