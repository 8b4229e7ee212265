"""Traces and metrics by OpenTelemetry, where its API is installed (`testvibe-async[otel]`).

For other packages: `telemetry()`, which takes what is told and never fails, and `Trace`, the span
of one operation or batch.
"""

from __future__ import annotations

import logging
from functools import cache

from testvibe_async._telemetry.interface import Attribute, Telemetry, Trace

__all__ = ["Attribute", "Telemetry", "Trace", "telemetry"]


@cache
def telemetry() -> Telemetry:
    """Return where traces and counts go. OpenTelemetry is imported when it is first needed."""
    try:
        from testvibe_async._telemetry.otel import OpenTelemetry  # noqa: PLC0415 - it is optional

        return OpenTelemetry()
    except ImportError:
        return Telemetry()
    except Exception as error:  # noqa: BLE001 - such as a provider that is not installed
        logging.getLogger("testvibe_async").warning("OpenTelemetry can't be used: %r", error)
        return Telemetry()
