"""Downloads for one client, and the session with the artifacts' host that they share.

Most programs download nothing: what a download needs is imported, and the session opened, when the
first one begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection
    from pathlib import Path

    from testvibe_async._artifacts.host import ArtifactHost
    from testvibe_async._http import RetryPolicy, Transport
    from testvibe_async.events import Hooks
    from testvibe_async.models import DownloadProgress

__all__ = ["Downloader"]


class Downloader:
    """Downloads the artifacts of runs, for one client."""

    def __init__(
        self,
        transport: Transport,
        *,
        timeout: float,
        retry: RetryPolicy,
        max_connections: int,
        hooks: Hooks,
    ) -> None:
        """Make it; no I/O is done.

        Args:
            transport: Lists the artifacts. The files come from another host.
            timeout: Seconds without a single byte after which a connection counts as lost.
            retry: How a download that failed on the way is repeated.
            max_connections: How many connections to the host there are at once.
            hooks: Notified of every request and every retry.
        """
        self._transport = transport
        self._timeout = timeout
        self._retry = retry
        self._max_connections = max_connections
        self._hooks = hooks
        self._opened_host: ArtifactHost | None = None

    async def download(  # noqa: PLR0913 - `Project.download_artifacts`'s, each by name
        self,
        directory: str | os.PathLike[str],
        *,
        project: str,
        run_id: int,
        kinds: Collection[str] | None,
        on_progress: Callable[[DownloadProgress], object] | None,
        max_at_once: int,
    ) -> list[Path]:
        """Download the artifacts of a run; see `Project.download_artifacts`."""
        # A tenth of the package's import time, for what few programs use.
        from testvibe_async._artifacts.download import download_artifacts  # noqa: PLC0415

        return await download_artifacts(
            self._transport,
            self._host,
            directory,
            project=project,
            run_id=run_id,
            kinds=kinds,
            on_progress=on_progress,
            max_at_once=max_at_once,
        )

    @property
    def _host(self) -> ArtifactHost:
        from testvibe_async._artifacts.host import ArtifactHost  # noqa: PLC0415 - see `download`

        if self._opened_host is None:
            self._opened_host = ArtifactHost(
                self._transport.server,
                timeout=self._timeout,
                retry=self._retry,
                max_connections=self._max_connections,
                hooks=self._hooks,
                sleep=self._transport.sleep,
            )
        return self._opened_host

    async def aclose(self) -> None:
        """End the downloads that are under way, and close the session with the host."""
        if self._opened_host is not None:
            await self._opened_host.aclose()
