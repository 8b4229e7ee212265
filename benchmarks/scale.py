"""The growth of cost with the operations in flight: `python -m benchmarks.scale [--quick]`.

One client dispatches 100, 1,000, 10,000 and 50,000 runs, which take so long that all are in flight
at once, and waits for all of them with the default poll interval. The service, in its own process,
has the list routes. The figures are those of `peers`. Each size runs three times; the medians are
shown.

Not measured: several clients, several projects, a remote service. The emulator answers with a list
of any length at once; a real service might page it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from attrs import asdict, evolve, frozen

from benchmarks.figures import medians
from benchmarks.results import is_quick_asked, progress, table, write
from benchmarks.spec import Load, Spec
from benchmarks.trial import attempt

if TYPE_CHECKING:
    from benchmarks.figures import Figures
    from benchmarks.results import Document

__all__ = ["scale_table"]


@frozen
class Size:
    """One row of the table."""

    operations: int
    ramp: float
    """Seconds that dispatching may take: no run finishes earlier."""

    def load(self) -> Load:
        """Return the load."""
        return Load(
            operations=self.operations,
            interval=3.0,
            durations=(self.ramp + 5.0, self.ramp + 25.0),
            timeout=4 * self.ramp + 120.0,
        )


REPEATS = 3
FULL = (Size(100, 1.0), Size(1000, 3.0), Size(10_000, 15.0), Size(50_000, 75.0))
QUICK = [
    Load(operations=50, interval=0.5, durations=(1.0, 2.0)),
    Load(operations=500, interval=0.5, durations=(2.0, 3.0)),
]


async def _run(loads: list[Load], repeats: int) -> list[Document]:
    return [await _run_size(load, repeats) for load in loads]


async def _run_size(load: Load, repeats: int) -> Document:
    trials: list[Figures] = []
    for repeat in range(repeats):
        progress(f"{load.operations:,} operations, {repeat + 1} of {repeats}")
        figures = await attempt(
            Spec(contender="testvibe_finished", load=evolve(load, seed=repeat + 1))
        )
        if figures is None:
            break
        trials.append(figures)
    is_complete = len(trials) == repeats
    return {
        "operations": load.operations,
        "load": asdict(load),
        "medians": medians(trials) if is_complete else None,
        "trials": trials,
    }


HEAD = (
    "operations",
    "in flight at once",
    "polls per operation",
    "delay p50, s",
    "delay p99, s",
    "CPU, ms per operation",
    "memory, KiB per operation",
    "longest stall, ms",
    "lost",
    "took, s",
)


def scale_table(document: Document) -> str:
    """Return a result of this benchmark as a table."""
    rows = table(HEAD, [_cells(size) for size in document["sizes"]])
    note = "The service lists all of them in one answer, which a real one might page."
    return f"{rows}\n\n{note}"


def _cells(size: Document) -> list[str]:
    row: Figures | None = size["medians"]
    name = f"{size['operations']:,}"
    if row is None:
        return [name, "timed out", *([""] * (len(HEAD) - 2))]
    return [
        name,
        f"{row['most_in_flight']:,.0f}",
        f"{row['polls_per_operation']:.2f}",
        f"{row['delay_p50']:.2f}",
        f"{row['delay_p99']:.2f}",
        f"{row['cpu_ms_per_operation']:.2f}",
        f"{row['peak_kib_per_operation']:.2f}",
        f"{row['longest_stall_ms']:.0f}",
        f"{row['lost']:.0f}",
        f"{row['seconds']:.0f}",
    ]


def main() -> None:
    """Run the benchmark."""
    is_quick = is_quick_asked(__doc__)
    loads = QUICK if is_quick else [size.load() for size in FULL]
    content = {"sizes": asyncio.run(_run(loads, 1 if is_quick else REPEATS))}
    sys.stdout.write(f"{scale_table(content)}\n")
    write("scale", content, is_quick=is_quick)


if __name__ == "__main__":
    main()
