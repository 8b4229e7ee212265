"""The simulation as a command: `python -m tests.promises.simulation --schedules 10000 --seed 7`."""

from __future__ import annotations

import argparse
import sys

from tests.promises.simulation.canaries import CANARIES, schedules_until_caught
from tests.promises.simulation.search import BrokenScheduleError, replay, search
from tests.promises.simulation.sometimes import never_seen, table

FEW = 2000
"""With fewer schedules than this some states may well be missed."""


def main() -> int:
    """Play schedules, and print what was seen; return 1 where an invariant was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.promises.simulation", description=__doc__
    )
    parser.add_argument("--schedules", type=int, default=2000, help="how many; 2000 by default")
    parser.add_argument("--seed", type=int, default=1, help="of all schedules; 1 by default")
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    parser.add_argument("--replay", metavar="TOKEN", help="play one schedule of a report again")
    parser.add_argument("--canaries", action="store_true", help="let it catch planted mutants")
    options = parser.parse_args()
    if options.replay is not None:
        broken = replay(options.replay)
        print(broken or "This schedule breaks nothing.")  # noqa: T201
        return 1 if broken else 0
    if options.canaries:
        return print_canaries()
    try:
        result = search(options.schedules, seed=options.seed, first=options.first)
    except BrokenScheduleError as error:
        print(error)  # noqa: T201
        return 1
    print(  # noqa: T201
        f"{result.schedules:,} schedules, {result.steps:,} steps, {result.seconds:.1f} s: "
        f"no invariant was broken\n\nsometimes:\n{table(result.seen)}"
    )
    missed = never_seen(result.seen) if options.schedules >= FEW else []
    if missed:
        print(f"\nnever seen, though it has to be: {', '.join(missed)}")  # noqa: T201
    return 1 if missed else 0


def print_canaries() -> int:
    """Print after how many schedules each mutant is caught; return 1 where one is not."""
    caught = {name: schedules_until_caught(name) for name in CANARIES}
    for name, schedules in caught.items():
        print(f"{schedules or 'never':>5}  {name}")  # noqa: T201
    return 0 if all(caught.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
