"""Files that are replaced as a whole, so that no reader sees a part of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_file(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Replace a file, or make it, in an existing folder.

    A symbolic link stays one, and its target is replaced.

    Args:
        path: The file.
        text: Its whole text, which is written as it stands.
        mode: Its permissions from the first byte on, less those that the umask takes away.

    Raises:
        OSError: It can't be written; then an earlier file is as it was.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
