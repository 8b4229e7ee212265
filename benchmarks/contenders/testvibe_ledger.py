"""testvibe_async: `run_features`, 100 in flight, kept in a ledger file."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.contenders.testvibe_batch import run_batch
from benchmarks.contenders.testvibe_finished import client_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from benchmarks.contenders import FanOut, Seen, Service

__all__ = ["contend"]


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client with a ledger file."""
    keys = count()
    # Beside this file: a temporary folder may be in memory, where a commit costs nothing.
    with TemporaryDirectory(dir=Path(__file__).parent, prefix=".ledger-") as folder:
        async with client_of(service, interval, ledger=Path(folder) / "ledger") as client:

            async def fan_out(features: Sequence[int], seen: Seen) -> Sequence[object]:
                return await run_batch(client, features, seen, key=str(next(keys)))

            yield fan_out
