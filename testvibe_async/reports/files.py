"""Writing a report to a file whose ending says what it is.

The only module of the reports that touches a disk. A file is there whole or not at all.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from testvibe_async.errors import ConfigError
from testvibe_async.reports.ctrf import to_ctrf
from testvibe_async.reports.junit import to_junit
from testvibe_async.reports.markdown import to_markdown
from testvibe_async.reports.page import to_html

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from testvibe_async.reports.entries import Item
    from testvibe_async.reports.report import ReportOptions

__all__ = ["require_known_ending", "write_report"]

_FORMATS = {
    ".xml": to_junit,
    ".json": to_ctrf,
    ".md": to_markdown,
    ".html": to_html,
    ".htm": to_html,
}


def require_known_ending(path: Path) -> None:
    """Refuse a report's name that does not tell its format.

    Raises:
        ConfigError: It ends in none of those that are known.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(
            f"{path.name!r} does not tell the report's format: let it end in .xml (JUnit), "
            ".json (CTRF), .md (Markdown), .html or .htm"
        )


def write_report(
    path: str | os.PathLike[str], items: Iterable[Item], **options: Unpack[ReportOptions]
) -> Path:
    """Write a report in the format that the file's ending names, and return its path.

    `.xml` is JUnit XML, `.json` CTRF, `.md` Markdown, `.html` or `.htm` the page. Folders that lack
    are made; a file that is there is replaced once the new one is whole. Links of the page to
    artifacts are relative to it, so that they work wherever both are moved together.

    It blocks while it writes: in a busy event loop, call it by `asyncio.to_thread`.

    Args:
        path: Where to.
        items: What became of each feature, from `run_features` or `generate_features`.
        options: See `ReportOptions`.

    Raises:
        ConfigError: The ending is another, or a time has no time zone.
        OSError: The file can't be written.
    """
    path = Path(path)
    require_known_ending(path)
    render = _FORMATS[path.suffix.lower()]
    if render is to_html and "artifacts" in options:
        options["artifacts"] = _relative(options["artifacts"], path.parent)
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
    """Put a file in place as a whole. What goes wrong is told of it, not of the part beside it."""
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
