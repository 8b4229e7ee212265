"""What type checkers know of the public API, and the wrong uses that they refuse, each in a line.

Nothing here runs: mypy and pyright check it. An ignored line that a checker would accept is an
error of that checker: mypy's `warn_unused_ignores` and the comment below see to it.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

if TYPE_CHECKING:
    from testvibe_async import (
        Batch,
        BatchItem,
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
    from testvibe_async import Clinet as Wrong  # type: ignore[attr-defined]
    from testvibe_async.events import Dispatched, Hooks

    async def a_run(client: Client, project: Project) -> None:
        """A run is one from its dispatch to its outcome, however it is waited for."""
        run = assert_type(await project.run_feature("Checkout"), RunOperation)
        assert_type(run.ref, refs.RunRef)
        assert_type(run.phase, models.Phase | None)
        assert_type(run.snapshot, Run | None)
        assert_type(run.outcome, Run | None)
        assert_type(await run.poll(), Run)
        assert_type(await run.wait(timeout=600), Run)
        assert_type(await run, Run)
        assert_type(await run.result(), Run)
        assert_type(await project.run_feature("Checkout").result(timeout=5), Run)
        assert_type(client.with_options(timeout=5), Client)
        assert_type(await client.find_project("Shop"), Project)
        assert_type(await run.diagnose(), models.Diagnosis)
        assert_type(await run.artifacts(), models.Listing[models.Artifact])
        assert_type([change async for change in run], list[models.Transition[Run]])
        assert_type(await project.wait_for_run(run.run_id), Run)
        assert_type(client.attach(refs.RunRef.from_json(run.ref.to_json())), RunOperation)
        assert_type(await outcome_of(run), Run | Generation)

    async def a_generation(client: Client, project: Project) -> None:
        """So is a generation."""
        generation = assert_type(await project.generate_feature("Checkout"), GenerationOperation)
        assert_type(generation.ref, refs.GenerationRef)
        assert_type(await generation.poll(), Generation)
        assert_type(await generation, Generation)
        assert_type(await generation.log(), models.GenerationLog)
        updates = [update async for update in generation.updates()]
        assert_type(updates, list[models.Transition[Generation]])
        assert_type(await project.wait_for_generation("Checkout"), Generation)
        assert_type(client.attach(generation.ref), GenerationOperation)

    async def many(client: Client, run: RunOperation, generation: GenerationOperation) -> None:
        """What is waited for together keeps its kind; a ref of either kind is of both."""
        assert_type(await client.gather(run, run), list[Run])
        assert_type(await client.gather(generation), list[Generation])
        assert_type(await client.gather(run, generation), list[Run | Generation])
        both: list[RunOperation | GenerationOperation] = [run, generation]
        assert_type(await client.gather(*both), list[Run | Generation])
        found = await client.gather(run, generation, return_exceptions=True)
        assert_type(found, list[Run | Generation | errors.VibeError])
        assert_type(await client.gather(run, return_exceptions=True), list[Run | errors.VibeError])
        async for operation in client.finished([run]):
            assert_type(operation, RunOperation)
        async for any_operation in client.finished(both):
            assert_type(any_operation, RunOperation | GenerationOperation)
        async for changed, change in client.changes([run]):
            assert_type((changed, change), tuple[RunOperation, models.Transition[Run]])
        async for made, update in client.changes([generation]):
            assert_type((made, update), tuple[GenerationOperation, models.Transition[Generation]])
        either = refs.Ref.from_json("")
        assert_type(client.attach(either), RunOperation | GenerationOperation)

    async def outcome_of(operation: Operation[Run | Generation]) -> Run | Generation:
        """Take any operation: what it comes to is covariant."""
        return await operation

    def misspelled(client: Wrong) -> None: ...  # pyright: ignore[reportUnknownParameterType]

    async def store(event: Dispatched) -> None: ...

    async def refused(client: Client, project: Project, runs: Batch[Run]) -> None:
        """Use each of them wrongly."""
        client.projects()  # type: ignore[attr-defined]
        project.run_feature("Checkout", timeout=5)  # type: ignore[call-arg]
        project.run_feature("Checkout", on_conflict="attach")  # type: ignore[arg-type]
        project.generate_feature("Checkout", on_conflict="generate")  # type: ignore[arg-type]
        number: int = project.run_feature("Checkout").run_id  # type: ignore[attr-defined]
        operation: RunOperation = project.run_feature("Checkout")  # type: ignore[assignment]
        generation: Generation = await operation  # type: ignore[assignment]
        other: Generation = await project.run_feature("Checkout").wait()  # type: ignore[assignment]
        items: list[BatchItem[Generation]] = await runs  # type: ignore[assignment]
        in_flight: list[int] = runs.in_flight  # type: ignore[assignment]
        narrow: Batch[Generation] = runs  # type: ignore[assignment]
        await client.gather(project.run_feature("Checkout"))  # type: ignore[call-overload]
        client.finished([refs.Ref.from_json("")])  # type: ignore[type-var]
        client.attach("run 214")  # type: ignore[call-overload]
        Hooks(on_dispatched=store)  # type: ignore[arg-type]
        Client(ledger=7)  # type: ignore[arg-type]
        project.run_feature("Checkout", key=7)  # type: ignore[arg-type]
        Hooks(on_dispatched=[store])  # type: ignore[list-item]
        Hooks(on_dispatch=print)  # type: ignore[call-arg]
        project.run_features(["Checkout"], max_unread="3")  # type: ignore[arg-type]
        project.generate_features(["Checkout"], max_unread=3)  # type: ignore[call-arg]
        client.with_options(session=None)  # type: ignore[call-arg]
        client.with_options(timeout="5")  # type: ignore[arg-type]
        text: str = project.run_feature("Checkout").result().summary  # type: ignore[attr-defined]
        client.find_project("Shop").run_feature("Checkout")  # type: ignore[attr-defined]
        Client(user_agent=7)  # type: ignore[arg-type]
        client.project(7)  # type: ignore[arg-type]
        project.run_operation("214")  # type: ignore[arg-type]
        for _ in runs:  # type: ignore[attr-defined]
            pass
        with client:  # type: ignore[attr-defined]
            pass
        project.run_feature(None)  # type: ignore[arg-type]
        del number, generation, other, items, in_flight, narrow, text
        # Types can't see these: a forgotten await of a dispatch (mypy's `unused-awaitable` does),
        # a text in place of several features, a blank name, and an address that is none.
