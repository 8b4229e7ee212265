"""What tests of code that uses TestVibe need: the service, faults, virtual time, no leaks."""

from __future__ import annotations

from .clock import VirtualTimeLoop
from .emulator import Emulator, Fault, Outcome, RecordedRequest, Scenario
from .fault_proxy import FaultProxy
from .leaks import assert_no_leaks
from .network_faults import NetworkFault

__all__ = [
    "Emulator",
    "Fault",
    "FaultProxy",
    "NetworkFault",
    "Outcome",
    "RecordedRequest",
    "Scenario",
    "VirtualTimeLoop",
    "assert_no_leaks",
]
