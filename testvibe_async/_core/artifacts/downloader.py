"""Downloads of a run's artifacts, by links that expire, to paths that can do no harm.

Decides which artifacts are fetched, how many at once, when a link is renewed, and what ends all
downloads. `paths` decides where a file may be written, and `host` decides what may be fetched, and
what an answer means.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from testvibe_async._core.artifacts.host import EXPIRED, OPERATION, ArtifactHost
from testvibe_async._core.artifacts.part_file import append, in_thread, part_file
from testvibe_async._core.artifacts.paths import safe_paths
from testvibe_async._core.config import require_count
from testvibe_async._core.http import retry_delay
from testvibe_async._core.util import plain
from testvibe_async._core.util.waiting import wait_uncancelled
from testvibe_async._core.wire import Endpoints, says_in_flight
from testvibe_async.errors import ConfigError, ResponseError, TransportError
from testvibe_async.events import Emitter, RetryScheduled
from testvibe_async.models import DownloadProgress

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator

    from testvibe_async._core.http import RetryPolicy, Transport
    from testvibe_async._core.wire import Request
    from testvibe_async.models import Artifact, Listing

DOCUMENTED_KINDS = {"trace", "screenshot", "video", "report"}

MAX_RENEWALS = 3
"""Maximum number of renewals of a refused link."""


@frozen
class _Job:
    """The downloads of one call."""

    request: Request[Listing[Artifact]]
    directory: Path
    on_progress: Callable[[DownloadProgress], None] | None
    artifacts: dict[str, Artifact] = field(factory=dict[str, "Artifact"])
    """The artifacts in the list, by their paths on the disk, each with its latest link."""
    lock: asyncio.Lock = field(factory=asyncio.Lock)
    """Held while the links are renewed."""


class Downloader:
    """Downloads the artifacts of runs, for one client."""

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float,
        retry: RetryPolicy,
        max_connections: int,
        hooks: Emitter,
    ) -> None:
        """Create it; does no I/O.

        Args:
            transport: Lists the artifacts. The files come from another host.
            timeout: Seconds without a single byte after which a connection counts as lost.
            retry: The policy by which failed downloads are retried.
            max_connections: Maximum number of connections to the host at once.
            hooks: Notified of every request and every retry.
        """
        self._transport = transport
        self._retry = retry
        self._hooks = hooks
        self._host = ArtifactHost(
            transport, timeout=timeout, max_connections=max_connections, hooks=hooks
        )

    async def download(  # noqa: PLR0913 - `Project.download_artifacts`'s, each by name
        self,
        directory: str | os.PathLike[str],
        *,
        project: str,
        run_id: int,
        kinds: Collection[str] | None,
        on_progress: Callable[[DownloadProgress], None] | None,
        max_at_once: int,
    ) -> list[Path]:
        """Download the artifacts of a run; see `Project.download_artifacts`."""
        require_count("max_at_once", max_at_once)
        if isinstance(kinds, str):
            raise ConfigError(
                f"kinds must be a collection of names, such as {{{kinds!r}}}, not one name"
            )
        if iscoroutinefunction(on_progress):
            raise ConfigError(
                "on_progress must be a plain function, not an async one, which is not awaited"
            )
        request = Endpoints.GET_RUN_ARTIFACTS.request(project=project, run=run_id)
        job = _Job(request, Path(directory), on_progress)
        await self._read_links(job)
        if not job.artifacts:
            await self._require_over(project, run_id)
        _require_known(kinds, {each.kind for each in job.artifacts.values()})
        names = [
            name for name, each in job.artifacts.items() if kinds is None or each.kind in kinds
        ]
        if names:
            await in_thread(partial(job.directory.mkdir, parents=True, exist_ok=True))
            await self._download_all(job, names, max_at_once)
        return [job.directory / name for name in names]

    async def aclose(self) -> None:
        """End the downloads that are under way, and close the session with the host."""
        await self._host.aclose()

    async def _require_over(self, project: str, run_id: int) -> None:
        """Refuse a run in flight: an empty list does not show what the run will leave."""
        run = await self._transport.call(Endpoints.GET_RUN.request(project=project, run=run_id))
        if says_in_flight(run.status):
            raise ConfigError(
                f"wait for the end of run {run_id} before you download its artifacts: there are "
                f"none yet, and its status is {plain(run.status)!r}"
            )

    async def _read_links(self, job: _Job) -> None:
        """Request the list of artifacts. Their names depend on the whole list."""
        listed = await self._transport.call(job.request)
        paths = [artifact.path for artifact in listed]
        names = await in_thread(safe_paths, paths)  # hostile ones take long
        job.artifacts.update(zip(names, listed, strict=True))

    async def _download_all(self, job: _Job, names: list[str], max_at_once: int) -> None:
        """Download files. The first failure ends the others, and is raised after them."""
        waiting = iter(names)
        workers = [
            asyncio.create_task(self._work(job, waiting))
            for _ in range(min(max_at_once, len(names)))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await wait_uncancelled(workers)

    async def _work(self, job: _Job, waiting: Iterator[str]) -> None:
        for name in waiting:
            await self._download(job, name)

    async def _download(self, job: _Job, name: str) -> None:
        """Download a file, with retries."""
        attempt, renewals = 0, 0
        while True:
            artifact = job.artifacts[name]
            try:
                return await self._fetch(job, name, artifact)
            except (TransportError, ResponseError) as error:
                is_expired = isinstance(error, ResponseError) and error.status in EXPIRED
                if is_expired and renewals < MAX_RENEWALS:
                    renewals += 1
                else:
                    attempt += 1
                    await self._back_off(error, attempt)
                    continue
            async with job.lock:
                if job.artifacts[name] is artifact:  # otherwise another download has renewed it
                    await self._read_links(job)

    async def _fetch(self, job: _Job, name: str, artifact: Artifact) -> None:
        """Download a file with one request."""

        def report(total: int | None, *, is_finished: bool = False) -> None:
            if job.on_progress is not None:
                progress = DownloadProgress(
                    artifact=artifact,
                    path=job.directory / name,
                    done_bytes=done,
                    total_bytes=total,
                    is_finished=is_finished,
                )
                job.on_progress(progress)

        target = self._host.target(artifact, job.request.url(self._transport.server))
        done = 0
        async with (
            part_file(job.directory, name) as part,
            aclosing(self._host.blocks(target, artifact.size_bytes)) as blocks,
        ):
            async for block, total in blocks:
                await in_thread(append, part, block)
                done += len(block)
                report(total)
        report(done, is_finished=True)

    async def _back_off(self, error: TransportError | ResponseError, attempt: int) -> None:
        """Wait until another attempt may be made; raise the last one's error if none may."""
        delay = retry_delay(
            error, attempt, policy=self._retry, is_repeatable=True, random=random.random
        )
        if isinstance(error, TransportError):
            error.attempts = attempt
        if delay is None:
            raise error
        self._hooks.emit(RetryScheduled(OPERATION, error, attempt=attempt, delay=delay))
        await self._transport.sleep(delay)


def _require_known(kinds: Collection[str] | None, listed: set[str]) -> None:
    """Refuse kinds that are neither documented nor listed: most likely they are misspelled."""
    known = DOCUMENTED_KINDS | listed
    if unknown := sorted(set(kinds or ()) - known):
        raise ConfigError(
            f"there is no kind of artifact named {', '.join(map(repr, unknown))}: the kinds are "
            + ", ".join(sorted(map(plain, known)))
        )
