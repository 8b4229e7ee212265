"""The files of a run, and the signed links to them: made by the API, checked by the second origin.

A trace and a screenshot are the same two sample files for each failed test; the report is a page of
the run's own results. A link is valid for one path, until an instant of the emulator's clock, and
never holds an API key.
"""

from __future__ import annotations

import hmac
import math
import secrets
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode

import attrs

from .project import as_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .results import Case
    from .scenario import EmulatorClock

__all__ = ["Artifact", "Links", "artifact_path", "collect"]


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
    """Return a run's files: a trace and a screenshot for each failed test, and the report."""
    files = [file for case in cases if case.status == "failed" for file in _of_failing(case)]
    return [*files, Artifact("report", "report/index.html", _report(feature, cases))]


def _of_failing(case: Case) -> Iterator[Artifact]:
    yield Artifact("trace", f"trace/{case.slug}.zip", _sample("trace.zip"))
    yield Artifact("screenshot", f"screenshots/{case.slug}.png", _sample("screenshot.png"))


@cache
def _sample(name: str) -> bytes:
    return files("testvibe_async.testing.emulator").joinpath("samples", name).read_bytes()


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


@attrs.define(eq=False)
class Links:
    """A maker of links, which also validates them."""

    _clock: EmulatorClock
    _lifetime: float
    """Emulator seconds until a link expires, rounded up to whole ones."""
    origin: str = ""
    """Scheme and host of the origin that serves them."""
    _secret: bytes = attrs.field(factory=lambda: secrets.token_bytes(32))

    def make(self, path: str) -> str:
        """Return a link to a path, which begins with a slash and is not encoded yet."""
        expires = str(math.ceil(self._clock.unix(self._clock.now() + self._lifetime)))
        query = urlencode({"se": expires, "sig": self._signature(path, expires)})
        return f"{self.origin}{quote(path)}?{query}"

    def is_valid(self, path: str, query: Mapping[str, str]) -> bool:
        """Return True if a link with this query may read a decoded path."""
        expires = query.get("se", "")
        until = as_number(expires)
        signature = query.get("sig", "").encode("utf-8", "replace")
        expected = self._signature(path, expires).encode()
        if until is None or not hmac.compare_digest(signature, expected):
            return False
        return self._clock.unix(self._clock.now()) < until

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(
            self._secret, f"{path}\n{expires}".encode("utf-8", "replace"), sha256
        ).hexdigest()


def artifact_path(run_id: int, path: str) -> str:
    """Return the path of a run's file at the second origin, not encoded yet."""
    return f"/artifacts/{run_id}/{path}"
