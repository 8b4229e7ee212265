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
import sys
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from benchmarks.results import is_quick_asked, progress, table, write
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


async def _run(loads: list[Load]) -> Document:
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


async def _attempt(contender: str, load: Load, collector: str = "as it is") -> Figures | None:
    progress(f"{contender}, {load.operations:,} operations, collector {collector}")
    return await attempt(Spec(contender=contender, load=load, collector=collector))


HEAD = (
    "operations",
    "in flight at once",
    "polls per operation",
    "delay p50, s",
    "delay p99, s",
    "CPU, ms per operation",
    "of the floor",
    "memory, KiB per operation",
    "longest stall, ms",
    "without the collector",
    "lost",
    "took, s",
)
COLLECTOR_HEAD = (
    "collector",
    "longest stall, ms",
    "without the collector",
    "its longest pass, ms",
    "its passes, ms per operation",
    "CPU, ms per operation",
    "memory, KiB per operation",
)


def scale_tables(document: Document) -> str:
    """Return a result of this benchmark as tables."""
    sizes = table(HEAD, [_cells(size) for size in document["sizes"]])
    note = "The service lists all of them in one answer, which a real one might page."
    second = document["sizes"][-2]["operations"]
    collectors = table(COLLECTOR_HEAD, [_collector_cells(row) for row in document["collectors"]])
    return f"{sizes}\n\n{note}\n\nThe collector, at {second:,} operations:\n\n{collectors}"


def _cells(size: Document) -> list[str]:
    row: Figures | None = size["figures"]
    floor: Figures | None = size["floor"]
    name = f"{size['operations']:,}"
    if row is None:
        return [name, "timed out", *([""] * (len(HEAD) - 2))]
    cpu = row["cpu_ms_per_operation"]
    return [
        name,
        f"{row['most_in_flight']:,.0f}",
        f"{row['polls_per_operation']:.2f}",
        f"{row['delay_p50']:.2f}",
        f"{row['delay_p99']:.2f}",
        f"{cpu:.2f}",
        "timed out" if floor is None else f"{cpu / floor['cpu_ms_per_operation']:.2f}x",
        f"{row['peak_kib_per_operation']:.2f}",
        f"{row['longest_stall_ms']:.0f}",
        f"{row['stall_without_passes_ms']:.0f}",
        f"{row['lost']:.0f}",
        f"{row['seconds']:.0f}",
    ]


def _collector_cells(document: Document) -> list[str]:
    row: Figures | None = document["figures"]
    if row is None:
        return [document["collector"], "timed out", *([""] * (len(COLLECTOR_HEAD) - 2))]
    return [
        document["collector"],
        f"{row['longest_stall_ms']:.0f}",
        f"{row['stall_without_passes_ms']:.0f}",
        f"{row['longest_pass_ms']:.0f}",
        f"{row['passes_ms_per_operation']:.3f}",
        f"{row['cpu_ms_per_operation']:.2f}",
        f"{row['peak_kib_per_operation']:.2f}",
    ]


def main() -> None:
    """Run the benchmark."""
    is_quick = is_quick_asked(__doc__)
    loads = QUICK if is_quick else [size.load() for size in FULL]
    content = asyncio.run(_run(loads))
    sys.stdout.write(f"{scale_tables(content)}\n")
    write("scale", content, is_quick=is_quick)


if __name__ == "__main__":
    main()
