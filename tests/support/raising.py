"""An error that is expected of an awaitable."""

from collections.abc import Awaitable
from typing import TypeVar

import pytest

E = TypeVar("E", bound=BaseException)


async def raised(
    kind: type[E] | tuple[type[E], ...], awaitable: Awaitable[object], *, match: str | None = None
) -> E:
    """Expect an awaitable to raise an error of a kind, and return that."""
    with pytest.raises(kind, match=match) as caught:
        await awaitable
    try:
        return caught.value
    finally:
        del awaitable, caught  # which the error's traceback would keep, and so the error
