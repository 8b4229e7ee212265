"""The fixtures that the package brings to the tests of others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import client_of
from testvibe_async.testing import Emulator, Scenario

pytest_plugins = ["testvibe_async.pytest_plugin"]


async def ran(emulator: Emulator, feature: str) -> str:
    async with client_of(emulator, poll_interval=0.02) as client:
        return (await (await client.project().run_feature(feature))).status


def test_a_plain_test_has_a_service(testvibe_emulator: Emulator) -> None:
    """The emulator listens while the test runs, also where no event loop of the test does."""
    assert asyncio.run(ran(testvibe_emulator, "Checkout")) in {"passed", "failed"}
    assert len(testvibe_emulator.runs) == 1


def test_each_test_has_a_service_of_its_own(testvibe_emulator: Emulator) -> None:
    """Nothing is left of what another test did."""
    assert testvibe_emulator.runs == {}
    assert testvibe_emulator.requests == []


def test_time_is_short(testvibe_emulator_options: dict[str, Any]) -> None:
    """Without options of one's own the service's time runs 100 times as fast as ours."""
    assert testvibe_emulator_options == {"speed": 100.0}


class TestOptions:
    @pytest.fixture
    def testvibe_emulator_options(self) -> dict[str, Any]:
        """One that fails each run, without the shop."""
        return {"speed": 100.0, "shop": False, "scenario": Scenario(failing_runs=1)}

    def test_options_are_the_emulators(self, testvibe_emulator: Emulator) -> None:
        """Who overrides testvibe_emulator_options chooses the arguments of the Emulator."""
        assert testvibe_emulator.features == {}
        testvibe_emulator.add_feature("Login")

        assert asyncio.run(ran(testvibe_emulator, "Login")) == "failed"
