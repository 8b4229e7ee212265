"""testvibe_async: `run_features`, 100 in flight, kept in a journal."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.contenders.testvibe_batch import run_batch
from benchmarks.contenders.testvibe_finished import client_of
from testvibe_async import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.contenders import FanOut, Seen, Service

__all__ = ["contend"]


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client, and a folder for the journals."""
    numbers = count()
    # Beside this file: a temporary folder may be in memory, where a commit costs nothing.
    with TemporaryDirectory(dir=Path(__file__).parent, prefix=".journal-") as folder:
        async with client_of(service, interval) as client:

            async def fan_out(features: Sequence[int], seen: Seen) -> Sequence[object]:
                async with Journal(Path(folder) / f"{next(numbers)}.journal") as journal:
                    return await run_batch(client, features, seen, journal=journal)

            yield fan_out
