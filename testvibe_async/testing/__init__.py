"""What tests of code that uses TestVibe need: the service in this process, and virtual time."""

from __future__ import annotations

from .clock import VirtualTimeLoop
from .emulator import Emulator, Fault, Outcome, RecordedRequest, Scenario

__all__ = ["Emulator", "Fault", "Outcome", "RecordedRequest", "Scenario", "VirtualTimeLoop"]
