"""The last line of the log of each generation that goes on, for those who watch it.

It decides how often the logs are read. How a line is shown is decided in `row`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from testvibe_async import GenerationRef, Phase, VibeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from testvibe_async import Client, GenerationLog
    from testvibe_async.cli.board.board import Board

__all__ = ["following_logs"]

LOG_SECONDS = 6.0
"""How often the log of a generation is read."""


@asynccontextmanager
async def following_logs(board: Board, client: Client) -> AsyncGenerator[None]:
    """Keep the last lines of the logs on a board, for as long as this is open."""
    task = asyncio.create_task(_follow(board, client))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _follow(board: Board, client: Client) -> None:
    while True:
        await asyncio.sleep(LOG_SECONDS)
        refs = [row.ref for row in board.in_flight if row.phase is Phase.ACTIVE]
        await asyncio.gather(
            *(_read(board, client, ref) for ref in refs if isinstance(ref, GenerationRef))
        )


async def _read(board: Board, client: Client, ref: GenerationRef) -> None:
    """Read the log of a generation; one that can't be read says nothing."""
    try:
        line = _last_line(await client.attach(ref).log())
    except VibeError:
        return
    if line is not None:
        board.note(ref, line)


def _last_line(log: GenerationLog) -> str | None:
    """Return the last line of the section that is at work, else of the last one that has any."""
    sections = [section for section in log.sections if section.log]
    at_work = [section for section in sections if section.conclusion is None]
    last = (at_work or sections)[-1:]
    return last[0].log[-1] if last else None
