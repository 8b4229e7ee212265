"""Reports as files, and the table of their formats.

Decides which formats there are, which one a file's ending or a word names, and never leaves a file
half written, replaces a link or a device, or truncates standard output. No other module of the
reports writes to a disk.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from attrs import frozen

from testvibe_async._core.util.replacement import replace_file
from testvibe_async.errors import ConfigError
from testvibe_async.reports.annotations import to_annotations as to_annotations  # noqa: PLC0414 - for jobs of GitHub
from testvibe_async.reports.ctrf import to_ctrf
from testvibe_async.reports.junit import to_junit
from testvibe_async.reports.markdown import to_markdown
from testvibe_async.reports.page import to_html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from testvibe_async.reports.entries import Item
    from testvibe_async.reports.report import ReportOptions


@frozen
class Format:
    """A format of reports."""

    name: str
    """The word for `form=`, and before a path, as in `md:PATH`, beside its endings."""

    title: str
    """The format as people call it."""

    suffixes: tuple[str, ...]
    """The endings of files that name it, in lower case."""

    render: Callable[..., str]
    """Returns a batch in this format; takes the items and `ReportOptions`."""

    def __str__(self) -> str:
        """Return the endings and the title: `.xml (JUnit)`."""
        return f"{' or '.join(self.suffixes)} ({self.title})"


FORMATS = (
    Format("junit", "JUnit", (".xml",), to_junit),
    Format("ctrf", "CTRF", (".json",), to_ctrf),
    Format("md", "Markdown", (".md",), to_markdown),
    Format("html", "a page", (".html", ".htm"), to_html),
    Format("github", "annotations of a job", (), to_annotations),
)
"""All formats. Every list of formats is read from this table."""

_BY_WORD = {
    word: each for each in FORMATS for word in (each.name, *(end[1:] for end in each.suffixes))
}


def report_target(text: str) -> tuple[str, Path]:
    """Return the format and the file that a text names: `summary.md`, or `md:summary`.

    Raises:
        ConfigError: It names no format, or standard output instead of a file.
    """
    word, sign, path = text.partition(":")
    known = _BY_WORD.get(word.lower()) if sign else None
    path = text if known is None else path
    if path in {"", "-"}:
        raise ConfigError(
            "a report needs a file, as in xml:junit.xml: standard output has the command's own "
            "results"
        )
    return (known or _format_of(Path(path))).name, Path(path)


def _format_of(path: Path, word: str | None = None) -> Format:
    """Return the format that a word names, or else a file's ending.

    Raises:
        ConfigError: It names none.
    """
    ending = path.suffix[1:] if word is None else word
    if ending.lower() not in _BY_WORD:
        *others, last = (str(each) for each in FORMATS if each.suffixes)
        raise ConfigError(
            f"{path.name if word is None else word!r} does not name the report's format: let it "
            f"end in {', '.join(others)} or {last}, or write the format before it, as md:{path}"
        )
    return _BY_WORD[ending.lower()]


def write_report(
    path: str | os.PathLike[str],
    items: Iterable[Item],
    *,
    form: str | None = None,
    **options: Unpack[ReportOptions],
) -> Path:
    """Write a report in the format that the file's ending names, and return its path.

    The endings are `.xml`, `.json`, `.md` and `.html`. Missing folders are made; an existing file
    is replaced once the new one is whole. A symbolic link stays one, and its target is replaced; a
    device or a pipe is written to. Links of the page to artifacts are relative to it, so that they
    work wherever both are moved together.

    It blocks while it writes: in a busy event loop, call it by `asyncio.to_thread`.

    Args:
        path: The file to write.
        items: The items of a batch, from `run_features` or `generate_features`.
        form: `"junit"`, `"ctrf"`, `"md"`, `"html"` or `"github"`; None for what the ending names.
        options: See `ReportOptions`.

    Raises:
        ConfigError: The format is not a known one, or needs jinja2, which is not installed.
        OSError: The file can't be written.
    """
    path = Path(path)
    options.setdefault("folder", path.parent)
    _write(path, _format_of(path, form).render(items, **options))
    return path


def write_reports(
    targets: Iterable[tuple[str, Path]], items: Iterable[Item], **options: Unpack[ReportOptions]
) -> dict[Path, OSError | ConfigError]:
    """Write several reports, independently of each other; return the errors of the failed ones.

    Args:
        targets: The format and the file of each, as `report_target` returns them.
        items: The items of a batch, from `run_features` or `generate_features`.
        options: See `ReportOptions`.
    """
    items = list(items)
    errors: dict[Path, OSError | ConfigError] = {}
    for form, path in targets:
        try:
            write_report(path, items, form=form, **options)
        except (OSError, ConfigError) as error:
            errors[path] = error
    return errors


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole, or write into what can't be replaced; errors name the path."""
    try:
        stream = stream_at(path)
        if stream is None:
            Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text)
        else:
            opened = os.dup(stream) if isinstance(stream, int) else os.open(stream, os.O_WRONLY)
            with os.fdopen(opened, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def stream_at(path: Path) -> Path | int | None:
    """Return what to open for a path that no file may replace; None for a file or a folder.

    It is the path of a device or a pipe, or the number of this process's standard output or
    standard error: to open its file once more would truncate it.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                return descriptor
    return None if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) else path
