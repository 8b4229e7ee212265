"""One batch with a journal over several processes, which are killed, time out or are closed.

Between them somebody else uses the same project. The service may hide the ids of generations, and
answer a dispatch with a body that can't be read. What the batch may not do is at the end: it holds
whatever the schedule was.
"""

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import detangle
from attrs import define, evolve, field, frozen

from tests.promises.simulation import restart_invariants
from tests.promises.simulation.ledger import CALLER, Ledger
from tests.promises.simulation.plan import Plan, draw_plan
from tests.promises.simulation.process import Process
from tests.promises.simulation.service import HIDDEN_IDS, READY, SimulatedService
from tests.support.journals import copy_of_the_disk
from tests.support.notes import Notes
from testvibe_async import Batch, BatchItem, ClientClosedError, Journal, Ref

Work: TypeAlias = Literal["runs", "generations", "runs, once generated"]
End: TypeAlias = Literal["kill", "time-out", "close"]

WORKS: tuple[Work, ...] = ("runs", "generations", "generations", "runs, once generated")
CALLER_NUMBER = 1
LAST_LIFE = 300.0
"""Seconds after which a batch is over that nothing disturbs any more."""
SAMPLE = 0.25
"""Seconds between two reads of what the batch knows."""
_SHM = Path("/dev/shm")  # noqa: S108 - for files of a test
MEMORY = _SHM if _SHM.is_dir() else None
"""Where commits cost nothing; None for where files are otherwise."""

SOMETIMES = (
    *("a 202 that can't be read", "a batch that was closed"),
    *("a batch with operations in flight at its end", "a dispatch that acted"),
    *("a generation that was joined", "a kill", "after restarts: error", "after restarts: failed"),
    *("after restarts: succeeded", "after restarts: unknown", "an outcome after a restart"),
)
"""What schedules have to see sometimes: else they prove less than they seem to."""


@frozen
class Life:
    """How one process ends, and what happens until the next one starts."""

    end: End
    after: float
    """Seconds from its start to its end."""
    pause: float
    """Seconds until the next process."""
    rivals: tuple[tuple[str, str | None], ...]
    """What somebody else starts in the middle of the pause: a feature, and the configuration of a
    run or None for a generation."""


@frozen(kw_only=True)
class RestartPlan:
    """The choices of one schedule."""

    work: Work
    on_conflict: Literal["raise", "attach", "wait"]
    """Of generations."""
    max_in_flight: int
    lives: tuple[Life, ...]
    rival_before: bool
    """Whether somebody else's generation is in flight when the first process starts."""


@define
class Restarts:
    """All that there is in one schedule."""

    plan: Plan = field(init=False)
    restarts: RestartPlan = field(init=False)
    seen: Counter[str] = field(factory=Counter[str])
    ledger: Ledger = field(factory=Ledger)
    service: SimulatedService = field(init=False)
    processes: list[Process] = field(factory=list[Process])
    notes: Notes = field(factory=Notes)
    """What a recorder of the client was told, in any of the processes."""
    shown: defaultdict[tuple[str, str | None], dict[Ref, float]] = field(
        factory=lambda: defaultdict[tuple[str, "str | None"], dict["Ref", float]](dict)
    )
    """When the batch showed each operation first, by feature and configuration."""
    items: list[BatchItem[Any]] = field(factory=list["BatchItem[Any]"])
    """What the last process ended with."""
    _folder: Path = field(init=False)

    async def play(self) -> None:
        self.plan, self.restarts = _service_plan(draw_plan()), _draw()
        self.service = SimulatedService(self.plan, self.ledger, self.seen)
        await self.service.start()
        with TemporaryDirectory(prefix="testvibe_async", dir=MEMORY) as folder:
            self._folder = Path(folder)
            await self._live()
        await self.service.aclose()
        restart_invariants.check(self)

    async def _live(self) -> None:
        CALLER.set(CALLER_NUMBER)
        detangle.note(f"{self.restarts}, request ids: {self.plan.hides_ids}")
        if self.restarts.rival_before:
            self.service.let_a_rival_act(detangle.choice((*READY, "Draft")), None)
        journal = self._folder / "0.journal"
        for life in self.restarts.lives:
            journal = await self._live_once(journal, life)
            await asyncio.sleep(life.pause / 2)
            for feature, config in life.rivals:
                self.service.let_a_rival_act(feature, config)
            await asyncio.sleep(life.pause / 2)
        self.service.calm()
        await self._live_once(journal, Life("close", LAST_LIFE, 0.0, ()))

    async def _live_once(self, path: Path, life: Life) -> Path:
        """Use the journal in one more process; return the file that the next one finds."""
        process = Process(
            self.service.emulator, self.plan, self.ledger, self.seen, recorder=self.notes
        )
        self.processes.append(process)
        before = asyncio.all_tasks()
        journal = Journal(path)
        async with journal:
            batch = self._batch(process, journal, life)
            work = asyncio.create_task(_to_the_end(batch), name="the process")
            watch = asyncio.create_task(self._watch(batch), name="a look at the batch")
            _, running = await asyncio.wait([work], timeout=life.after)
            watch.cancel()
            if running and life.end == "kill":
                self.seen["a kill"] += 1
                detangle.note("the process is killed")
                path = self._kill(process, path)
                ours = asyncio.all_tasks() - before - self.service.tasks()
                await asyncio.gather(*_cancelled(ours), return_exceptions=True)
            elif running and life.end == "close":
                self.seen["a batch that was closed"] += 1
                await process.close()
                work.cancel()
            elif running:
                await asyncio.wait([work])
            with suppress(asyncio.CancelledError, ClientClosedError):
                await work
            if batch.in_flight:
                self.seen["a batch with operations in flight at its end"] += 1
            self.items = list(batch.items)
            ended = [f"{i.feature}, {i.config}: {i.verdict}, {i.ref}" for i in self.items]
            detangle.note(f"the process ended with {'; '.join(ended)}")
        await process.close()
        await process.session.close()
        return path

    def _kill(self, process: Process, path: Path) -> Path:
        """Kill a process: what the disk has stays, and nothing is sent any more."""
        process.is_killed = True
        copy = self._folder / f"{len(self.processes)}.journal"
        copy_of_the_disk(path, copy)
        return copy

    def _batch(self, process: Process, journal: Journal, life: Life) -> Batch[Any]:
        project, plan = process.client.project(), self.restarts
        timeout = life.after if life.end == "time-out" else None
        if plan.work == "generations":
            return project.generate_features(
                (*READY, "Draft"),
                on_conflict=plan.on_conflict,
                max_in_flight=plan.max_in_flight,
                timeout=timeout,
                journal=journal,
            )
        waits = plan.work != "runs"
        return project.run_features(
            (*READY, "Draft") if waits else READY,
            config=None if waits else (None, "Mobile"),
            on_conflict="wait" if waits else "raise",
            max_in_flight=plan.max_in_flight,
            timeout=timeout,
            journal=journal,
        )

    async def _watch(self, batch: Batch[Any]) -> None:
        """Note what the batch shows while it runs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SAMPLE)
            for item in batch.items:
                if item.ref is not None:
                    shown = self.shown[str(item.feature), item.config]
                    shown.setdefault(item.ref, loop.time())


async def play_restarts() -> Counter[str]:
    """Play one schedule, hold it against the invariants, and return what was seen in it."""
    world = Restarts()
    await world.play()
    return world.seen


async def _to_the_end(batch: Batch[Any]) -> None:
    async with batch:
        async for _ in batch:
            pass


def _cancelled(tasks: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    ordered = [task for task in detangle.current_loop().tasks if task in tasks]
    for task in ordered:
        task.cancel()
    return ordered


def _service_plan(plan: Plan) -> Plan:
    """Return a service that loses more answers, and whose disturbances are the restarts."""
    return evolve(
        plan,
        disturbances=(),
        close_at=None,
        dispatch_risk=detangle.choice((0.5, 0.0, 0.8)),
        hides_ids=detangle.choice(HIDDEN_IDS),
        unreadable_rate=detangle.choice((0.0, 0.5)),
        warm_up=detangle.choice((1.0, 8.0, 40.0)),
    )


def _draw() -> RestartPlan:
    work: Work = detangle.choice(WORKS)
    return RestartPlan(
        work=work,
        on_conflict=detangle.choice(("raise", "attach", "wait", "attach")),
        max_in_flight=detangle.choice((100, 1, 2)),
        lives=tuple(_draw_life(work) for _ in range(detangle.randint(1, 3))),
        rival_before=detangle.flip(0.5),
    )


def _draw_life(work: Work) -> Life:
    configs = ("Default", "Mobile") if work == "runs" else (None, None, "Default")
    features = READY if work == "runs" else (*READY, "Draft")
    return Life(
        end=detangle.choice(("kill", "kill", "time-out", "close")),
        # Early, so that it meets dispatches more often than not.
        after=detangle.uniform(0.05, detangle.choice((0.6, 6.0))),
        pause=detangle.choice((0.5, 30.0, 600.0)),
        rivals=tuple(
            (detangle.choice(features), detangle.choice(configs))
            for _ in range(detangle.randint(0, 3))
        ),
    )
