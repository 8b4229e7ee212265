"""What one operation costs, counted and not timed: `python -m benchmarks.counters`.

The contenders of `peers` run 20 and then 60 operations of 1 to 5 s, polled every second, on a
service in memory and on virtual time. Each figure is the difference between both, divided by 40, so
that the cost of a client and its connections is not in it. The calls are the same on every machine,
and the bytes nearly. The results of the other benchmarks contain the counters too, as they were
when the benchmark ran: a test compares all of them with those of the present code.

- Own calls: calls of Python functions of this package.
- All calls: calls of all Python functions, including aiohttp's and asyncio's. Calls of built-in and
  compiled functions don't count. In both columns, each resumption of a coroutine is a call.
- Held: bytes of Python objects while all operations are in flight, after two polls; without the
  memory of SQLite.
- Requests: the dispatch, the polls by id, and a share of the lists.

The published figures are those of Python 3.11; later versions inline comprehensions. OpenTelemetry
is not used.

`--calls` shows how often each function of this package is called. `--trace` lists the functions
that one operation enters, in order, after the same operation has filled all caches, on a service
without lists. Neither writes a file.
"""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from benchmarks.results import count, table, write

if TYPE_CHECKING:
    from benchmarks.results import Document

__all__ = ["counters_table"]

HEAD = ("", "own calls", "all calls", "held, bytes", "requests")


def counters_table(document: Document) -> str:
    """Return a result of this benchmark as a table."""
    rows: dict[str, dict[str, float]] = document["counters"]
    return table(
        HEAD,
        [
            [
                title,
                f"{row['own_calls']:,.0f}",
                f"{row['calls']:,.0f}",
                f"{row['held_bytes']:,.0f}",
                f"{row['requests']:.1f}",
            ]
            for title, row in rows.items()
        ],
    )


def _walk_lines(title: str, walk: list[tuple[str, int, str]]) -> list[str]:
    hops = [(file, list(functions)) for file, functions in groupby(walk, itemgetter(0))]
    files = len({file for file, _, _ in walk})
    lines = [f"{title}: {len(walk)} functions in {files} files, {len(hops)} hops between files", ""]
    for number, (file, functions) in enumerate(hops, 1):
        lines += [f"{number:4} {file}", *(f"       {line:5} {name}" for _, line, name in functions)]
    return [*lines, ""]


def _call_lines(title: str, calls: list[tuple[tuple[str, int, str], float]]) -> list[str]:
    most_first = sorted(calls, key=itemgetter(1), reverse=True)
    rows = [f"{number:8.2f} {file}:{line} {name}" for (file, line, name), number in most_first]
    return [f"{title}: {sum(number for _, number in calls):,.0f} calls", "", *rows, ""]


def main() -> None:
    """Count, or show what was counted in detail."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--calls", action="store_true", help="show the calls of each function")
    way.add_argument("--trace", action="store_true", help="list the functions that are entered")
    options = parser.parse_args()
    if options.calls or options.trace:
        what, show = ("calls", _call_lines) if options.calls else ("walks", _walk_lines)
        found: dict[str, Any] = count(what)
        sys.stdout.write("\n".join(line for each in found.items() for line in show(*each)))
        return
    sys.stdout.write(f"{counters_table(write('counters', {}, is_quick=False))}\n")


if __name__ == "__main__":
    main()
