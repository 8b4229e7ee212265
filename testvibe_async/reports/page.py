"""A batch as one self-contained HTML page.

Decides what is on the page and in which order: the outcome, the failures, the timeline, then every
run or generation, those that failed first. Its style and its script are in `template/`. The page
never uses the network or runs code from data: its Content-Security-Policy allows that style and
that script by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Unpack
from urllib.parse import quote

from testvibe_async._util import __version__
from testvibe_async.reports.failures import failures_section
from testvibe_async.reports.markup import joined
from testvibe_async.reports.operation import operation
from testvibe_async.reports.overview import (
    config_filter,
    facts,
    matrix,
    noun,
    proportions,
    timeline_section,
    verdicts,
)
from testvibe_async.reports.report import Report, ReportOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from testvibe_async.reports.entries import Item

__all__ = ["to_html"]

_ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
    "<circle cx='8' cy='8' r='7' fill='{}'/></svg>"
)
_ICON_COLOURS = {True: "#2e8b57", False: "#c0392b"}


def to_html(
    items: Iterable[Item],
    *,
    images: Callable[[Report], Mapping[Path, bytes]] | None = None,
    **options: Unpack[ReportOptions],
) -> str:
    """Return an HTML page: filters, a timeline, failures with their errors, logs and files.

    It works from a file, without a network, without JavaScript (except the filters), and without a
    mouse.

    Args:
        items: The items of a batch, from `run_features` or `generate_features`.
        images: Returns the contents of the screenshots to show, by the paths in `artifacts`;
            without it there are none. `write_report` reads those of failed tests.
        options: See `ReportOptions`. Links lead to the `artifacts` as they are given: relative
            paths are relative to the page. `write_report` makes them so.

    Raises:
        ConfigError: A time has no time zone.
    """
    report = Report.of(items, **options)
    shared = report.shared_facts.keys()
    is_good = report.summary.is_success
    style, script = _template("page.css"), _template("page.js")
    return Template(_template("page.html")).substitute(
        policy=_policy(style, script),
        page_title=joined(f"{report.headline} · {report.title}"),
        icon="data:image/svg+xml," + quote(_ICON.format(_ICON_COLOURS[is_good])),
        style=style,
        script=script,
        title=joined(report.title),
        tone="good" if is_good else "bad",
        headline=joined(report.headline),
        facts=facts(report),
        proportions=proportions(report),
        verdicts=verdicts(report),
        failures=failures_section(report, images(report) if images else {}),
        noun=noun(report).capitalize(),
        timeline=timeline_section(report),
        matrix=matrix(report),
        config_filter=config_filter(report),
        operations=joined(*(operation(entry, shared) for entry in report.by_urgency)),
        version=__version__,
    )


@cache
def _template(name: str) -> str:
    return files("testvibe_async.reports").joinpath("template", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return the policy that allows the page's own style, script and icon, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
