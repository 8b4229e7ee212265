"""The site of artifacts: it serves a run's files by signed links, on an origin of its own.

It decides whether a link is valid, and which bytes of the file are sent. It never accepts an API
key: a client that sends one has leaked it.
"""

from __future__ import annotations

import re
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .answers import Answer
from .artifacts import artifact_path
from .origin import Exchange
from .project import as_number
from .requests import DOWNLOAD, RecordedRequest, RequestLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .run import Run
    from .service import Service

__all__ = ["ArtifactSite"]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES = {"trace": "application/zip", "screenshot": "image/png", "report": "text/html"}


class ArtifactSite:
    """The site that serves artifacts."""

    def __init__(self, service: Service, *, log: RequestLog) -> None:
        """Make the site.

        Args:
            service: The state with the runs and the links.
            log: The record of the requests.
        """
        self._service = service
        self._log = log

    def http_date(self) -> str:
        """Return the current time in the format of the `Date` header."""
        return self._service.clock.http_date()

    def receive(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Exchange:
        """Record a request."""
        record = RecordedRequest.of(method, target, headers, body, at=self._service.clock.now())
        record.operation, path = DOWNLOAD, unquote(record.path)
        run = self._run(path)
        if run is not None:
            record.run_id, record.feature = run.id, run.feature_name
        self._log.add(record)
        return Exchange(record, partial(self._act, record, path, run))

    def _act(self, record: RecordedRequest, path: str, run: Run | None) -> Answer:
        if "Authorization" in record.headers:
            return _plain(400, "This host takes no Authorization header: the key has leaked.")
        if record.method not in {"GET", "HEAD"}:
            return _plain(405, "Only GET and HEAD are allowed here.")
        if not self._service.links.is_valid(path, record.query):
            return _plain(403, "The signature does not match, or the link has expired.")
        files = [] if run is None else run.artifacts(self._service.clock.now())
        for file in files:
            if run is not None and path == artifact_path(run.id, file.path):
                return _serve(file.content, _TYPES[file.kind], record.headers)
        return _plain(404, "There is no such file.")

    def _run(self, path: str) -> Run | None:
        number = as_number("".join(path.split("/")[2:3]))
        return None if number is None else self._service.runs.get(number)


def _serve(content: bytes, content_type: str, headers: Mapping[str, str]) -> Answer:
    tag = f'"{sha256(content).hexdigest()[:16]}"'
    common = {"Accept-Ranges": "bytes", "ETag": tag}
    wanted = headers.get("Range", "") if headers.get("If-Range", tag) == tag else ""
    span = _span(wanted, len(content))
    if span is None:
        return Answer(200, content, content_type, common)
    if not span:
        unsatisfied = {"Content-Range": f"bytes */{len(content)}"}
        return Answer(416, b"", "text/plain", common | unsatisfied)
    part = {"Content-Range": f"bytes {span.start}-{span.stop - 1}/{len(content)}"}
    return Answer(206, content[span.start : span.stop], content_type, common | part)


def _span(wanted: str, size: int) -> range | None:
    """Return the bytes that a `Range` header asks for.

    Returns:
        An empty range if the file has no such bytes; None if the header is to be ignored.
    """
    match = _RANGE.fullmatch(wanted)
    if match is None or wanted == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    return range(min(int(first), size), min(int(last) + 1, size) if last else size)


def _plain(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")
