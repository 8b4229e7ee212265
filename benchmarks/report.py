"""`RESULTS.md`, the front page's table and the plots: `python -m benchmarks.report`.

All comes from `results/*.json`; no number is written by hand.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.counters import counters_table
from benchmarks.hostile import hostile_table
from benchmarks.micro import micro_table
from benchmarks.outages import outages_table
from benchmarks.peers import cost_table, scenario_tables
from benchmarks.plot import draw_peers, draw_scale
from benchmarks.results import progress, read
from benchmarks.scale import scale_tables
from benchmarks.throttled import throttled_tables
from benchmarks.traced import traced_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.results import Document

__all__: list[str] = []

FOLDER = Path(__file__).parent
PLOT = "results/scale.svg"
FRONT_PAGE = FOLDER.parent / "README.md"
FRONT_PAGE_PLOT = "../.github/cost.svg"
HEADING = """# What it costs

Written by `python -m benchmarks.report` from `results/*.json`. The docstring of each benchmark's
module says what each figure means and what is not measured. Run it yourself: milliseconds and
ratios depend on the machine.
"""
SECTIONS: dict[str, tuple[str, Callable[[Document], str]]] = {
    "counters": ("Counted", counters_table),
    "peers": ("Against others, on the same work", scenario_tables),
    "scale": ("At scale, in one process", scale_tables),
    "hostile": ("Against hostile answers", hostile_table),
    "throttled": ("At a service that refuses requests", throttled_tables),
    "outages": ("During an outage", outages_table),
    "traced": ("Seen by OpenTelemetry", traced_table),
    "micro": ("Step by step", micro_table),
}


def _section(benchmark: str, document: Document, usual: str) -> str:
    title, show = SECTIONS[benchmark]
    plot = f"\n\n![Cost against operations in flight]({PLOT})" if benchmark == "scale" else ""
    return f"## {title}\n\n{_origin(document, usual)}\n\n{show(document)}{plot}\n"


def _origin(document: Document, usual: str) -> str:
    """Return the command of a section, and its environment if that is not the usual one."""
    here = _environment(document)
    other = "" if here == usual else f", on {here}"
    return f"`{document['command']}`, commit `{document['commit']}`, {document['taken']}{other}."


def _environment(document: Document) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in document["packages"].items())
    return f"{document['machine']}; {document['system']}; {document['python']}; {packages}"


def _write_front_page(costs: str) -> None:
    """Replace what stands between the heading and the plot."""
    before, heading, page = FRONT_PAGE.read_text().partition("\n## What it costs\n\n")
    _, plot, after = page.partition("\n\n![")
    FRONT_PAGE.write_text(f"{before}{heading}{costs}{plot}{after}")


def main() -> None:
    """Write the report on the benchmarks that have a result."""
    documents = {name: found for name in SECTIONS if (found := read(name)) is not None}
    usual = Counter(map(_environment, documents.values())).most_common(1)[0][0]
    heading = f"{HEADING}\nOn {usual}.\n"
    sections = (_section(name, document, usual) for name, document in documents.items())
    (FOLDER / "RESULTS.md").write_text("\n".join([heading, *sections]))
    if "scale" in documents:
        draw_scale(documents["scale"], FOLDER / PLOT)
    if "peers" in documents:
        draw_peers(documents["peers"], FOLDER / FRONT_PAGE_PLOT)
        _write_front_page(cost_table(documents["peers"]))
    progress(f"Written to {FOLDER / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
