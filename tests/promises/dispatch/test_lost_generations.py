"""Generations whose answer was lost: reconciled by their status, never dispatched twice."""

import asyncio
from typing import Any

from tests.support.faults import edited
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Project, errors
from testvibe_async.testing import Emulator, Fault


async def lose(project: Project) -> errors.DispatchUnknownError:
    """Dispatch a generation whose answer is lost, and return the error."""
    return await raised(errors.DispatchUnknownError, project.generate_feature("Draft"))


async def test_an_unseen_status_proves_nothing(emulator: Emulator, project: Project) -> None:
    """Without the status from before the dispatch nothing can be told, and nothing is asked."""
    emulator.fail("get_generation_status", Fault.status(404))
    emulator.fail("generate_feature", Fault.reset())
    error = await lose(project)
    assert error.reason == "unseen"
    assert "before it is not known" in error.what
    assert now() < 1


async def test_an_earlier_one_is_not_adopted(emulator: Emulator, project: Project) -> None:
    """A copy that is behind shows an earlier generation than the last one known: not ours."""
    status = "get_generation_status"
    await (await project.generate_feature("Draft"))
    early = dict[str, Any]()
    emulator.fail(status, Fault.edit(lambda answer: early.update(answer) or answer), times=1)
    await project.get_generation_status("Draft")
    await (await project.generate_feature("Draft"))
    emulator.fail("generate_feature", Fault.reset(), times=1)
    emulator.fail(status, Fault.edit(lambda _: early), skip=1)

    error = await lose(project)
    assert "from before the dispatch" in error.what
    assert error.reason == "unseen"
    assert len(emulator.generations) == 2


async def test_a_finished_generation_is_adopted_too(emulator: Emulator, project: Project) -> None:
    """A new generation is adopted also where it has finished by then."""
    await (await project.generate_feature("Draft"))
    emulator.fail("generate_feature", Fault.lost())
    emulator.fail("get_generation_status", Fault.status(500), skip=1, times=4)
    dispatch = asyncio.ensure_future(project.generate_feature("Draft"))
    await asyncio.sleep(1)
    request_id = list(emulator.generations)[-1]
    emulator.finish_generation(request_id)

    operation = await dispatch

    assert operation.request_id == request_id
    assert (await operation).is_success


async def test_an_empty_id_is_not_adopted(emulator: Emulator, project: Project) -> None:
    """A status that names no generation is not adopted."""
    emulator.fail("generate_feature", Fault.lost())
    emulator.fail("get_generation_status", edited(requestId=""), skip=1)
    await lose(project)
