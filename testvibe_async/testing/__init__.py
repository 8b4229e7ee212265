"""Tools for tests of code that uses TestVibe: an emulator, faults, virtual time, a leak check.

They never import the client side, so that the emulator is a second reading of the service's
contract.
"""

from __future__ import annotations

from .clock import VirtualTimeLoop
from .emulator import (
    DIALECTS,
    ODD_FIELDS,
    Dialect,
    Emulator,
    Fault,
    Outcome,
    RecordedRequest,
    Scenario,
)
from .fault_proxy import FaultProxy
from .leaks import assert_no_leaks
from .network_faults import NetworkFault

__all__ = [
    "DIALECTS",
    "ODD_FIELDS",
    "Dialect",
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
