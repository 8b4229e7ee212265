"""The journals of a session, with which one that was killed goes on when it is run again.

Each run has a journal of its own, because the next session may ask for other features, in another
order, in other workers. What a journal's run goes on with is for the batch to decide.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import anyio

from testvibe_async import ConfigError
from testvibe_async.journal import Journal, files_of, is_in_use

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

__all__ = ["Journals"]

RETRY_SECONDS = 0.5
"""Interval at which a journal is tried that another worker has."""


class Journals:
    """A directory of journals, or none: then nothing is kept."""

    def __init__(self, directory: Path | None) -> None:
        """Make the directory.

        Raises:
            ConfigError: It can't be made.
        """
        self._directory = directory
        try:
            if directory is not None:
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"--testvibe-journal {directory} can't be made: {error.strerror}"
            ) from error

    @asynccontextmanager
    async def open(self, *identity: object, timeout: float) -> AsyncGenerator[Journal | None]:
        """Open a run's journal; wait while another worker, which asks for the same run, has it.

        Args:
            identity: What makes the run another one than others; any JSON.
            timeout: Seconds to wait.

        Raises:
            ConfigError: It can't be opened, or was in use all that time.
        """
        if (path := self._path(identity)) is None:
            yield None
            return
        async with AsyncExitStack() as stack:
            deadline = anyio.current_time() + timeout
            while True:
                try:
                    journal = await stack.enter_async_context(Journal(path))
                    break
                except ConfigError as error:
                    if not is_in_use(error) or anyio.current_time() > deadline:
                        raise
                await anyio.sleep(RETRY_SECONDS)
            yield journal

    def discard(self, *identity: object) -> None:
        """Remove a run's journal, so that the next session dispatches it again."""
        if (path := self._path(identity)) is not None:
            for file in files_of(path):
                file.unlink(missing_ok=True)

    def _path(self, identity: tuple[object, ...]) -> Path | None:
        digest = sha256(json.dumps(identity).encode()).hexdigest()
        return self._directory and self._directory / f"{digest[:32]}.sqlite"
