"""The ledger file of this user, and the place whose batches a command is about.

Which batch a word means is decided in `testvibe_async.runner.lookup`.
"""

from __future__ import annotations

import shlex
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import evolve

from testvibe_async import ConfigError, SqliteLedger
from testvibe_async._core.config import find_settings
from testvibe_async.cli.common import Common, connected
from testvibe_async.cli.words import NAME
from testvibe_async.runner.lookup import Batches, Place
from testvibe_async.runner.names import is_project_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


@asynccontextmanager
async def stored_batches(common: Common) -> AsyncGenerator[Batches]:
    """Open the ledger file to read its batches.

    Raises:
        ConfigError: The file that was named is missing, or can't be read.
    """
    path = common.ledger_path
    if common.ledger is not None and not path.exists():
        raise ConfigError(f"there is no ledger {path}")
    async with SqliteLedger(path) as ledger:
        yield Batches(ledger)


async def place_of(common: Common, batches: Batches) -> Place:
    """Return the place in force; the service is asked only for a project's name that is new here.

    Raises:
        ConfigError: A setting is wrong, or there is no such project.
        VibeError: The service can't be asked.
    """
    found = find_settings(common.server, project=common.project)
    server = found.server.value if found.server else None
    project = found.project.value if found.project else None
    if project is None or is_project_id(project):
        return Place(server, project)
    name = project.casefold()
    for each in await batches.headings():
        names = {each.project.casefold(), (each.stored.project_name or "").casefold()}
        if server in {None, each.server} and name in names:
            return Place(server, each.project)
    if server is None:
        return Place(server, project)
    async with connected(evolve(common, project=project)) as connection:
        return Place(server, connection.project_id)


def resume_command(batch: int, place: Sequence[str] = ()) -> str:
    """Return the command that resumes a batch.

    Args:
        batch: Its number.
        place: The options that name the service, the project and the ledger.
    """
    return shlex.join([NAME, "resume", str(batch), *place])
