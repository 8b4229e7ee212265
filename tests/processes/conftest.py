"""Other processes are on real time, so their tests are as well."""

import asyncio
from collections.abc import Callable, Mapping


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test on real time."""
    return {"real": asyncio.SelectorEventLoop}
