"""The growth of cost with the operations in flight: `python -m benchmarks.scale [--quick]`.

One client dispatches 100, 1,000, 10,000 and 50,000 runs, which take so long that all are in flight
at once, and waits for all of them with the default poll interval. The service, in its own process,
has the list routes. The figures are those of `peers`. Each trial runs once.

The floor is the CPU time of plain aiohttp with one loop that polls the list, in the same run of the
benchmark. It trusts the list, which the client does not, and polls nothing until all is dispatched,
while the client polls from the first dispatch on: at 50,000 that is most of the time, and what the
client needs beyond the floor.

Stalls are shown with and without the passes of the garbage collector, of which the longest goes
through all objects of the process. The second table has the second largest size with the collector
set in different ways once all is imported and connected; these trials run side by side.

Not measured: several clients, several projects, a remote service. The emulator answers with a list
of any length at once; a real service might page it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from benchmarks.figures import with_ratios
from benchmarks.results import measure, progress, table
from benchmarks.spec import Load, Spec
from benchmarks.trial import attempt
from benchmarks.worker import COLLECTORS

if TYPE_CHECKING:
    from benchmarks.figures import Figures
    from benchmarks.results import Document

__all__ = ["scale_tables"]


CLIENT = "testvibe_finished"
FLOOR = "aiohttp_shared_list"


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


FULL = (Size(100, 1.0), Size(1000, 3.0), Size(10_000, 15.0), Size(50_000, 75.0))
QUICK = [
    Load(operations=50, interval=0.5, durations=(1.0, 2.0)),
    Load(operations=500, interval=0.5, durations=(2.0, 3.0)),
]


def _run(*, is_quick: bool) -> Document:
    return asyncio.run(_run_all(QUICK if is_quick else [size.load() for size in FULL]))


async def _run_all(loads: list[Load]) -> Document:
    return {
        "sizes": [await _run_size(load) for load in loads],
        "collectors": await asyncio.gather(*(_run_with(name, loads[-2]) for name in COLLECTORS)),
    }


async def _run_size(load: Load) -> Document:
    return {
        "operations": load.operations,
        "load": asdict(load),
        "figures": await _attempt(CLIENT, load),
        "floor": await _attempt(FLOOR, load),
    }


async def _run_with(collector: str, load: Load) -> Document:
    return {"collector": collector, "figures": await _attempt(CLIENT, load, collector)}


async def _attempt(contender: str, load: Load, collector: str = "as it is") -> Figures:
    progress(f"{contender}, {load.operations:,} operations, collector {collector}")
    return await attempt(Spec(contender=contender, load=load, collector=collector))


COLUMNS = {
    "operations": "{operations:,}",
    "in flight at once": "{most_in_flight:,.0f}",
    "polls per operation": "{polls_per_operation:.2f}",
    "delay p50, s": "{delay_p50:.2f}",
    "delay p99, s": "{delay_p99:.2f}",
    "CPU, ms per operation": "{cpu_ms_per_operation:.2f}",
    "of the floor": "{cpu_ms_per_operation_ratio:.2f}x",
    "memory, KiB per operation": "{peak_kib_per_operation:.2f}",
    "longest stall, ms": "{longest_stall_ms:.0f}",
    "without the collector": "{stall_without_passes_ms:.0f}",
    "lost": "{lost:.0f}",
    "took, s": "{seconds:.0f}",
}
COLLECTOR_COLUMNS = {
    "collector": "{collector}",
    "longest stall, ms": "{longest_stall_ms:.0f}",
    "without the collector": "{stall_without_passes_ms:.0f}",
    "its longest pass, ms": "{longest_pass_ms:.0f}",
    "its passes, ms per operation": "{passes_ms_per_operation:.3f}",
    "CPU, ms per operation": "{cpu_ms_per_operation:.2f}",
    "memory, KiB per operation": "{peak_kib_per_operation:.2f}",
}


def scale_tables(document: Document) -> str:
    """Return a result of this benchmark as tables."""
    sizes = [
        {**with_ratios(size["figures"], size["floor"]), "operations": size["operations"]}
        for size in document["sizes"]
    ]
    collectors = [{**row["figures"], **row} for row in document["collectors"]]
    return (
        f"{table(COLUMNS, sizes)}\n\n"
        "The service lists all of them in one answer, which a real one might page.\n\n"
        f"The collector, at {sizes[-2]['operations']:,} operations:\n\n"
        f"{table(COLLECTOR_COLUMNS, collectors)}"
    )


if __name__ == "__main__":
    measure("scale", __doc__, _run, scale_tables)
