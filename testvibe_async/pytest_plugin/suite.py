"""The runs of one test session: dispatched together, by one client in a thread of its own.

pytest is synchronous, the client is not. This is where the two meet: each run is a task in the
thread's event loop and a future for pytest, which asks for the one that ended next, or waits for
one. What a run means for a test is not decided here.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TYPE_CHECKING

import anyio
from anyio.from_thread import start_blocking_portal
from attrs import field, frozen

from testvibe_async import Client, Hooks, Phase, ResponseError, TransportError
from testvibe_async._artifacts import safe_paths

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from anyio.from_thread import BlockingPortal

    from testvibe_async import Dispatched, Feature, Project, Ref, Run, StatusChanged
    from testvibe_async.pytest_plugin.options import Options

__all__ = ["Ended", "Suite", "Wanted"]


@frozen
class Wanted:
    """A run to be made. Tests that want the same share it."""

    feature: str
    config: str | None = None
    site_url: str | None = None
    feature_id: int | None = None
    """The feature's id, where its name does not name it."""

    def __str__(self) -> str:
        """Return what its item is called."""
        return self.feature if self.config is None else f"{self.feature}[{self.config}]"


@frozen
class Ended:
    """A run that is over."""

    run: Run
    artifacts: tuple[Path, ...] = ()
    """The files that were downloaded."""

    artifacts_error: str | None = field(default=None)
    """Why there are none, where they were asked for."""


class Suite:
    """The runs of one session. Its methods are for pytest's thread, and may block."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._client = Client(
            project=options.project,
            poll_interval=options.poll_interval,
            hooks=Hooks(on_dispatched=self._dispatched, on_transition=self._changed),
        )
        self._project: Project = self._client.project()
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._places = anyio.Semaphore(options.max_in_flight)
        self._runs: dict[Wanted, Future[Ended]] = {}
        self._ends: SimpleQueue[Wanted] = SimpleQueue()
        self._ended: dict[Wanted, None] = {}
        self._in_flight: dict[tuple[object, ...], Ref] = {}

    def __str__(self) -> str:
        """Name the service and the project."""
        return f"project {self._project.id} of {self._client.server}"

    @property
    def in_flight(self) -> list[Ref]:
        """The operations that were dispatched and not seen to be over."""
        return list(self._in_flight.values())

    def list_features(self) -> list[Feature]:
        """Ask for the project's features. Raises as `Project.list_features` does."""
        return self._thread().call(self._project.list_features)

    def start(self, wanted: Iterable[Wanted]) -> None:
        """Dispatch runs, but for those that were before, and return at once."""
        for each in wanted:
            if each not in self._runs:
                self._start(each)

    def run(self, wanted: Wanted, *, anew: bool = False) -> Ended:
        """Wait for a run, which is dispatched if it was not.

        Args:
            wanted: Which.
            anew: Whether one that is over is made once more.

        Raises:
            VibeError: It could not be dispatched, or not be observed to its end.
        """
        if anew and wanted in self._runs and self._runs[wanted].done():
            self._start(wanted)
        self.start([wanted])
        return self._runs[wanted].result()

    def next_ended(self, candidates: Collection[Wanted]) -> Wanted:
        """Wait until one of some runs is over, or has failed to be; the first that was."""
        self.start(candidates)
        while (first := next((each for each in self._ended if each in candidates), None)) is None:
            self._ended[self._ends.get()] = None
        return first

    def close(self) -> None:
        """Close the client. Nothing is cancelled at the service, and `in_flight` names the rest."""
        with self._stack:
            if self._portal is not None:
                self._portal.call(self._client.aclose)

    def _thread(self) -> BlockingPortal:
        if self._portal is None:
            self._portal = self._stack.enter_context(start_blocking_portal(name="testvibe"))
        return self._portal

    def _start(self, wanted: Wanted) -> None:
        future = self._thread().start_task_soon(self._run_to_end, wanted)
        self._runs[wanted] = future
        future.add_done_callback(lambda _: self._ends.put(wanted))

    async def _run_to_end(self, wanted: Wanted) -> Ended:
        async with self._places:
            operation = await self._project.run_feature(
                wanted.feature if wanted.feature_id is None else wanted.feature_id,
                config=wanted.config,
                site_url=wanted.site_url,
                on_conflict="generate" if self._options.generate else "raise",
            )
            run = await operation.wait(timeout=self._options.timeout)
        if run.is_success or self._options.artifacts is None:
            return Ended(run)
        return await self._downloaded(run, self._options.artifacts / _directory(wanted, run))

    async def _downloaded(self, run: Run, directory: Path) -> Ended:
        try:
            paths = await self._project.download_artifacts(run.run_id, directory)
        except (TransportError, ResponseError, OSError) as error:
            return Ended(run, artifacts_error=str(error))
        return Ended(run, artifacts=tuple(paths))

    def _dispatched(self, event: Dispatched) -> None:
        self._in_flight[event.ref.key] = event.ref

    def _changed(self, event: StatusChanged) -> None:
        if event.transition.phase is Phase.FINISHED:
            self._in_flight.pop(event.ref.key, None)


def _directory(wanted: Wanted, run: Run) -> str:
    """Return the name of a directory for a run's artifacts, good on every system."""
    name = re.sub(r"[/\\]", "_", f"{wanted} run {run.run_id}")
    return safe_paths([name])[0]
