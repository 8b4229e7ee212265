"""What telling OpenTelemetry costs: `python -m benchmarks.traced [--quick]`.

500 runs of 0.6 to 2 s as one batch, 100 in flight, polled every 0.3 s: without OpenTelemetry, with
its API alone, and with its SDK, whose exporters drop all that they are handed. Processes, seeds,
medians and figures are those of `peers`; the ways alternate. Ratios are to the first of the same
run.

Not measured: exporters that send, and spans of the requests themselves.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from attrs import evolve

from benchmarks.figures import Figures, medians
from benchmarks.results import is_quick_asked, progress, table, write
from benchmarks.spec import Load, Spec
from benchmarks.trial import attempt

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

HEAD = ("with", "took, s", "CPU, ms a feature", "memory, KiB a feature", "lost")


async def _run(*, is_quick: bool) -> Document:
    load = evolve(LOAD, operations=100) if is_quick else LOAD
    trials: dict[str, list[Figures]] = {way: [] for way in WAYS}
    for repeat in range(1 if is_quick else REPEATS):
        for way, spec in WAYS.items():
            progress(f"{way}, {repeat + 1}")
            figures = await attempt(evolve(spec, load=evolve(load, seed=repeat + 1)))
            assert figures is not None
            trials[way].append(figures)
    return {"ways": {way: medians(each) for way, each in trials.items()}}


def traced_table(document: Document) -> str:
    """Return a result of this benchmark as a table."""
    ways: dict[str, Figures] = document["ways"]
    first = next(iter(ways.values()))
    names = ("seconds", "cpu_ms_per_operation", "peak_kib_per_operation")
    rows = [
        [
            way,
            *(f"{each[name]:.2f} ({each[name] / first[name]:.2f}x)" for name in names),
            f"{each['lost']:.0f}",
        ]
        for way, each in ways.items()
    ]
    return table(HEAD, rows)


def main() -> None:
    """Run the benchmark."""
    is_quick = is_quick_asked(__doc__)
    content = asyncio.run(_run(is_quick=is_quick))
    sys.stdout.write(f"{traced_table(content)}\n")
    write("traced", content, is_quick=is_quick)


if __name__ == "__main__":
    main()
