"""The simulation as a command: `python -m tests.promises.simulation --schedules 10000 --seed 7`."""

import argparse
import sys

from tests.promises.simulation import restarts, world
from tests.promises.simulation.search import BrokenScheduleError, replay, search

WORLDS = {
    "play": (world.play, world.SOMETIMES),
    "play_restarts": (restarts.play_restarts, restarts.SOMETIMES),
    "play_shared": (restarts.play_shared, restarts.SOMETIMES),
}

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
    parser.add_argument(
        "--world",
        choices=WORLDS,
        default="play",
        help="play; play_restarts: one key in several processes; play_shared: in two at once",
    )
    options = parser.parse_args()
    play, expected = WORLDS[options.world]
    if options.replay is not None:
        broken = replay(options.replay, play)
        print(broken or "This schedule breaks nothing.")  # noqa: T201
        return 1 if broken else 0
    try:
        result = search(options.schedules, seed=options.seed, first=options.first, play=play)
    except BrokenScheduleError as error:
        print(error)  # noqa: T201
        return 1
    print(  # noqa: T201
        f"{result.schedules:,} schedules, {result.steps:,} steps, {result.seconds:.1f} s: "
        f"no invariant was broken\n\nsometimes:\n{result.table(expected)}"
    )
    missed = result.never_seen(expected) if options.schedules >= FEW else []
    if missed:
        print(f"\nnever seen, though it has to be: {', '.join(missed)}")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
