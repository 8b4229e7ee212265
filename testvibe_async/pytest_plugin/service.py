"""The service for the clients of fixtures: the configured one, or an emulator in a thread.

It decides which of the two. The emulator's thread has an event loop on real time, so every kind of
test can use it, except one whose own loop is on virtual time: that refuses to connect to it. It
never makes a client.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal

from testvibe_async.pytest_plugin.options import POLL_INTERVAL
from testvibe_async.testing import Emulator

if TYPE_CHECKING:
    from collections.abc import Generator

    import pytest

__all__ = ["client_options", "serve_emulator"]


@contextmanager
def serve_emulator(options: dict[str, Any]) -> Generator[Emulator]:
    """Serve an emulator in a thread of its own.

    Args:
        options: The arguments of `Emulator`.
    """
    with (
        start_blocking_portal(name="testvibe emulator") as portal,
        portal.wrap_async_context_manager(Emulator(**options)) as emulator,
    ):
        yield emulator


def client_options(request: pytest.FixtureRequest, fixture: str) -> dict[str, Any]:
    """Return the arguments of a client that name the service, and the interval to poll it.

    Args:
        request: The request of the fixture that makes the client.
        fixture: The name of the fixture that serves the emulator. It is used if the test also asks
            for it, or if the environment names no server.
    """
    if fixture not in request.fixturenames and os.environ.get("TESTVIBE_SERVER"):
        return {}
    emulator: Emulator = request.getfixturevalue(fixture)
    options: dict[str, Any] = request.getfixturevalue(f"{fixture}_options")
    return {
        "server": emulator.url,
        "api_key": emulator.api_key,
        "project": emulator.project_id,
        "endpoints": {},
        "poll_interval": POLL_INTERVAL / options.get("speed", 1.0),
    }
