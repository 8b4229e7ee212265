"""Many runs at once, in a batch that outlives the calls that wait for it.

Decides how a batch starts, or resumes after a restart; what its result is is in its journal alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import anyio
from attrs import frozen

from testvibe_async import Feature, Journal
from testvibe_async.mcp_server.memory import has_begun

if TYPE_CHECKING:
    from datetime import datetime

    from testvibe_async import Batch, Run
    from testvibe_async.mcp_server.memory import Place

__all__ = ["Begin", "Choose", "Chosen", "Runs"]


@frozen
class Chosen:
    """The features of a batch."""

    features: Sequence[Feature | str | int]
    not_run: list[dict[str, Any]]
    """A row for each feature that is left out, with its status."""


Choose: TypeAlias = Callable[[], Awaitable[Chosen]]
"""Chooses the features of a new batch."""

Begin: TypeAlias = "Callable[[Sequence[Feature | str | int] | None, Journal], Batch[Run]]"
"""Makes a batch of these features; of None for those that its journal has."""


class Progress(Protocol):
    """Where changes are reported."""

    async def report(self, message: str) -> None:
        """Report a change."""


class Runs:
    """One batch of runs, as far as it has come."""

    task: asyncio.Task[None]
    """Plays it."""

    def __init__(self) -> None:
        self.batch: Batch[Run] | None = None
        """The batch, once it has begun."""
        self.not_run: list[dict[str, Any]] = []
        """The features that are left out."""
        self.started_at: datetime | None = None
        self.is_resumed: bool = False
        """Whether a call started it that has ended without its result, or whose server has."""
        self.line: str = "the features are being chosen"
        """How it stands."""
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def play(
        self,
        place: Place,
        choose: Choose,
        begin: Begin,
    ) -> None:
        """Start the batch, or resume it, and run it to its end.

        Args:
            place: Where it is kept; its lock must be held.
            choose: Chooses its features where it is new.
            begin: Makes it.

        Raises:
            VibeError: It could not start.
        """
        await place.forget_useless()
        chosen = None if place.path.exists() else await choose()
        options: dict[str, Any] = {}
        if chosen is not None:
            names = [each.id if isinstance(each, Feature) else each for each in chosen.features]
            options = {"features": names, "notRun": chosen.not_run}
        is_of_use = True
        try:
            async with Journal(place.path, options=options) as journal:
                try:
                    kept = options if journal.plan is None else journal.plan.options
                    features = kept["features"] if chosen is None else chosen.features
                    self.not_run, self.is_resumed = kept["notRun"], chosen is None
                    self.batch = begin(None if journal.is_complete else features, journal)
                    self.started_at = journal.created_at
                    async with self.batch as batch:
                        async for item in batch:
                            word = f"{item.verdict}, flaky" if item.is_flaky else item.verdict
                            self._tell(f"{batch.summary}; {item.feature_name}: {word}")
                finally:
                    is_of_use = has_begun(journal)
        finally:
            if not is_of_use:
                place.delete()

    def _tell(self, line: str) -> None:
        self.line = line
        self._changed.set_result(None)
        self._changed = asyncio.get_running_loop().create_future()

    async def wait(self, progress: Progress, seconds: float) -> None:
        """Wait until the batch is over, for so many seconds at most, and report its changes."""
        deadline = anyio.current_time() + seconds
        while not self.task.done() and (left := deadline - anyio.current_time()) > 0:
            await progress.report(self.line)
            await asyncio.wait(
                {self.task, self._changed}, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
