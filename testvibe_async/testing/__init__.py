"""Tools for tests of code that uses TestVibe: an emulator, faults, virtual time.

They never import the client side, so that the emulator is a second reading of the service's
contract.
"""

from __future__ import annotations

from .answers import Answer
from .api import Middleware
from .clock import VirtualTimeLoop
from .emulator import Emulator
from .recording import RecordedExchange, Recording, Replay
from .requests import Fault, RecordedRequest
from .scenario import Outcome, Scenario

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
