"""The journals of a session, with which one that was killed goes on when it is run again.

Each run has a journal of its own, because the next session may ask for other features, in another
order, in other workers. It decides where journals are, and which worker has one. What a journal's
run goes on with is for the batch to decide.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
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
    """A directory of journals."""

    def __init__(self, directory: Path) -> None:
        """Make the directory.

        Raises:
            ConfigError: It can't be made.
        """
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"--testvibe-journal {directory} can't be made: {error.strerror}"
            ) from error

    @asynccontextmanager
    async def open(self, *identity: object, timeout: float) -> AsyncGenerator[Journal]:
        """Open a run's journal; wait while another worker, which asks for the same run, has it.

        Args:
            identity: What makes the run another one than others; any JSON.
            timeout: Seconds to wait.

        Raises:
            ConfigError: It can't be opened, or was in use all that time.
        """
        journal = await self._opened(self._path(identity), timeout)
        try:
            yield journal
        finally:
            await journal.aclose()

    async def _opened(self, path: Path, timeout: float) -> Journal:
        deadline = anyio.current_time() + timeout
        while True:
            journal = Journal(path)
            try:
                return await journal.__aenter__()
            except ConfigError as error:
                if not is_in_use(error) or anyio.current_time() > deadline:
                    raise
            await anyio.sleep(RETRY_SECONDS)

    def discard(self, *identity: object) -> None:
        """Remove a run's journal, so that the next session dispatches it again."""
        for path in files_of(self._path(identity)):
            path.unlink(missing_ok=True)

    def _path(self, identity: tuple[object, ...]) -> Path:
        digest = sha256(json.dumps(identity).encode()).hexdigest()
        return self._directory / f"{digest[:32]}.sqlite"
