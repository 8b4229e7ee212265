"""A batch as one self-contained HTML page.

Decides what is on the page and in which order: the outcome, the failures, the timeline, then every
run or generation, those that failed first. How each part is written is in `template/`, with the
style and the script. The page never uses the network or runs code from data: the template escapes
every value, and its Content-Security-Policy allows that style and that script by their hashes, and
nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import Counter
from datetime import UTC
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import quote

from testvibe_async._util import __version__, clean
from testvibe_async.errors import ConfigError
from testvibe_async.reports.attachments import is_trace, read_images, show_trace
from testvibe_async.reports.report import Report, ReportOptions
from testvibe_async.reports.text import counted, duration, essence, one_line
from testvibe_async.reports.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from jinja2 import Environment

    from testvibe_async.reports.entries import Case, Entry, Item

__all__ = ["to_html"]

OPEN_GROUPS = 10
"""Number of errors that are expanded at first."""

SHOWN_TESTS = 20
"""Number of tests of one error that are listed at first."""

OPEN_ROWS = 12
"""Number of features up to which the table of configurations is expanded."""

_FACT_LABELS = {
    "runId": "Run",
    "requestId": "Generation",
    "featureId": "Feature id",
    "siteUrl": "Site",
    "project": "Project",
    "server": "Server",
}

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte (PEP 383), and so never occur in a path of this system."""


def to_html(items: Iterable[Item], **options: Unpack[ReportOptions]) -> str:
    """Return an HTML page: filters, a timeline, failures with their errors, logs and files.

    It works from a file, without a network, without JavaScript (except the filters), and without a
    mouse. It needs jinja2.

    Args:
        items: The items of a batch, from `run_features` or `generate_features`.
        options: See `ReportOptions`.

    Raises:
        ConfigError: A time has no time zone, or jinja2 is not installed.
    """
    folder = options.get("folder")
    if folder is not None:
        options["artifacts"] = {
            run_id: [_seen_from(folder, file) for file in found]
            for run_id, found in options.get("artifacts", {}).items()
        }
    report = Report.of(items, **options)
    style, script = _template("page.css"), _template("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    first = [case.files[0] for _, case in report.failures if case.files]
    images = {} if folder is None else read_images(first, folder)
    page = _environment().get_template("page.html")
    return page.render(report=report, style=style, script=script, policy=policy, images=images)


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - optional
    except ImportError:
        raise ConfigError(
            "an HTML report needs jinja2: pip install 'testvibe-async[cli]', or use another format"
        ) from None
    environment = Environment(
        loader=PackageLoader("testvibe_async.reports", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
    )
    filters = (anchor, counted, duration, href, is_trace, one_line, show_trace, slug)
    functions = (batch_facts, entry_facts, groups, matrix, noun, proportions, timeline)
    named: dict[str, Any] = environment.filters
    named.update({each.__name__: each for each in filters})
    named = environment.globals
    named.update({each.__name__: each for each in functions})
    named |= {
        "open_groups": OPEN_GROUPS,
        "open_rows": OPEN_ROWS,
        "shown_tests": SHOWN_TESTS,
        "version": __version__,
    }
    return environment


def _finalize(value: object) -> object:
    """Return the value to insert into the page; a plain text loses its unsafe characters."""
    return clean(value) if type(value) is str else value


@cache
def _template(name: str) -> str:
    return files("testvibe_async.reports").joinpath("template", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _seen_from(folder: Path, file: Path) -> Path:
    try:
        return type(file)(os.path.relpath(file, folder))
    except ValueError:  # on Windows, from one drive to another
        return file.absolute()


def href(file: Path) -> str:
    """Return the URL of a file, relative if its path is. No part of a path becomes a scheme."""
    path = _NO_BYTE.sub("\ufffd", file.as_posix())
    if not file.is_absolute():
        return quote(path.encode("utf-8", "surrogateescape"))
    path = path if path.startswith("/") else f"/{path}"
    return "file://" + quote(path.encode("utf-8", "surrogateescape"), safe="/:")


def slug(word: str) -> str:
    """Return a verdict as the name of a CSS class."""
    return word.replace(" ", "-")


def anchor(entry: Entry) -> str:
    """Return the id of an operation's line."""
    return f"operation-{entry.number}"


def batch_facts(report: Report) -> dict[str, str | None]:
    """Return what holds for the whole batch."""
    began_at = report.started_at and report.started_at.astimezone(UTC)
    rows = {
        "Ran": report.tests_in_words,
        "Took": duration(report.seconds),
        "Began": f"{began_at:%d %b %Y, %H:%M:%S} UTC" if began_at else None,
    }
    return rows | {_FACT_LABELS[name]: fact for name, fact in report.shared_facts.items()}


def entry_facts(entry: Entry, known: Collection[str]) -> dict[str, str | None]:
    """Return the times and the identity of an operation, without what the page shows once."""
    times = entry.times
    return {
        "Queued": duration(times.queue_seconds),
        "Began": _time(times.started_at or times.queued_at),
        "Ended": _time(times.finished_at),
    } | {
        label: None if name in known else entry.facts.get(name)
        for name, label in _FACT_LABELS.items()
    }


def _time(instant: datetime | None) -> str:
    return f"{instant.astimezone(UTC):%H:%M:%S} UTC" if instant else ""


def noun(report: Report) -> str:
    """Return what the entries are: `Runs`, `Generations`, or both."""
    kinds = {entry.kind for entry in report.entries} - {"dispatch"}
    if kinds == {"generation"}:
        return "Generations"
    return "Runs" if "generation" not in kinds else "Runs and generations"


def proportions(report: Report) -> list[tuple[str, float, float]]:
    """Return the class, the left and the width of each verdict's share, in percent."""
    found = Counter("flaky" if each.is_flaky else slug(each.verdict) for each in report.by_urgency)
    widths = [100 * number / len(report.entries) for number in found.values()]
    return list(zip(found, accumulate([0, *widths]), widths, strict=False))


def groups(report: Report) -> list[list[tuple[Entry, Case]]]:
    """Return the failed tests that have the same error together, the most frequent first."""
    found: dict[str, list[tuple[Entry, Case]]] = {}
    for entry, case in report.failures:
        found.setdefault(essence(case.error), []).append((entry, case))
    return sorted(found.values(), key=len, reverse=True)


def matrix(report: Report) -> Mapping[str, Mapping[str, list[Entry]]]:
    """Return the entries by feature and configuration; empty for only one configuration."""
    rows: dict[str, dict[str, list[Entry]]] = {}
    if len(report.configs) > 1:
        for entry in report.entries:
            if entry.config:
                row = rows.setdefault(entry.feature, {each: [] for each in report.configs})
                row[entry.config].append(entry)
    return rows
