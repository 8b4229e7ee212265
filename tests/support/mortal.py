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
        for _, written in lost:
            if written is not None:
                written.cancel()

    async def _write_all(self) -> None:
        await asyncio.sleep(self.seconds)
        await super()._write_all()

    def _add(self, work: Any, written: "asyncio.Future[Any] | None") -> None:
        if not self.is_killed:
            super()._add(work, written)
        elif written is not None:
            written.cancel()
