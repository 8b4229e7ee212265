"""Reading what is large without keeping the event loop from all others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["unhurried"]

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES = 2**20
"""A document of so many bytes takes a tenth of a second to read, a hostile one half of one."""


async def unhurried(size_bytes: int, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a pure function: here, or in a thread where what it reads is large."""
    if size_bytes < LARGE_BYTES:
        return read(*args, **kwargs)
    return await asyncio.to_thread(read, *args, **kwargs)
