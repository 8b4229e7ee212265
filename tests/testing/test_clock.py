"""Virtual time: it jumps from timer to timer, and otherwise stands still."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_hours_pass_at_once() -> None:
    """Time starts at 0, and jumps to each timer exactly, in order."""
    seen: list[tuple[float, float]] = []

    async def pause(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((seconds, now()))

    assert now() == 0
    await asyncio.gather(*map(pause, (7200, 0.001, 3600)))
    assert seen == [(0.001, 0.001), (3600, 3600), (7200, 7200)]


async def test_waiting_for_the_remaining_time_ends() -> None:
    """Tasks that sleep for the remaining time do not wake each other for ever."""

    async def wait_until(until: float) -> int:
        iterations = 0
        while (left := until - now()) > 0:
            iterations += 1
            await asyncio.sleep(left)
        return iterations

    await asyncio.sleep(0.1 + 0.2)
    assert max(await asyncio.gather(*(wait_until(5.3) for _ in range(3)))) <= 3


async def test_a_thread_is_waited_for_while_nothing_is_timed() -> None:
    """Without a timer, the loop waits for threads."""
    with ThreadPoolExecutor() as pool:
        work = asyncio.get_running_loop().run_in_executor(pool, sum, range(1_000_000))
        assert await work == 499_999_500_000
    assert now() == 0
