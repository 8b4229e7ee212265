"""This client's CPU profile: `python -m benchmarks.profiling [--no-lists] [--quick]`.

The first scenario of `peers`, under cProfile with the process's CPU clock, so that waiting costs
nothing. The profiler makes everything about three times as slow: read the shares, not the seconds,
and don't compare with `peers`. Prints the most expensive functions.
"""

from __future__ import annotations

import asyncio
import pstats
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.spec import Load, Spec
from benchmarks.trial import attempt

if TYPE_CHECKING:
    from benchmarks.figures import Figures

__all__: list[str] = []

SHOWN = 40


def _profile(load: Load, path: Path) -> Figures:
    figures = asyncio.run(
        attempt(Spec(contender="testvibe_finished", load=load, profile=str(path)))
    )
    if figures is None:
        message = f"timed out after {load.timeout:g} s"
        raise SystemExit(message)
    return figures


def main() -> None:
    """Run the profile and print it."""
    load = Load(
        operations=100 if "--quick" in sys.argv[1:] else 1000,
        interval=1.0,
        durations=(1.0, 5.0),
        lists="--no-lists" not in sys.argv[1:],
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "profile"
        figures = _profile(load, path)
        sys.stdout.write(
            f"{load.operations} operations, {figures['requests_per_operation']:.2f} requests and, "
            f"under the profiler, {figures['cpu_ms_per_operation']:.2f} ms each\n"
        )
        for order in ("tottime", "cumtime"):
            pstats.Stats(str(path)).strip_dirs().sort_stats(order).print_stats(SHOWN)


if __name__ == "__main__":
    main()
