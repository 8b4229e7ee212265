"""What telling OpenTelemetry costs: `python -m benchmarks.traced [--quick]`.

500 runs of 0.6 to 2 s as one batch, 100 in flight, polled every 0.3 s: without OpenTelemetry, with
its API alone, and with its SDK, whose exporters drop all that they are handed. Processes, seeds,
medians and figures are those of `peers`; the ways alternate. Ratios are to the first of the same
run.

Not measured: exporters that send, and spans of the requests themselves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import evolve

from benchmarks.figures import Figures, medians, with_ratios
from benchmarks.results import measure, table
from benchmarks.spec import Load, Spec
from benchmarks.trial import alternate

if TYPE_CHECKING:
    from benchmarks.results import Document

__all__ = ["traced_table"]

LOAD = Load(operations=500, interval=0.3, durations=(0.6, 2.0))
WAYS = {
    "without OpenTelemetry": Spec(contender="testvibe_batch", load=LOAD),
    "its API": Spec(contender="testvibe_batch", load=LOAD, opentelemetry=True),
    "its SDK": Spec(contender="testvibe_traced", load=LOAD, opentelemetry=True),
}
REPEATS = 5

COLUMNS = {
    "with": "{title}",
    "took, s": "{seconds:.2f} ({seconds_ratio:.2f}x)",
    "CPU, ms a feature": "{cpu_ms_per_operation:.2f} ({cpu_ms_per_operation_ratio:.2f}x)",
    "memory, KiB a feature": "{peak_kib_per_operation:.2f} ({peak_kib_per_operation_ratio:.2f}x)",
    "lost": "{lost:.0f}",
}


def _run(*, is_quick: bool) -> Document:
    load = evolve(LOAD, operations=100) if is_quick else LOAD
    ways = {way: evolve(spec, load=load) for way, spec in WAYS.items()}
    trials = asyncio.run(alternate(ways, repeats=1 if is_quick else REPEATS))
    return {"ways": {way: medians(each) for way, each in trials.items()}}


def traced_table(document: Document) -> str:
    """Return a result of this benchmark as a table."""
    ways: dict[str, Figures] = document["ways"]
    first = next(iter(ways.values()))
    return table(COLUMNS, [{"title": way, **with_ratios(row, first)} for way, row in ways.items()])


if __name__ == "__main__":
    measure("traced", __doc__, _run, traced_table)
