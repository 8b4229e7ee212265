"""Downloads: a run's artifacts, fetched by links that expire and put where they can do no harm.

Decides how many are fetched at once, when a link is renewed, and what ends them all. `paths`
decides where a file may be put, `transfer` what an answer means.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from http import HTTPStatus
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from attrs import frozen

from testvibe_async._artifacts.host import without_secret
from testvibe_async._artifacts.part_file import in_thread, part_file
from testvibe_async._artifacts.paths import safe_paths
from testvibe_async._artifacts.transfer import REFUSALS, Transfer
from testvibe_async._config import require_count
from testvibe_async._wire import Endpoints
from testvibe_async.errors import (
    ConfigError,
    MalformedResponseError,
    ResponseError,
    TransportError,
)
from testvibe_async.models import DownloadProgress

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator

    from yarl import URL

    from testvibe_async._artifacts.host import ArtifactHost
    from testvibe_async._http import Transport
    from testvibe_async._wire import Request
    from testvibe_async.models import Artifact, Listing

__all__ = ["download_artifacts"]

MAX_RENEWALS = 3
"""How often a link that was refused is renewed without headway."""

HEADWAY = 0.01
"""The share of a file that has to come before failures are counted anew: else a host that closes
each connection after a byte would be asked for ever."""

MAX_HEADWAY_BYTES = 2**20
"""How much of a large file is enough, or of one whose size is not known."""


async def download_artifacts(  # noqa: PLR0913 - each by name
    transport: Transport,
    host: ArtifactHost,
    directory: str | os.PathLike[str],
    *,
    project: str,
    run_id: int,
    kinds: Collection[str] | None,
    on_progress: Callable[[DownloadProgress], object] | None,
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
            "on_progress must be a plain function, not an async one: nobody awaits it"
        )
    links = _Links(
        transport, host, Endpoints.GET_RUN_ARTIFACTS.request(project=project, run=run_id)
    )
    files = [file for file in await links.read() if kinds is None or file.artifact.kind in kinds]
    if not files:
        return []
    root = Path(directory)
    await in_thread(partial(root.mkdir, parents=True, exist_ok=True))
    await _Downloads(host, links, root, on_progress).fetch(files, max_at_once)
    return [root.joinpath(file.name) for file in files]


@frozen
class _File:
    """One artifact of the list, with a name that is safe."""

    artifact: Artifact
    number: int
    """Which it is of those with this path, from 1."""
    name: str


class _Links:
    """The run's artifacts with their links, which are renewed when one has expired."""

    def __init__(
        self, transport: Transport, host: ArtifactHost, request: Request[Listing[Artifact]]
    ) -> None:
        self._host = host
        self._request = request
        self._transport = transport
        self._artifacts: dict[tuple[str, int], Artifact] = {}
        self._lock = anyio.Lock()

    async def read(self) -> list[_File]:
        """Ask the service which artifacts there are. Their names depend on the whole list."""
        artifacts = await self._transport.call(self._request)
        counter = Counter[str]()
        files: list[_File] = []
        paths = [artifact.path for artifact in artifacts]
        names = await in_thread(partial(safe_paths, paths))  # hostile ones take their time
        for artifact, name in zip(artifacts, names, strict=True):
            counter[artifact.path] += 1
            files.append(_File(artifact, counter[artifact.path], name))
        self._artifacts = {(file.artifact.path, file.number): file.artifact for file in files}
        return files

    def of(self, file: _File) -> Artifact:
        """Return an artifact with the link that is the latest."""
        return self._artifacts.get((file.artifact.path, file.number), file.artifact)

    def target(self, artifact: Artifact) -> URL:
        """Return where an artifact's link leads.

        Raises:
            MalformedResponseError: Nothing may be fetched from there.
        """
        try:
            return self._host.target(artifact.url)
        except ValueError as error:
            raise MalformedResponseError(
                (f"{error}, at {artifact.path[:200]!r}",),
                status=HTTPStatus.OK,
                method=self._request.method,
                url=self._request.url(self._transport.server),
            ) from error

    async def renew(self, file: _File, refused: Artifact) -> None:
        """Fetch the links again, unless another download did since this one was taken."""
        async with self._lock:
            if self.of(file) is refused:
                await self.read()


class _Downloads:
    """The downloads of one call, several at once."""

    def __init__(
        self,
        host: ArtifactHost,
        links: _Links,
        directory: Path,
        on_progress: Callable[[DownloadProgress], object] | None,
    ) -> None:
        self._host = host
        self._links = links
        self._directory = directory
        self._on_progress = on_progress
        self._failure: Exception | None = None

    async def fetch(self, files: list[_File], max_at_once: int) -> None:
        """Download files. The first failure ends the others, and is raised after them."""
        waiting = iter(files)
        async with anyio.create_task_group() as group:
            for _ in range(min(max_at_once, len(files))):
                group.start_soon(self._work, waiting, group.cancel_scope)
        if self._failure is not None:
            raise self._failure

    async def _work(self, waiting: Iterator[_File], scope: anyio.CancelScope) -> None:
        try:
            for file in waiting:
                await self._download(file)
        except Exception as error:  # noqa: BLE001 - it is raised by `fetch`, and not in a group
            self._failure = self._failure or error
            scope.cancel()

    async def _download(self, file: _File) -> None:
        async with part_file(self._directory, file.name) as part:
            transfer = Transfer(part, file.artifact.size_bytes)
            report = partial(self._report, file, part.path, transfer)
            failures = _Failures()
            while True:
                artifact = self._links.of(file)
                target = self._links.target(artifact)
                try:
                    headers = transfer.headers(without_secret(target))
                    async with self._host.get(target, headers) as answer:
                        await transfer.receive(answer, report)
                    break
                except (TransportError, ResponseError) as error:
                    failures.note_headway(transfer.done_bytes, transfer.total_bytes)
                    if failures.call_for_new_link(error):
                        await self._links.renew(file, artifact)
                    else:
                        await self._host.back_off(error, failures.count)
            await part.finish()
        report(is_finished=True)

    def _report(
        self, file: _File, path: Path, transfer: Transfer, *, is_finished: bool = False
    ) -> None:
        if self._on_progress is not None:
            self._on_progress(
                DownloadProgress(
                    artifact=file.artifact,
                    path=path,
                    done_bytes=transfer.done_bytes,
                    total_bytes=transfer.total_bytes,
                    is_finished=is_finished,
                )
            )


class _Failures:
    """How often a download has failed since it last made headway."""

    def __init__(self) -> None:
        self.count = 0
        self._refusals = 0
        self._most_bytes = 0

    def note_headway(self, done_bytes: int, total_bytes: int | None) -> None:
        """Count anew where enough of the file has come since the last time."""
        least = MAX_HEADWAY_BYTES
        if total_bytes is not None:
            least = max(1, min(least, int(total_bytes * HEADWAY)))
        if done_bytes >= self._most_bytes + least:
            self.count = self._refusals = 0
            self._most_bytes = done_bytes

    def call_for_new_link(self, error: TransportError | ResponseError) -> bool:
        """Count a failure, and say whether a new link is the remedy."""
        if isinstance(error, ResponseError) and error.status in REFUSALS:
            self._refusals += 1
            if self._refusals <= MAX_RENEWALS:
                return True
        self.count += 1
        return False
