"""Conflicts of a generation with another one, by a deadline."""

import asyncio

import pytest

from tests.conftest import client_of
from tests.support.timing import now
from testvibe_async import GenerationInProgressError
from testvibe_async._dispatch import GenerationDispatch
from testvibe_async.testing import Emulator, Fault


async def test_nothing_is_dispatched_after_the_deadline(emulator: Emulator) -> None:
    """A 409 whose generation can't be seen until the deadline is raised as it is."""
    emulator.fail("generate_feature", Fault.status(409), times=1)
    emulator.fail("get_generation_status", Fault.hang(), skip=1)
    async with client_of(emulator) as client:
        project = client.project()
        dispatch = GenerationDispatch(parts=project._parts, project=project.id, feature="Draft")
        deadline = asyncio.get_running_loop().time() + 5
        with pytest.raises(GenerationInProgressError):
            await project._starter.generate(dispatch, on_conflict="wait", deadline=deadline)
        assert now() < 6
    assert emulator.count("generate_feature") == 1
