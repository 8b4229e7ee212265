"""A table that tests fill in, cell by cell, and print as Markdown."""

import sys
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager

from attrs import define, field


@define
class Table:
    """A table; a cell has each different value that was noted, once."""

    _rows: defaultdict[str, defaultdict[str, dict[str, None]]] = field(
        factory=lambda: defaultdict(lambda: defaultdict(dict))
    )

    def note(self, row: str, column: str, value: object) -> None:
        """Add a value to a cell."""
        self._rows[row][column][str(value)] = None

    @contextmanager
    def printed(self) -> Generator[None]:
        """Print the table at the end, where output is not captured."""
        yield
        columns = list(dict.fromkeys(column for row in self._rows.values() for column in row))
        lines = [["", *columns], ["---"] * (len(columns) + 1)]
        lines += [
            [name, *(", ".join(row[column]) for column in columns)]
            for name, row in self._rows.items()
        ]
        sys.stdout.write("\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
