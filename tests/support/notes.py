"""A recorder of dispatches for tests."""

import asyncio
from typing import Any, Literal

from testvibe_async import Ref, VibeError
from testvibe_async.intents import Intent
from testvibe_async.testing import Emulator

Step = Literal["intended", "dispatched", "not_dispatched"]


class Notes:
    """A recorder that keeps what it is told, and takes its time or fails where it is asked to."""

    def __init__(self, emulator: Emulator | None = None, *, failing: Step | None = None) -> None:
        self.emulator = emulator
        self.told: list[tuple[Step, Intent, Any]] = []
        self.posts: list[int] = []
        """How many dispatches the service had when each intent came."""
        self.seconds: dict[Step, float] = {}
        self.has_intent = asyncio.Event()
        self.failing: set[Step | None] = {failing}
        self.error: BaseException = OSError("no space left on device")
        """What it raises there."""

    @property
    def steps(self) -> list[Step]:
        return [step for step, _, _ in self.told]

    @property
    def open(self) -> list[Intent]:
        """The intents of which nothing more was told."""
        ended = {intent.id for step, intent, _ in self.told if step != "intended"}
        return [intent for _, intent, _ in self.told if intent.id not in ended]

    def copy(self) -> "Notes":
        """Return what another process finds of them."""
        copied = Notes(self.emulator)
        copied.told = [*self.told]
        return copied

    async def intended(self, intent: Intent) -> None:
        if self.emulator is not None:
            self.posts.append(self.emulator.count("run_feature"))
        await self._take("intended", intent, None)

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        await self._take("dispatched", intent, ref)

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:
        await self._take("not_dispatched", intent, error)

    async def _take(self, step: Step, intent: Intent, result: object) -> None:
        await asyncio.sleep(self.seconds.get(step, 0.0))
        if step in self.failing:
            raise self.error
        self.told.append((step, intent, result))
        self.has_intent.set()
