"""The entries that a quarantine should have, and those that it needs no longer.

Decides both by the last batches, whatever was excused in them. Pure; it writes no file: a person
is responsible for each entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from testvibe_async.models import Run
from testvibe_async.runner.stability import trends_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testvibe_async.runner.kept import KeptBatch
    from testvibe_async.runner.quarantine import Quarantine, QuarantineEntry
    from testvibe_async.runner.stability import Trend

PASSES = 10
"""Number of passes in a row after which an entry may be removed."""


def proposed(batches: Sequence[KeptBatch], quarantine: Quarantine) -> list[Trend]:
    """Return the flaky features without an entry, the flakiest first, each once."""
    known = {each.feature.casefold() for each in quarantine.entries if each.feature}
    flaky = [each for each in trends_of(batches) if "flaky" in each.words]
    flaky.sort(key=lambda each: -each.rate("flaky"))
    by_feature = {each.feature.casefold(): each for each in reversed(flaky)}
    return [each for each in reversed(by_feature.values()) if each.feature.casefold() not in known]


def removable(batches: Sequence[KeptBatch], quarantine: Quarantine) -> list[QuarantineEntry]:
    """Return the entries whose feature or test passed in each of the last runs, if enough."""
    return [
        entry for entry in quarantine.entries if [*_last_results(entry, batches)] == [True] * PASSES
    ]


def _last_results(entry: QuarantineEntry, batches: Sequence[KeptBatch]) -> Iterator[bool]:
    """Yield whether each run that an entry covers passed it, the last run first."""
    count = 0
    for batch in reversed(batches):
        for item in reversed(batch.items):
            names = {str(each).casefold() for each in (item.feature, item.feature_name)}
            for run in reversed(item.attempts):
                if count < PASSES and isinstance(run, Run) and entry.covers(names, run):
                    count += 1
                    yield entry.is_passed(run)
