"""Generations whose answer was lost: reconciled by their status, never dispatched twice."""

from typing import Any

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
