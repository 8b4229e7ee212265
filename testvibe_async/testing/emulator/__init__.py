"""The TestVibe service in this process: an independent reading of its contract.

The door for `testvibe_async.testing`, which is what users import from.
"""

from __future__ import annotations

from .answers import Answer
from .api import Middleware
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
]
