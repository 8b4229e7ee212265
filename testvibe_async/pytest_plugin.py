"""A fixture for pytest: the emulated service, for tests of code that uses this package.

Add `pytest_plugins = ["testvibe_async.pytest_plugin"]` to your conftest.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import start_blocking_portal

from testvibe_async.testing import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["testvibe_emulator", "testvibe_emulator_options"]


@pytest.fixture
def testvibe_emulator_options() -> dict[str, Any]:
    """Return the arguments of the `Emulator`. Override it to choose others.

    By default its time runs 100 times as fast as ours: a run takes about 0.3 s.
    """
    return {"speed": 100.0}


@pytest.fixture
def testvibe_emulator(testvibe_emulator_options: dict[str, Any]) -> Iterator[Emulator]:
    """Serve the emulator for one test, in a thread of its own.

    So it works in plain tests, and beside any plugin for asynchronous ones. It runs on real time:
    for virtual time open an `Emulator` inside the test, in its event loop.
    """
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Emulator(**testvibe_emulator_options)) as emulator,
    ):
        yield emulator
