"""What a batch will do with its jobs, told in advance."""

from __future__ import annotations

from typing import Any

import pytest

from testvibe_async import BatchItem
from testvibe_async.runner.forecast import forecast
from testvibe_async.runner.spec import BatchSpec

JOBS: list[BatchItem[Any]] = [
    BatchItem(feature=feature, config=config)
    for feature in ("draft", "ready", "unlisted", "other draft")
    for config in (None, "Mobile")
]
HAS_TESTS: dict[int | str, bool] = {"draft": False, "other draft": False, "ready": True}


NONE: set[str] = set()


@pytest.mark.parametrize(
    ("options", "most", "refused", "limited", "generations"),
    [
        ({"kind": "run"}, None, {"draft", "other draft"}, NONE, 0),
        ({"kind": "run", "on_conflict": "generate"}, None, NONE, NONE, 3),
        ({"kind": "run", "on_conflict": "generate"}, 1, NONE, {"unlisted", "other draft"}, 1),
        ({"kind": "generation"}, None, NONE, NONE, 4),
        ({"kind": "generation"}, 3, NONE, {"other draft"}, 3),
    ],
)
def test_forecast(
    options: dict[str, Any],
    most: int | None,
    refused: set[str],
    limited: set[str],
    generations: int,
) -> None:
    """A feature is generated once for all configurations; an unlisted one may lack tests."""
    found = forecast(BatchSpec(**options), JOBS, has_tests=HAS_TESTS, max_generations=most)
    assert {job.feature for job in found.refused} == refused
    assert {job.feature for job in found.limited} == limited
    assert len(found.generated) == generations
    assert len(found.dispatched) + len(found.refused) + len(found.limited) == len(JOBS)


@pytest.mark.parametrize(("on_conflict", "refused"), [("raise", 2), ("attach", 0)])
def test_what_is_being_generated_is_refused(on_conflict: Any, refused: int) -> None:
    """A generation of it is not foreseen as one that is paid for, unless it is joined."""
    spec = BatchSpec(kind="generation", on_conflict=on_conflict)
    found = forecast(spec, JOBS, has_tests=HAS_TESTS, generating={"draft"})
    assert len(found.refused) == refused
    assert ("draft" in found.generated) is (refused == 0)
