"""The batches of this user: the folder that has them, and the commands that are about one.

Which batch a word means is decided in `testvibe_async.runner`, and what a journal holds in
`testvibe_async.journal`.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from testvibe_async._config import find_settings
from testvibe_async.cli.common import Common, batches_folder
from testvibe_async.cli.output import warn
from testvibe_async.cli.words import NAME, plural, started
from testvibe_async.runner.batches import Batches
from testvibe_async.runner.records import Place

if TYPE_CHECKING:
    from collections.abc import Sequence


def stored_batches() -> Batches:
    """Return the batches of the state folder."""
    return Batches(batches_folder())


def place_of(common: Common) -> Place:
    """Return the place in force, without asking the service.

    Raises:
        ConfigError: A setting is wrong.
    """
    found = find_settings(common.server, project=common.project)
    server, project = found.server, found.project
    return Place(server.value if server else None, project.value if project else None)


def resume_command(batch: int, place: Sequence[str] = ()) -> str:
    """Return the command that resumes a batch.

    Args:
        batch: Its number.
        place: The options that name the service and the project.
    """
    return shlex.join([NAME, "resume", str(batch), *place])


async def report_interrupted(*, besides: int | None) -> None:
    """Report each interrupted batch once: its command did not shut down in order.

    Args:
        besides: The number of the one that the command has described; None for none.
    """
    for batch in await stored_batches().interrupted():
        if batch.record.number != besides:
            over = sum(item.outcome is not None for item in batch.items)
            warn(
                f"{batch.record}, {started(batch.created_at)}, was interrupted, with "
                f"{over} of {plural(len(batch.items), 'operation')} over. Resume it: "
                f"{resume_command(batch.record.number)}"
            )
