"""Layout of a help page: the common options with `--help`, all of them with `--help-all`.

The commands decide the content: their docstrings, and their options in `options`.
"""

from __future__ import annotations

import re
from textwrap import dedent, indent
from typing import TYPE_CHECKING

from attrs import frozen
from rich.table import Table
from rich.text import Text

from testvibe_async.cli.common import MORE_OPTIONS

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions


EXAMPLES = 3
"""Maximum number of examples in a short help."""

NAME_CELLS = 24
"""Minimum width of the column of option names, so that all panels of a help align."""


@frozen
class CompactHelp:
    """Prints the parts of a help, as the `HelpFormatter` of cyclopts."""

    is_whole: bool
    """True if all options and the complete texts are printed."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:  # noqa: ARG002
        """Print a table of commands or options."""
        is_listed = self.is_whole or panel.format == "command"
        if not panel.entries or (panel.title == MORE_OPTIONS and not is_listed):
            return
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=NAME_CELLS if panel.format == "parameter" else None)
        for entry in panel.entries:
            table.add_row(f"  {self._names(entry)}", Text(self._description(entry)))
        if is_listed:
            console.print(f"\n{panel.title}", style="bold")
        console.print(table)

    def render_usage(self, console: Console, _options: ConsoleOptions, usage: Text) -> None:
        """Print the usage."""
        console.print(f"Usage: {usage.plain}", markup=False)

    def render_description(self, console: Console, _options: ConsoleOptions, text: object) -> None:
        """Print the prose, and the examples as they stand."""
        prose, _, rest = str(getattr(text, "primary_renderable", "")).partition("For example:\n\n")
        examples, _, more = rest.partition("\n\n")
        paragraphs = [*prose.split("\n\n"), examples, *more.split("\n\n")]
        if examples and not self.is_whole:
            paragraphs = [paragraphs[0], "\n".join(examples.splitlines()[:EXAMPLES])]
        for each in filter(None, map(str.rstrip, paragraphs)):
            is_example = each.startswith(" ")
            shown = indent(dedent(each), "  ") if is_example else " ".join(each.split())
            console.print(shown, markup=False)
            console.print()

    def _names(self, entry: HelpEntry) -> str:
        """Return the names of an option: the short one first, and aliases in a whole help."""
        long = entry.names if self.is_whole else entry.names[:1]
        names = [entry.positional_label, *entry.shorts, *long]
        value = f" {entry.metavar}" if entry.metavar and not entry.positional_label else ""
        return ", ".join(filter(None, names)) + value

    def _description(self, entry: HelpEntry) -> str:
        text = " ".join(str(entry.description.primary_renderable).split())
        if not self.is_whole:
            return re.split(r"[.:;] ", text, maxsplit=1)[0].rstrip(".")
        notes = {"one of": entry.choices, "variable": entry.env_var, "default": entry.default}
        said = "; ".join(
            f"{name} {value if isinstance(value, str) else ', '.join(value)}"
            for name, value in notes.items()
            if value
        )
        return f"{text} [{said}]" if said else text
