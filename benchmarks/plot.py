"""The plot of cost against operations in flight: small, and identical for identical numbers."""

# matplotlib's own annotations leave its keyword arguments open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.results import Document

__all__ = ["draw"]

PANELS = (
    ("cpu_ms_per_operation", "CPU, ms per operation"),
    ("peak_kib_per_operation", "memory, KiB per operation"),
    ("polls_per_operation", "polls per operation"),
)


def draw(document: Document, path: Path) -> None:
    """Write the plot of a result of `scale` as SVG, keeping text as text."""
    sizes = [size for size in document["sizes"] if size["figures"] is not None]
    counts = [size["operations"] for size in sizes]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "scale", "font.size": 9}):
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        axes: list[Axes] = [figure.add_subplot(1, len(PANELS), n + 1) for n in range(len(PANELS))]
        for panel, (name, title) in zip(axes, PANELS, strict=True):
            _draw_panel(panel, counts, [size["figures"][name] for size in sizes], title)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_panel(panel: Axes, counts: list[int], values: list[float], title: str) -> None:
    panel.plot(counts, values, marker="o", color="#2563eb")
    panel.set_xscale("log")
    panel.set_ylim(0, 1.1 * max(values))
    panel.set_xticks(counts, [f"{count:,}" for count in counts])
    panel.minorticks_off()
    panel.set_title(title)
    panel.set_xlabel("operations in flight")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color="#e5e7eb")
