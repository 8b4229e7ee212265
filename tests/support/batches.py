"""What the tests of batches share: runs of many lengths, verdicts, and the client's tasks."""

import asyncio
from collections.abc import Sequence
from typing import Any

from testvibe_async import BatchItem
from testvibe_async.testing import Scenario

MIXED = Scenario(run_queue=(0, 10), run_duration=(10, 30))
"""Runs take from 10 s to 40 s and some fail; generations take a minute or two."""


def client_tasks() -> list[asyncio.Task[Any]]:
    """Return the tasks that the client started and that still run."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("testvibe")]


def verdicts(items: Sequence[BatchItem[Any]]) -> list[str]:
    """Return the verdict of each item."""
    return [str(item.verdict) for item in items]
