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
import shlex
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import quote

from testvibe_async._core.util import __version__, clean
from testvibe_async._core.util.serialization import wire_name
from testvibe_async.errors import ConfigError
from testvibe_async.reports.entries import ID_FIELDS, IMAGES, Case, Entry, Item
from testvibe_async.reports.report import Report, ReportOptions
from testvibe_async.reports.text import likeness, one_line
from testvibe_async.reports.timeline import timeline
from testvibe_async.runner.words import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from jinja2 import Environment


MAX_IMAGE_BYTES = 1_000_000
"""Size of the largest screenshot that becomes part of the page."""

MAX_IMAGES_BYTES = 16_000_000
"""Size of all screenshots that become part of the page."""

_TYPES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
"""The types of images by their first bytes; no other image is shown."""

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte (PEP 383), and so never occur in a path of this system."""


def to_html(items: Iterable[Item], **options: Unpack[ReportOptions]) -> str:
    """Return an HTML page: filters, a timeline, failures with their errors, logs and files.

    It works from a file, without a network, without JavaScript (except the filters), and without a
    mouse. It needs jinja2.

    The arguments are those of `write_report`.
    """
    folder = options.get("folder")
    if folder is not None:
        options["artifacts"] = {
            run_id: [_seen_from(folder, file) for file in found]
            for run_id, found in options.get("artifacts", {}).items()
        }
    report = Report.of(items, **options)
    first = [file for entry, case in report.failures for file in entry.files_of(case)[:1]]
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            kinds={wire_name(field): kind for kind, field in ID_FIELDS.items()},
            images={} if folder is None else read_images(first, folder),
            proportions=proportions(report),
            groups=groups(report),
            picture=timeline(report),
            matrix=matrix(report),
            version=__version__,
        )
    )


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
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = environment.filters
    for each in (counted, digest, duration, href, is_trace, one_line, show_trace, utc):
        filters[each.__name__] = each
    return environment


def _finalize(value: object) -> object:
    """Return the value to insert into the page; a plain text loses its unsafe characters."""
    return clean(value) if type(value) is str else value


def digest(text: str) -> str:
    """Return the source of the Content-Security-Policy that allows a style or a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _seen_from(folder: Path, file: Path) -> Path:
    try:
        return type(file)(os.path.relpath(file, folder))
    except ValueError:  # on Windows, from one drive to another
        return file.absolute()


def href(file: Path) -> str:
    """Return the URL of a file, relative if its path is. No part of a path becomes a scheme."""
    path = type(file)(_NO_BYTE.sub("\ufffd", str(file)))
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))


def utc(instant: datetime | None, form: str = "%H:%M:%S") -> str:
    """Return a time of day; empty for None."""
    return f"{instant.astimezone(UTC):{form}} UTC" if instant else ""


def is_trace(file: Path) -> bool:
    """Return whether a file opens in Playwright's trace viewer."""
    return file.suffix.lower() == ".zip" and "trace" in file.as_posix().lower()


def show_trace(file: Path) -> str:
    """Return the command that shows a trace, to be pasted into a shell."""
    return f"npx playwright show-trace {shlex.quote(file.as_posix())}"


def read_images(
    files: Iterable[Path], folder: Path, *, most: int = MAX_IMAGES_BYTES
) -> dict[Path, str]:
    """Return those files that are images as data URLs, as far as there is room.

    Args:
        files: The first file of each failed test, those first that matter most.
        folder: Base folder of relative paths.
        most: Bytes of all of them.
    """
    images: dict[Path, str] = {}
    for file in dict.fromkeys(files):
        if file.suffix.lower() in IMAGES:
            content = _read(folder / file, min(most, MAX_IMAGE_BYTES))
            kind = next((name for magic, name in _TYPES.items() if content.startswith(magic)), None)
            if kind is not None:
                images[file] = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
                most -= len(content)
    return images


def _read(path: Path, most: int) -> bytes:
    """Return a file's bytes; none if it is too large, or can't be read."""
    with suppress(OSError), path.open("rb") as file:
        content = file.read(most + 1)
        return content if len(content) <= most else b""
    return b""


def proportions(report: Report) -> list[tuple[str, float, float]]:
    """Return the word, the left and the width of each verdict's share, in percent."""
    found = Counter("flaky" if each.item.is_flaky else each.word for each in report.by_urgency)
    widths = [100 * number / len(report.entries) for number in found.values()]
    return list(zip(found, accumulate([0, *widths]), widths, strict=False))


def groups(report: Report) -> list[list[tuple[Entry, Case]]]:
    """Return the failed tests that have like errors together, the most frequent first."""
    found: dict[str, list[tuple[Entry, Case]]] = {}
    for entry, case in report.failures:
        found.setdefault(likeness(case.error), []).append((entry, case))
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
