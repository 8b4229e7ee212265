"""testvibe_async: `run_features` as it is where OpenTelemetry is not installed; see `traced`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchmarks.contenders import testvibe_batch
from testvibe_async._telemetry import Telemetry, telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from benchmarks.contenders import FanOut, Service

__all__ = ["contend"]


@asynccontextmanager
async def contend(service: Service, interval: float) -> AsyncGenerator[FanOut]:
    """Open a client that tells nobody of itself."""
    # Each module holds the object, so it is turned into another one.
    telemetry().__class__ = Telemetry
    async with testvibe_batch.contend(service, interval) as fan_out:
        yield fan_out
