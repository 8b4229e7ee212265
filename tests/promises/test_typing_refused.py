"""Wrong uses of the public API that type checkers refuse, each line by mypy and by pyright.

Nothing here runs. An ignored line that a checker would accept is an error of that checker: mypy's
`warn_unused_ignores` and the comment below see to it.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testvibe_async import Batch, BatchItem, Client, Generation, Project, Ref, Run, RunOperation
    from testvibe_async import Clinet as Wrong  # type: ignore[attr-defined]
    from testvibe_async.events import Dispatched, Hooks

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
        refs: list[int] = runs.in_flight  # type: ignore[assignment]
        narrow: Batch[Generation] = runs  # type: ignore[assignment]
        await client.gather(project.run_feature("Checkout"))  # type: ignore[call-overload]
        client.finished([Ref.from_json("")])  # type: ignore[type-var]
        client.attach("run 214")  # type: ignore[call-overload]
        Hooks(on_dispatched=store)  # type: ignore[arg-type]
        Hooks(on_dispatched=[store])  # type: ignore[list-item]
        Hooks(on_dispatch=print)  # type: ignore[call-arg]
        del number, generation, other, items, refs, narrow
