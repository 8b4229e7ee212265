"""One schedule: a service, a process that uses the client, callers, and what disturbs them.

Everything in it is drawn from the schedule's decisions, so that a schedule that breaks an invariant
can be replayed and shrunk.
"""

import asyncio
from collections import Counter

import detangle

from tests.promises.simulation import invariants
from tests.promises.simulation.callers import Caller, draw_caller
from tests.promises.simulation.plan import Disturbance, draw_plan
from tests.promises.simulation.process import Process
from tests.promises.simulation.record import Record
from tests.promises.simulation.service import BROKEN, HOST, READY, THROTTLED, SimulatedService

DEADLINE = 900.0
"""Seconds after which every wait has ended, with its outcome or an error."""
AFTERMATH = 30.0
"""Seconds for which nothing may be sent any more, once the client is closed."""

SOMETIMES = (
    *("a 202 that could not be read", "a 404 within its grace", "a cancellation in mid-dispatch"),
    *("a close with operations in flight", "a dispatch again after its Retry-After"),
    *("a dispatch that was not sent", "a generation that was joined", "a list that misses a row"),
    *("a list that shows what was", "a run that passed at its second attempt", "a stale replica"),
    *("a supersession", "a throttle pause", "a wait that was resumed after a time-out"),
    *("an adoption", "an answer from a cache", "an iteration that was closed"),
    *("an unknown dispatch that did nothing", "an unknown dispatch that took effect"),
    *("unknown: absent", "unknown: accepted", "unknown: ambiguous", "unknown: unseen"),
)
"""What schedules have to see sometimes: else they prove less than they seem to."""


async def play() -> Counter[str]:
    """Play one schedule, hold it against the invariants, and return what was seen in it."""
    world = World()
    await world.play()
    return world.seen


class World:
    """All that there is in one schedule."""

    def __init__(self) -> None:
        self.plan = draw_plan()
        self.seen: Counter[str] = Counter()
        self.record = Record()
        self.service = SimulatedService(self.plan, self.record, self.seen)
        self.callers: list[Caller] = []

    async def play(self) -> None:
        await self.service.start()
        self.process = Process(self.service.emulator, self.plan, self.record, self.seen)
        for number in range(1, detangle.randint(1, 4) + 1):
            caller = draw_caller(number, self.process)
            self.callers.append(caller)
            caller.start()
        others = [asyncio.create_task(self._disturb(each)) for each in self.plan.disturbances]
        if self.plan.close_at is not None:
            others.append(asyncio.create_task(self._close(self.plan.close_at)))
        await self._end(others)
        invariants.check(self)

    async def _end(self, others: list[asyncio.Task[None]]) -> None:
        process = self.process
        tasks = [caller.task for caller in self.callers]
        _, waiting = await asyncio.wait(tasks, timeout=DEADLINE)
        invariants.none_hangs(waiting)
        await asyncio.wait([*others, asyncio.create_task(process.close())])
        invariants.all_released(process)
        await asyncio.sleep(AFTERMATH)
        await process.session.close()
        await self.service.aclose()

    async def _close(self, seconds: float) -> None:
        """Close the client while it is in use."""
        await asyncio.sleep(seconds)
        if not all(operation.done for caller in self.callers for operation in caller.operations):
            self.seen["a close with operations in flight"] += 1
        await self.process.close()

    async def _disturb(self, disturbance: Disturbance) -> None:
        await asyncio.sleep(disturbance.at)
        detangle.note(f"disturbance: {disturbance.kind} for {disturbance.seconds:g} s")
        self.seen[disturbance.kind] += 1
        match disturbance.kind:
            case "a partition":
                detangle.network().partition(["localhost"], [HOST])
                await asyncio.sleep(disturbance.seconds)
                detangle.network().heal()
            case "resets":
                self.service.reset_connections()
            case "no listener":
                await self.service.refuse_connections(disturbance.seconds)
            case "throttling" | "an outage":
                self.service.trouble = THROTTLED if disturbance.kind == "throttling" else BROKEN
                await asyncio.sleep(disturbance.seconds)
                self.service.trouble = None
            case _:
                self._let_a_rival_act(disturbance.kind)

    def _let_a_rival_act(self, kind: str) -> None:
        """Somebody else uses the same project at the same time."""
        name = detangle.choice(READY)
        feature = self.service.emulator.features[name]
        is_run = kind == "a rival's run"
        if not is_run and feature.status == "generating":
            self.service.emulator._service.cancel_generation(feature)
        if kind != "a rival's cancellation":
            self.service.let_a_rival_act(name, "Default" if is_run else None)
