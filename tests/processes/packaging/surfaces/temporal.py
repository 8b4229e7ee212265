"""Batches on Temporal without an engine: a request is checked, and an address is asked for."""

import asyncio
import os

from testvibe_async import ConfigError
from testvibe_async.temporal import connect
from testvibe_async.temporal.workflow import chunks_of, problem_of


async def main() -> None:
    """Check two requests, and connect without an address."""
    assert problem_of({"features": ["Checkout"]}) is None
    assert len(chunks_of({}, list(range(101)))) == 2
    os.environ.pop("TEMPORAL_ADDRESS", None)
    try:
        await connect()
    except ConfigError as error:
        print(error)


if __name__ == "__main__":
    asyncio.run(main())
