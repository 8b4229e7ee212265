"""Traces and metrics by OpenTelemetry, if its API is installed (`testvibe-async[otel]`).

Exported for other packages: `telemetry()`, whose methods never fail, and what it returns: `Trace`,
the span of one dispatch or batch, and `Subscriber`, which records the rest from a client's events.
"""

from __future__ import annotations

import logging
from functools import cache

from testvibe_async._core.telemetry.interface import Attribute, Subscriber, Telemetry, Trace

__all__ = ["Attribute", "Subscriber", "Telemetry", "Trace", "telemetry"]


@cache
def telemetry() -> Telemetry:
    """Return the recorder of traces and metrics. OpenTelemetry is imported at the first call."""
    try:
        from testvibe_async._core.telemetry.otel import OpenTelemetry  # noqa: PLC0415 - it is optional

        return OpenTelemetry()
    except ImportError:
        return Telemetry()
    except Exception as error:  # noqa: BLE001 - such as a provider that is not installed
        logging.getLogger("testvibe_async").warning("OpenTelemetry can't be used: %r", error)
        return Telemetry()
