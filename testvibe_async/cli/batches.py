"""The batches of earlier commands, as their journals say, and which of them a command means.

It decides where journals are, which batch is the last one of the service and project in force, and
what of it runs again. It never writes one: see `journals`. Their files are named after the time at
which a command was last done with them, so the newest name is the last batch.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import platformdirs
from attrs import evolve, frozen

from testvibe_async import ConfigError, Verdict
from testvibe_async._config import find_settings
from testvibe_async.cli.words import NAME
from testvibe_async.runner import with_limit_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from testvibe_async import Journal
    from testvibe_async.cli.common import Common
    from testvibe_async.cli.jobs import Item

__all__ = [
    "AT_WORK",
    "ENDED",
    "Batch",
    "Place",
    "folder",
    "last_batches",
    "paths",
    "place_of",
    "read_batch",
    "require_batch",
    "require_existing",
    "unfinished_path",
]

AT_WORK, ENDED = ".running", ".journal"
"""The endings of a journal in the state folder: of a command at work, and of one that ended."""


@frozen(kw_only=True)
class Batch:
    """What a journal says of one batch, without asking the service."""

    path: Path
    kind: str
    """`run` or `generation`."""

    server: str
    project: str
    project_name: str | None
    """What the project was called, where that was no id."""

    site_url: str | None
    fails_on_flaky: bool
    """Whether its command was to fail where something was flaky."""

    created_at: datetime
    items: Sequence[Item]
    is_over: bool
    """Whether nothing is left to dispatch, to wait for or to reconcile."""
    is_complete: bool
    """Whether all of its features are known."""

    @property
    def failed(self) -> list[Item]:
        """Its items that failed, or could not be started."""
        return [item for item in self.items if _has_failed(item)]

    @property
    def left(self) -> list[Item]:
        """Its items of which nobody knows that they passed or failed."""
        return [
            item
            for item in self.items
            if item.verdict is not Verdict.SUCCEEDED and not _has_failed(item)
        ]


@frozen
class Place:
    """The service and the project in force, as far as they are known."""

    server: str | None
    project: str | None
    """Its id, or its name."""

    def has(self, batch: Batch) -> bool:
        """Return whether a batch is one of here."""
        names = {None, batch.project.casefold(), (batch.project_name or "").casefold()}
        project = None if self.project is None else self.project.casefold()
        return self.server in {None, batch.server} and project in names

    def __str__(self) -> str:
        """Return it as the end of a sentence, such as ` of project P at https://…`."""
        project = f" of project {self.project}" if self.project else ""
        return f"{project} at {self.server}" if self.server else project


def place_of(common: Common) -> Place:
    """Return the place in force, without asking the service.

    Raises:
        ConfigError: A setting is wrong.
    """
    found = find_settings(common.server, project=common.project)
    server, project = found.server, found.project
    return Place(server.value if server else None, project.value if project else None)


def folder() -> Path:
    """Return where the journals are."""
    return platformdirs.user_state_path(NAME) / "batches"


async def read_batch(path: Path) -> Batch:
    """Read a journal, and leave it as it is.

    Raises:
        ConfigError: It is none, holds no batch, or is in use.
    """
    # It brings the event loop, which `settings`, that names the folder, does without.
    from testvibe_async import Journal  # noqa: PLC0415

    require_existing(path)
    async with Journal(path) as journal:
        require_batch(journal)
        assert journal.plan is not None
        assert journal.created_at is not None
        # What was not dispatched is not going to be, as far as a reader is concerned.
        items = [with_limit_named(evolve(item, is_waiting=False)) for item in journal.items]
        return Batch(
            path=path,
            kind=journal.plan.kind,
            server=journal.plan.server,
            project=journal.plan.project,
            project_name=journal.plan.options.get("project"),
            site_url=journal.plan.site_url,
            fails_on_flaky=bool(journal.plan.options.get("files", {}).get("fail_on_flaky")),
            created_at=journal.created_at,
            items=items,
            is_over=journal.is_over,
            is_complete=journal.is_complete,
        )


def require_existing(path: Path) -> None:
    """Refuse a journal that is not there: opening it would make one.

    Raises:
        ConfigError: It is not there.
    """
    if not path.exists():
        raise ConfigError(f"there is no journal {path}")


def require_batch(journal: Journal) -> None:
    """Refuse a journal that holds no batch.

    Raises:
        ConfigError: It holds none.
    """
    if journal.plan is None:
        path = journal.path
        raise ConfigError(
            f"the journal {path} holds no batch: its command ended before it began one, or the "
            f"file {path.name}-wal is missing, which a crash leaves beside it and which belongs "
            "to it"
        )


async def last_batches(number: int, place: Place, *, kind: str | None = None) -> list[Batch]:
    """Return the last batches of a place whose journals can be read, the newest first.

    Where no service is in force they are those of the newest one's place.

    Args:
        number: How many at most.
        place: The service and the project.
        kind: Only those of runs, or of generations.
    """
    found: list[Batch] = []
    for path in paths():
        if len(found) == number:
            break
        with suppress(ConfigError):
            batch = await read_batch(path)
            if kind in {None, batch.kind} and place.has(batch):
                found.append(batch)
                place = Place(batch.server, place.project or batch.project)
    return found


async def unfinished_path(place: Place) -> Path:
    """Return the last journal of a place whose batch is not over.

    Raises:
        ConfigError: There is none.
    """
    elsewhere = ""
    for path in paths():
        with suppress(ConfigError):
            batch = await read_batch(path)
            if not batch.is_over and place.has(batch):
                return path
            if not batch.is_over and not elsewhere:
                elsewhere = f"; one of project {batch.project} at {batch.server} is not"
    raise ConfigError(
        f"nothing to resume: each batch of the last 30 days{place} is over{elsewhere}"
    )


def paths(*endings: str) -> list[Path]:
    """Return the journals of the state folder, the newest first."""
    chosen = endings or (AT_WORK, ENDED)
    found = [path for ending in chosen for path in _glob(f"*{ending}")]
    return sorted(found, key=lambda path: path.stem, reverse=True)


def _glob(pattern: str) -> Iterable[Path]:
    try:
        return list(folder().glob(pattern))
    except OSError:
        return []


def _has_failed(item: Item) -> bool:
    """Return whether an item failed, or could not be started."""
    return item.verdict is Verdict.FAILED or (item.verdict is Verdict.ERROR and item.ref is None)
