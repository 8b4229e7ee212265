"""What tests of code that uses TestVibe need: the service, faults, and virtual time."""

from __future__ import annotations

from .clock import VirtualTimeLoop
from .emulator import Emulator, Fault, Outcome, RecordedRequest, Scenario
from .faults import FaultProxy, NetworkFault

__all__ = [
    "Emulator",
    "Fault",
    "FaultProxy",
    "NetworkFault",
    "Outcome",
    "RecordedRequest",
    "Scenario",
    "VirtualTimeLoop",
]
