"""What type checkers know of the public API: mypy and pyright check these lines, pytest runs them.

`assert_type` does nothing at run time, so the tests also check the values.
"""

from typing import assert_type

from testvibe_async import (
    Client,
    Generation,
    GenerationOperation,
    Operation,
    Project,
    Run,
    RunOperation,
    errors,
    models,
    refs,
)

DRAFT = "Checkout with gift card"


async def test_a_run_is_one_from_dispatch_to_outcome(project: Project) -> None:
    """A dispatch of a run, its ref, its outcome and what hangs on it are of the run's types."""
    operation = assert_type(await project.run_feature("Checkout"), RunOperation)
    assert isinstance(assert_type(operation.ref, refs.RunRef), refs.RunRef)
    assert isinstance(assert_type(operation.phase, models.Phase | None), models.Phase)
    assert assert_type(operation.snapshot, Run | None) is None
    assert isinstance(assert_type(await operation.poll(), Run), Run)
    assert isinstance(assert_type(await operation.wait(timeout=600), Run), Run)
    assert isinstance(assert_type(await operation, Run), Run)
    assert isinstance(assert_type(operation.outcome, Run | None), Run)
    assert isinstance(assert_type(await operation.diagnose(), models.Diagnosis), models.Diagnosis)
    assert isinstance(
        assert_type(await operation.artifacts(), models.Listing[models.Artifact]), list
    )


async def test_a_generation_is_one_from_dispatch_to_outcome(project: Project) -> None:
    """A dispatch of a generation, its ref, outcome and log are of the generation's types."""
    operation = assert_type(await project.generate_feature(DRAFT), GenerationOperation)
    assert isinstance(assert_type(operation.ref, refs.GenerationRef), refs.GenerationRef)
    assert isinstance(assert_type(await operation.poll(), Generation), Generation)
    assert isinstance(assert_type(await operation, Generation), Generation)
    assert assert_type(await operation.log(), models.GenerationLog).sections is not None


async def test_waits_by_name_are_typed(project: Project) -> None:
    """The two waits return what their service's operation promises."""
    operation = await project.run_feature("Checkout")
    assert isinstance(assert_type(await project.wait_for_run(operation.run_id), Run), Run)
    generation = await project.wait_for_generation("Checkout")
    assert isinstance(assert_type(generation, Generation), Generation)


async def test_a_ref_decides_the_handle(client: Client, project: Project) -> None:
    """attach() gives a run for a RunRef, a generation for a GenerationRef, and one of both else."""
    run = await project.run_feature("Checkout")
    generation = await project.generate_feature(DRAFT)
    either: refs.Ref = refs.Ref.from_json(run.ref.to_json())
    read = refs.RunRef.from_json(run.ref.to_json())

    assert type(assert_type(client.attach(run.ref), RunOperation)) is RunOperation
    assert type(assert_type(client.attach(read), RunOperation)) is RunOperation
    attached = assert_type(client.attach(generation.ref), GenerationOperation)
    assert type(attached) is GenerationOperation
    unknown = assert_type(client.attach(either), RunOperation | GenerationOperation)
    assert type(unknown) is RunOperation


async def test_an_iteration_yields_transitions_of_its_kind(project: Project) -> None:
    """`async for` over an operation or its updates gives transitions with snapshots of its type."""
    run = await project.run_feature("Checkout")
    changes = assert_type([change async for change in run], list[models.Transition[Run]])
    assert assert_type(changes[-1].snapshot, Run | None) is run.outcome
    generation = await project.generate_feature(DRAFT)
    updates = [update async for update in generation.updates()]
    assert_type(updates, list[models.Transition[Generation]])
    assert updates[-1].phase is models.Phase.FINISHED


async def test_many_of_one_kind_keep_their_kind(client: Client, project: Project) -> None:
    """gather() and finished() keep the type of what they were given."""
    runs = [await project.run_feature("Checkout") for _ in range(2)]
    assert len(assert_type(await client.gather(*runs), list[Run])) == 2
    async for run in client.finished(runs):
        assert run in assert_type([run], list[RunOperation])
    generation = await project.generate_feature(DRAFT)
    generations = assert_type(await client.gather(generation), list[Generation])
    assert [one.is_finished for one in generations] == [True]
    first, second = runs
    pair = await client.gather(first, generation)
    assert_type(pair, list[Run | Generation])
    assert len(pair) == 2
    both = await client.gather(first, generation, return_exceptions=True)
    assert_type(both, list[Run | Generation | errors.VibeError])
    assert len(both) == 2
    many = await client.gather(*runs, return_exceptions=True)
    assert_type(many, list[Run | errors.VibeError])
    assert len(many) == 2
    async for operation, change in client.changes([first, second]):
        assert_type(operation, RunOperation)
        assert assert_type(change, models.Transition[Run]).status
    async for made, made_change in client.changes([generation]):
        assert_type(made, GenerationOperation)
        assert assert_type(made_change, models.Transition[Generation]).status


async def test_many_of_both_kinds_have_outcomes_of_both(client: Client, project: Project) -> None:
    """gather() and finished() take runs and generations together."""
    run = await project.run_feature("Checkout")
    generation = await project.generate_feature(DRAFT)
    both: list[RunOperation | GenerationOperation] = [run, generation]
    outcomes = assert_type(await client.gather(*both), list[Run | Generation])
    assert [type(outcome) for outcome in outcomes] == [Run, Generation]
    async for operation in client.finished(both):
        assert_type(operation, RunOperation | GenerationOperation)
        assert operation.done


async def outcome_of(operation: Operation[Run | Generation]) -> Run | Generation:
    """Take any operation: what it comes to is covariant."""
    return await operation


async def test_an_operation_is_one_of_a_wider_kind_too(project: Project) -> None:
    """A run's handle serves where a handle on either kind is asked for."""
    assert isinstance(await outcome_of(await project.run_feature("Checkout")), Run)
