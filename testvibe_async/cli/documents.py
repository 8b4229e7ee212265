"""Values as JSON text that is harmless on a terminal: what `--json` prints."""

from __future__ import annotations

import json
import re

from testvibe_async._wire import serialize

__all__ = ["json_of"]

_OBEYED = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON lets through and a terminal might obey, or can't encode."""


def json_of(value: object, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Return a value as JSON text that is harmless on a terminal.

    Args:
        value: See `serialize`.
        indent: Spaces for each level; None for one line.
        ascii_only: Whether to escape all that is not ASCII, for an output that can't show it.
    """
    text = json.dumps(serialize(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
