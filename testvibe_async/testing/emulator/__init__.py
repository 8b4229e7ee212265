"""The TestVibe service in this process: an independent reading of its contract."""

from __future__ import annotations

from .emulator import Emulator
from .faults import Fault, Rule
from .feature import Feature
from .generation import Generation
from .project import Project
from .requests import RecordedRequest
from .run import Run
from .scenario import Outcome, Scenario

__all__ = [
    "Emulator",
    "Fault",
    "Feature",
    "Generation",
    "Outcome",
    "Project",
    "RecordedRequest",
    "Rule",
    "Run",
    "Scenario",
]
