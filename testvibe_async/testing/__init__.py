"""Tools for tests of code that uses TestVibe: an emulator, faults, virtual time.

They never import the client side, so that the emulator is a second reading of the service's
contract.
"""

from __future__ import annotations

from .clock import VirtualTimeLoop
from .emulator import (
    Answer,
    Emulator,
    Fault,
    Middleware,
    Outcome,
    RecordedExchange,
    RecordedRequest,
    Recording,
    Replay,
    Scenario,
)

__all__ = [
    "Answer",
    "Emulator",
    "Fault",
    "Middleware",
    "Outcome",
    "RecordedExchange",
    "RecordedRequest",
    "Recording",
    "Replay",
    "Scenario",
    "VirtualTimeLoop",
]
