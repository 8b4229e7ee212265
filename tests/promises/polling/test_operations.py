"""What a handle on an operation offers: cancelling, logs, diagnosis, artifacts, and its ref."""

from tests.conftest import client_of
from tests.support.faults import edited
from tests.support.observing import statuses
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, Project, RunOperation, RunRef, errors
from testvibe_async.testing import Emulator


async def test_handles_on_one_operation_are_equal(
    emulator: Emulator, client: Client, operation: RunOperation
) -> None:
    """Handles of one client on one operation are equal, and can stand for it in a set."""
    attached = client.attach(RunRef.from_json(operation.ref.to_json()))
    assert attached is not operation
    assert attached == operation
    assert len({attached, operation}) == 1
    assert await client.project().run_feature("Checkout") != operation
    async with client_of(emulator) as other:
        assert other.attach(operation.ref) != operation


STATUS = "get_generation_status"


async def test_the_previous_status_is_ignored(emulator: Emulator, project: Project) -> None:
    """While a generation is new, a status of the one before it is tolerated."""
    previous = edited(requestId="previous", featureStatus="generated")
    emulator.fail(STATUS, previous, when=lambda _: 0 < now() < 9)
    operation = await project.generate_feature("Draft")

    seen = await statuses(operation)
    assert seen == [("queued", "generating"), ("active", "generating"), ("finished", "generated")]
    assert (await operation).request_id == operation.request_id


async def test_a_poll_of_the_previous_one_says_so(emulator: Emulator, project: Project) -> None:
    """A poll that shows only the previous generation raises, and never returns it."""
    operation = await project.generate_feature("Draft")
    emulator.fail(STATUS, edited(requestId="previous"))

    await raised(errors.ObservationError, operation.poll(), match="still shows the one before")


async def test_superseded_after_it_was_seen(emulator: Emulator, project: Project) -> None:
    """Once a generation was observed, another request id supersedes it, seen twice."""
    operation = await project.generate_feature("Draft")
    await operation.poll()
    emulator.finish_generation(operation.request_id)
    newer = await project.generate_feature("Draft")

    error = await raised(errors.OperationSupersededError, operation)

    assert error.newer_request_id == newer.request_id
    assert newer.request_id in str(error)
    assert emulator.count("get_generation_status") == 2 + 1 + 2
    assert now() < 7


async def test_cancelling_what_is_over_does_nothing(emulator: Emulator, project: Project) -> None:
    """cancel() of a finished generation sends nothing."""
    operation = await project.generate_feature("Draft")
    await operation
    await operation.cancel()

    assert emulator.count("cancel_generation") == 0


async def test_the_log_of_another_is_refused(project: Project) -> None:
    """log() never returns the log of a newer generation."""
    operation = await project.generate_feature("Draft")
    await operation
    assert (await operation.log()).request_id == operation.request_id
    await project.generate_feature("Draft")

    await raised(errors.OperationSupersededError, operation.log())


async def test_the_one_before_supersedes_none(emulator: Emulator, project: Project) -> None:
    """A copy of the service that is behind for long shows what was known before: a failure."""
    first = await project.generate_feature("Draft")
    emulator.finish_generation(first.request_id)
    operation = await project.generate_feature("Draft")
    emulator.fail(STATUS, edited(requestId=first.request_id), times=12)
    assert (await operation).request_id == operation.request_id


async def test_a_newer_generation_supersedes_at_once(emulator: Emulator, project: Project) -> None:
    """Another generation that is newer by `updatedUtc` needs no second answer."""
    operation = await project.generate_feature("Draft")
    await operation.poll()
    emulator.fail(STATUS, edited(requestId="newer", updatedUtc="2099-01-01T00:00:00Z"))
    error = await raised(errors.OperationSupersededError, operation.poll())
    assert error.newer_request_id == "newer"


async def test_cancelling_leaves_others_alone(emulator: Emulator, project: Project) -> None:
    """A cancellation polls until it is sure which generation the service would cancel."""
    operation = await project.generate_feature("Draft")
    await operation.poll()
    emulator.fail(STATUS, edited(requestId="other", updatedUtc=None))
    await raised(errors.OperationSupersededError, operation.cancel())
    assert emulator.count("cancel_generation") == 0


async def test_the_feature_id_is_learned(emulator: Emulator, operation: RunOperation) -> None:
    """A run attached by its id alone knows its feature once it was seen."""
    ref = RunRef(server=emulator.url, project=operation.project, run_id=operation.run_id)
    async with client_of(emulator) as other:
        attached = other.attach(ref)

        assert attached.feature_id is None
        await attached.poll()
        assert attached.feature_id == operation.feature_id
