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

`--trace` lists the functions that one operation enters, in order, after the same operation has
filled all caches, on a service without lists. It writes no file.
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

COLUMNS = {
    "": "{title}",
    "own calls": "{own_calls:,.0f}",
    "all calls": "{calls:,.0f}",
    "held, bytes": "{held_bytes:,.0f}",
    "requests": "{requests:.1f}",
}


def counters_table(document: Document) -> str:
    """Return a result of this benchmark as a table."""
    rows: dict[str, dict[str, float]] = document["counters"]
    return table(COLUMNS, [{"title": title, **row} for title, row in rows.items()])


def _walk_lines(title: str, walk: list[tuple[str, int, str]]) -> list[str]:
    hops = [(file, list(functions)) for file, functions in groupby(walk, itemgetter(0))]
    files = len({file for file, _, _ in walk})
    lines = [f"{title}: {len(walk)} functions in {files} files, {len(hops)} hops between files", ""]
    for number, (file, functions) in enumerate(hops, 1):
        lines += [f"{number:4} {file}", *(f"       {line:5} {name}" for _, line, name in functions)]
    return [*lines, ""]


def main() -> None:
    """Count, or list the functions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", action="store_true", help="list the functions that are entered")
    if parser.parse_args().trace:
        walks: dict[str, Any] = count("walks")
        sys.stdout.write("\n".join(line for each in walks.items() for line in _walk_lines(*each)))
        return
    sys.stdout.write(f"{counters_table(write('counters', {}))}\n")


if __name__ == "__main__":
    main()
