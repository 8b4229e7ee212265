"""A file of a run, and the signed links to it: made by the API, checked by the second origin.

A link is valid for one path, until an instant of the emulator's clock, and
never holds an API key.
"""

from __future__ import annotations

import hmac
import math
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode

import attrs

from .project import as_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .scenario import EmulatorClock

__all__ = ["Artifact", "Links", "artifact_path"]


@attrs.frozen
class Artifact:
    """One file of a run."""

    kind: Literal["trace", "screenshot", "report"]
    path: str
    content: bytes

    def document(self) -> dict[str, object]:
        """Return the file's entry in the run digest."""
        return {"kind": self.kind, "path": self.path, "size": len(self.content)}


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
