"""Reports as files, in the format that the file's ending names.

Decides the format by the ending, and never leaves a file half written. No other module of the
reports writes to a disk.
"""

from __future__ import annotations

import os
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from testvibe_async.errors import ConfigError
from testvibe_async.reports.attachments import read_images
from testvibe_async.reports.ctrf import to_ctrf
from testvibe_async.reports.junit import to_junit
from testvibe_async.reports.markdown import to_markdown
from testvibe_async.reports.page import to_html

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from testvibe_async.reports.entries import Item
    from testvibe_async.reports.report import ReportOptions

__all__ = ["report_target", "write_report"]

_FORMATS = {"junit": to_junit, "ctrf": to_ctrf, "md": to_markdown, "html": to_html}

_BY_WORD = {name: name for name in _FORMATS} | {
    "xml": "junit",
    "json": "ctrf",
    "markdown": "md",
    "htm": "html",
}
"""The formats by each word that names one: a file's ending, or its beginning as in `md:PATH`."""


def report_target(text: str) -> tuple[str, Path]:
    """Return the format and the file that a text names: `summary.md`, or `md:summary`.

    Raises:
        ConfigError: It names no format.
    """
    word, colon, path = text.partition(":")
    if colon and path and word.lower() in _BY_WORD:
        return _BY_WORD[word.lower()], Path(path)
    return _format_of(Path(text)), Path(text)


def _format_of(path: Path) -> str:
    """Return the format that a file's ending names.

    Raises:
        ConfigError: The ending is not a known one.
    """
    found = _BY_WORD.get(path.suffix.lower().removeprefix("."))
    if found is None:
        raise ConfigError(
            f"{path.name!r} does not name the report's format: let it end in .xml (JUnit), "
            f".json (CTRF), .md (Markdown), .html or .htm, or write it before, as md:{path.name}"
        )
    return found


def write_report(
    path: str | os.PathLike[str],
    items: Iterable[Item],
    *,
    form: str | None = None,
    **options: Unpack[ReportOptions],
) -> Path:
    """Write a report in the format that the file's ending names, and return its path.

    `.xml` is JUnit XML, `.json` CTRF, `.md` Markdown, `.html` or `.htm` the page. Missing folders
    are made; an existing file is replaced once the new one is whole. Links of the page to artifacts
    are relative to it, so that they work wherever both are moved together.

    It blocks while it writes: in a busy event loop, call it by `asyncio.to_thread`.

    Args:
        path: The file to write.
        items: The items of a batch, from `run_features` or `generate_features`.
        form: The format, `junit`, `ctrf`, `md` or `html`; None for what the ending names.
        options: See `ReportOptions`.

    Raises:
        ConfigError: The ending is not a known one, or a time has no time zone.
        OSError: The file can't be written.
    """
    path = Path(path)
    render = _FORMATS[form or _format_of(path)]
    if render is to_html:
        render = partial(to_html, images=lambda report: read_images(report.by_urgency, path.parent))
        options["artifacts"] = _relative(options.get("artifacts", {}), path.parent)
    _replace(path, render(items, **options))
    return path


def _relative(artifacts: Mapping[int, Sequence[Path]], folder: Path) -> dict[int, list[Path]]:
    return {run_id: [_seen_from(folder, f) for f in files] for run_id, files in artifacts.items()}


def _seen_from(folder: Path, file: Path) -> Path:
    try:
        return Path(os.path.relpath(file, folder))
    except ValueError:  # on Windows, from one drive to another
        return file.absolute()


def _replace(path: Path, text: str) -> None:
    """Replace a file as a whole. An error names this file, not the temporary one beside it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, text)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
