"""Fixtures of the tests of commands, for those in processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.commands import started
from tests.surfaces.cli.conftest import Service, machine, run, served, service

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["machine", "run", "served", "service"]


@pytest.fixture(scope="module")
def slow_service(request: pytest.FixtureRequest) -> Generator[Service]:
    """An emulator in another process whose runs take as long as the module says."""
    speed: str = getattr(request.module, "SPEED")  # noqa: B009 - of whichever module it is  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    with started("emulator", "--port", "0", "--speed", speed) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        yield Service(*(line.strip().partition("=")[2] for line in lines))


def environment_of(service: Service) -> dict[str, Any]:
    """Return the variables that name a service to another process."""
    return {
        "TESTVIBE_SERVER": service.url,
        "TESTVIBE_API_KEY": service.api_key,
        "TESTVIBE_PROJECT": service.project_id,
    }
