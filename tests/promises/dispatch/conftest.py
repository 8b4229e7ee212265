"""An emulator whose durations are known, with features that have no tests yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from tests.support.timing import STEADY
from testvibe_async.testing import Outcome

if TYPE_CHECKING:
    from testvibe_async.testing import Emulator, Scenario


@pytest.fixture
def scenario() -> Scenario:
    """Every run takes 30 s and passes; every generation succeeds, except those of "Broken"."""
    return evolve(STEADY, outcomes={"Broken": Outcome(generation_status="failed")})


@pytest.fixture
def emulator(emulator: Emulator) -> Emulator:
    """The service, with two more features, which have no tests yet."""
    emulator.add_feature("Draft", status="draft")
    emulator.add_feature("Broken", status="draft")
    return emulator
