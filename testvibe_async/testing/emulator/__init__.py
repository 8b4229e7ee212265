"""The TestVibe service in this process: an independent reading of its contract.

The door for `testvibe_async.testing`, which is what users import from.
"""

from __future__ import annotations

from .emulator import Emulator
from .faults import Fault
from .requests import RecordedRequest
from .scenario import Outcome, Scenario

__all__ = ["Emulator", "Fault", "Outcome", "RecordedRequest", "Scenario"]
