"""The files of a run: real ones, made on request, and each time the same to the byte.

Pure. A screenshot is a PNG that opens, a trace is a zip in the layout of Playwright's traces, a
report is an HTML page. It never decides what failed: see `cases`.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .cases import Case

__all__ = ["Artifact", "collect"]

_WIDTH, _HEIGHT = 320, 180
_ACCENTS = ((38, 70, 83), (42, 157, 143), (188, 108, 37), (96, 108, 56), (111, 29, 27))
_ZIP_EPOCH = (2026, 1, 1, 0, 0, 0)


@attrs.frozen
class Artifact:
    """One file of a run."""

    kind: Literal["trace", "screenshot", "report"]
    path: str
    content: bytes

    def document(self) -> dict[str, object]:
        """Return the file's entry in the run digest."""
        return {"kind": self.kind, "path": self.path, "size": len(self.content)}


def collect(feature: str, cases: Sequence[Case]) -> list[Artifact]:
    """Make a run's files: a trace and a screenshot for each failed test, and the report."""
    files = [file for case in cases if case.status == "failed" for file in _of_failing(case)]
    return [*files, Artifact("report", "report/index.html", _report(feature, cases))]


def _of_failing(case: Case) -> Iterator[Artifact]:
    screenshot = _screenshot(zlib.crc32(case.name.encode("utf-8", "replace")) % len(_ACCENTS))
    yield Artifact("trace", f"trace/{case.slug}.zip", _trace(case, screenshot))
    yield Artifact("screenshot", f"screenshots/{case.slug}.png", screenshot)


def _report(feature: str, cases: Sequence[Case]) -> bytes:
    rows = "".join(
        f"<tr class={case.status}><td>{case.status}<td>{escape(case.name)}<td>{case.duration_ms} ms"
        f"<td><pre>{escape(case.error or '')}</pre>"
        for case in cases
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(feature)}</title><h1>{escape(feature)}</h1><table>{rows}</table>\n"
    )
    return page.encode("utf-8", "replace")


def _trace(case: Case, screenshot: bytes) -> bytes:
    """Return a zip of events in the format of the trace viewer."""
    end = case.duration_ms
    failure = {"name": "Error", "message": case.error}
    events: tuple[dict[str, object], ...] = (
        {
            "version": 8,
            "type": "context-options",
            "origin": "testRunner",
            "browserName": "chromium",
            "options": {"viewport": {"width": _WIDTH, "height": _HEIGHT}},
            "platform": "linux",
            "wallTime": 0,
            "monotonicTime": 0,
            "sdkLanguage": "javascript",
            "title": case.name,
        },
        {
            "type": "before",
            "callId": "test@1",
            "startTime": 0,
            "class": "Test",
            "method": "step",
            "title": case.name,
            "params": {},
            "stack": [],
        },
        {
            "type": "after",
            "callId": "test@1",
            "endTime": end,
            "error": failure,
            "attachments": [
                {"name": "screenshot", "contentType": "image/png", "sha1": "screenshot.png"}
            ],
        },
        {"type": "error", "message": case.error, "stack": []},
    )
    lines = "".join(json.dumps(event) + "\n" for event in events)
    return _zip(
        {
            "test.trace": lines.encode(),
            "trace.network": b"",
            "resources/screenshot.png": screenshot,
        }
    )


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_EPOCH), content)
    return buffer.getvalue()


@cache
def _screenshot(accent: int) -> bytes:
    """Return a small page as a PNG: a bar in an accent colour, lines of text, an empty box."""
    bar, line = bytes([1]) * _WIDTH, bytes(16) + bytes([2]) * 200 + bytes(_WIDTH - 216)
    box = bytes(16) + bytes([1]) + bytes(120) + bytes([1]) + bytes(_WIDTH - 138)
    blank = bytes(_WIDTH)
    rows = [bar] * 24 + ([blank] * 8 + [line] * 4) * 6 + [box] * 40
    rows += [blank] * (_HEIGHT - len(rows))
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 3, 0, 0, 0)
    palette = bytes([255, 255, 255, *_ACCENTS[accent], 170, 170, 170])
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
