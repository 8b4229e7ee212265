"""An emulator whose durations are known."""

import pytest

from tests.support.seams import leave_out_the_first_list
from tests.support.timing import STEADY
from testvibe_async.testing import Emulator, Scenario


@pytest.fixture(autouse=True)
def _no_read_before_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the list call before a client's first run, which is none of the poller's."""
    leave_out_the_first_list(monkeypatch)


@pytest.fixture
def scenario() -> Scenario:
    """Every run takes 30 s and passes; every generation succeeds."""
    return STEADY


@pytest.fixture
def emulator(emulator: Emulator) -> Emulator:
    """The service, with one more feature, which has no tests yet."""
    emulator.add_feature("Draft", status="draft")
    return emulator
