"""The dispatches of a batch, predicted from the list of features.

Decides how many generations a batch may dispatch, and what the service will refuse for certain. It
is pure, and dispatches nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from testvibe_async.outcomes import BatchItem
    from testvibe_async.runner.spec import BatchSpec


@frozen
class Forecast:
    """The known dispatches that a batch will make."""

    dispatched: list[BatchItem[Any]] = field(factory=list["BatchItem[Any]"])
    refused: list[BatchItem[Any]] = field(factory=list["BatchItem[Any]"])
    """Runs of a feature without tests, and generations of one that is being generated."""

    limited: list[BatchItem[Any]] = field(factory=list["BatchItem[Any]"])
    """Jobs that need one more generation than are allowed."""

    generated: set[int | str] = field(factory=set["int | str"])
    """The features that may be generated."""


def forecast(
    spec: BatchSpec,
    jobs: Iterable[BatchItem[Any]],
    *,
    has_tests: Mapping[int | str, bool],
    generating: Collection[int | str] = (),
    max_generations: int | None = None,
) -> Forecast:
    """Return what a batch will do with its jobs.

    Args:
        spec: The description of the batch.
        jobs: An item for each operation.
        has_tests: True or False for each feature, as the jobs name it; unknown ones are missing.
        generating: The features that are being generated, likewise.
        max_generations: Maximum number of generations; None for no limit.
    """
    found = Forecast()
    for job in jobs:
        is_generated = spec.kind == "generation" or not has_tests.get(job.feature, False)
        if spec.kind == "generation" and spec.on_conflict == "raise" and job.feature in generating:
            found.refused.append(job)
        elif not spec.may_generate:
            is_refused = not has_tests.get(job.feature, True)
            (found.refused if is_refused else found.dispatched).append(job)
        elif not is_generated or job.feature in found.generated:
            found.dispatched.append(job)
        elif max_generations is not None and len(found.generated) >= max_generations:
            found.limited.append(job)
        else:
            found.generated.add(job.feature)
            found.dispatched.append(job)
    return found
