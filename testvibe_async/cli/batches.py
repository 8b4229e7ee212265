"""Where the batches of this user are, and which service and project a command is about.

It decides these two alone. Which batch a command means is decided in `testvibe_async.runner`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import platformdirs

from testvibe_async import ConfigError
from testvibe_async._config import find_settings
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from testvibe_async.cli.common import Common
    from testvibe_async.runner.batches import Batch, Batches, Place

__all__ = ["batch_of", "folder", "place_of", "stored_batches"]


def folder() -> Path:
    """Return where the batches are."""
    return platformdirs.user_state_path(NAME) / "batches"


def stored_batches() -> Batches:
    """Return the batches of the state folder."""
    # It brings the event loop, which `settings`, that names the folder, does without.
    from testvibe_async.runner.batches import Batches  # noqa: PLC0415

    return Batches(folder())


def place_of(common: Common) -> Place:
    """Return the place in force, without asking the service.

    Raises:
        ConfigError: A setting is wrong.
    """
    from testvibe_async.runner.batches import Place  # noqa: PLC0415 - see above

    found = find_settings(common.server, project=common.project)
    server, project = found.server, found.project
    return Place(server.value if server else None, project.value if project else None)


async def batch_of(
    word: str | None, place: Place, *, kind: Literal["run", "generation"] | None = None
) -> Batch:
    """Return the batch that a command is about.

    Args:
        word: Its number, its name or its file; None for the last one of a place.
        place: The service and the project in force.
        kind: What it dispatched, where none is named; None for either.

    Raises:
        ConfigError: There is none, another process works on it, or it can't be read.
    """
    stored = stored_batches()
    if word is not None:
        return await stored.named(word, place)
    found = await stored.newest(place, kind=kind)
    if found is None:
        what = "" if kind is None else f" of {kind}s"
        raise ConfigError(f"there is no batch{what}{place} yet")
    return found
