"""The TestVibe service in this process: an independent reading of its contract.

The door for `testvibe_async.testing`, which is what users import from.
"""

from __future__ import annotations

from .dialect import ODD_FIELDS, Dialect
from .dialects import DIALECTS
from .emulator import Emulator
from .faults import Fault
from .requests import RecordedRequest
from .scenario import Outcome, Scenario

__all__ = [
    "DIALECTS",
    "ODD_FIELDS",
    "Dialect",
    "Emulator",
    "Fault",
    "Outcome",
    "RecordedRequest",
    "Scenario",
]
