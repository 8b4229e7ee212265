"""Texts that a command is given: in a file, or on standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from testvibe_async import ConfigError

__all__ = ["TextFile", "name_of", "read_text"]

TextFile: TypeAlias = Annotated[Path, Parameter(name=("--file", "-f"), allow_leading_hyphen=True)]
"""The type of an option that names a file with a text; `-` for standard input."""


def read_text(path: Path) -> str:
    """Return a text, its line ends as they are.

    Args:
        path: Where it is; `-` for standard input.

    Raises:
        ConfigError: It can't be read, or is no UTF-8.
    """
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read().decode()
        return path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name_of(path)} is no text in UTF-8 (byte {error.start})") from error


def name_of(path: Path) -> str:
    """Return what to call the place of a text."""
    return "standard input" if str(path) == "-" else str(path)
