"""A journal after its command was killed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import finished, started
from tests.surfaces.cli.conftest import Service, environment_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture(scope="module")
def slow_service() -> Generator[Service]:
    """An emulator in another process whose runs take some seconds."""
    with started("emulator", "--port", "0", "--speed", "10") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        yield Service(*(line.strip().partition("=")[2] for line in lines))


def test_after_a_crash(slow_service: Service, machine: Path) -> None:
    """After a kill the next command reports the interrupted batch once; resume ends it."""
    variables = environment_of(slow_service)
    variables["XDG_STATE_HOME"] = str(machine / "state")
    with started("run", "Checkout", "Returns", "--wait", **variables) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Batch 1.\n"
        for _ in range(2):  # One that is killed within a dispatch may leave it unknown.
            assert "queued" in process.stdout.readline()
        process.kill()
    for options, is_told in (((), True), (("--wait", "--quiet"), False)):
        (_, errors), _ = finished("run", "Newsletter", *options, **variables)
        assert ("with 0 of 2 operations over" in errors) is is_told
    (output, _), code = finished("resume", "1", **variables)
    assert code in {0, 1}, output
    assert re.search(r"\nBatch 1: 2 in .*: ", output)
