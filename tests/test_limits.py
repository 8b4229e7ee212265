"""How many requests go at once, in which order, and when none does."""

from __future__ import annotations

import asyncio

import pytest

from testvibe_async._limits import Gate


def now() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


class Traffic:
    """Requests through a gate, and what was seen of them."""

    def __init__(self, gate: Gate, seconds: float = 1.0) -> None:
        self.gate = gate
        self.seconds = seconds
        self.began: dict[int, float] = {}
        self.at_once = self.most = 0

    async def pass_through(self, number: int) -> None:
        """Take a turn, and hold it for a while."""
        async with self.gate.slot():
            self.began[number] = now()
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(self.seconds)
            self.at_once -= 1


@pytest.mark.parametrize("slots", [1, 3, 10])
async def test_no_more_than_allowed_go_at_once(slots: int) -> None:
    """A gate lets exactly its number through at once, and the others as soon as one is out."""
    traffic = Traffic(Gate(slots))
    await asyncio.gather(*(traffic.pass_through(number) for number in range(12)))
    assert traffic.most == min(slots, 12)
    assert now() == -(-12 // slots)


async def test_turns_are_taken_in_order() -> None:
    """Who came first goes first."""
    traffic = Traffic(Gate(2))
    await asyncio.gather(*(traffic.pass_through(number) for number in range(7)))
    assert list(traffic.began) == list(range(7))


async def test_nothing_goes_through_while_paused() -> None:
    """A pause holds up whoever comes, for as long as it says, and not longer."""
    traffic = Traffic(Gate(4))
    traffic.gate.pause(7.0)
    await asyncio.gather(traffic.pass_through(1), traffic.pass_through(2))
    assert traffic.began == {1: 7.0, 2: 7.0}


async def test_a_pause_leaves_those_inside_alone() -> None:
    """Who is through already is not held up."""
    traffic = Traffic(Gate(4))
    inside = asyncio.create_task(traffic.pass_through(1))
    await asyncio.sleep(0.5)
    traffic.gate.pause(60.0)
    await inside
    assert now() == 1.0


async def test_a_pause_holds_up_those_in_the_queue() -> None:
    """Who waits for a turn when the pause begins waits for its end too."""
    traffic = Traffic(Gate(1))
    tasks = [asyncio.create_task(traffic.pass_through(number)) for number in range(2)]
    await asyncio.sleep(0.5)
    traffic.gate.pause(60.0)
    await asyncio.gather(*tasks)
    assert traffic.began == {0: 0.0, 1: 60.5}


@pytest.mark.parametrize(("first", "second"), [(10.0, 3.0), (3.0, 10.0)])
async def test_of_two_pauses_the_longer_one_counts(first: float, second: float) -> None:
    """A shorter pause never ends a longer one, and a longer one holds up who already waits."""
    traffic = Traffic(Gate(1))
    traffic.gate.pause(first)
    task = asyncio.create_task(traffic.pass_through(1))
    await asyncio.sleep(1.0)
    traffic.gate.pause(second)
    await task
    assert traffic.began == {1: max(first, 1.0 + second)}


async def test_a_pause_of_nothing_holds_up_nobody() -> None:
    """A pause of 0 s is none."""
    traffic = Traffic(Gate(1))
    traffic.gate.pause(0.0)
    await traffic.pass_through(1)
    assert traffic.began == {1: 0.0}


async def test_a_failed_request_gives_its_turn_back() -> None:
    """An error in the body frees the place, and comes out as it is."""
    gate = Gate(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with gate.slot():
                raise ZeroDivisionError
    await Traffic(gate).pass_through(1)


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_cancelled_request_gives_its_turn_back(*, is_paused: bool) -> None:
    """Cancelling who waits, in the queue or in a pause, takes no place away."""
    traffic = Traffic(Gate(1))
    if is_paused:
        traffic.gate.pause(5.0)
    tasks = [asyncio.create_task(traffic.pass_through(number)) for number in range(3)]
    await asyncio.sleep(0.1)
    tasks[0].cancel()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert traffic.began[2] == (5.0 if is_paused else 0.1)


def test_a_gate_can_be_made_outside_an_event_loop() -> None:
    """Making a gate needs no event loop, and any one loop can use it afterwards."""
    gate = Gate(1)

    async def use() -> None:
        async with gate.slot():
            await asyncio.sleep(0)

    asyncio.run(use())
