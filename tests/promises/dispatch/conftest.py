"""An emulator whose durations are known, with features that have no tests yet."""

import pytest
from attrs import evolve

from tests.support.timing import STEADY
from testvibe_async.testing import Emulator, Outcome, Scenario


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
