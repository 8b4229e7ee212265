"""Ledger files of processes that are killed."""

import asyncio
from typing import Any

from testvibe_async._core.ledger import SqliteLedger


class MortalLedger(SqliteLedger):
    """A process's view of a ledger file: once it is killed, nothing that it writes arrives."""

    is_killed = False
    seconds = 0.0
    """How long a transaction takes."""

    def kill(self) -> None:
        """End the process that uses it: what the file does not have by now is lost."""
        self.is_killed = True
        lost, self._waiting = self._waiting, []
        self._unwritten = []
        for _, written, _ in lost:
            if written is not None:
                written.cancel()

    async def _write_all(self, *, is_last: bool = False) -> None:
        await asyncio.sleep(self.seconds)
        await super()._write_all(is_last=is_last)

    def _add(self, work: Any, written: "asyncio.Future[Any] | None", failed: Any) -> None:
        if not self.is_killed:
            super()._add(work, written, failed)
        elif written is not None:
            written.cancel()
