"""The journals of the command line: one for each batch, in the user's state folder.

It decides how many are kept, and what they are called. A journal whose command is at work has
another ending than one whose command ended in order, so that the next command can tell that a batch
was cut off. Which one a command means is decided in `batches`, and what a journal holds in
`testvibe_async.journal`.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

from attrs import frozen
from cyclopts import Group, Parameter

from testvibe_async import ConfigError
from testvibe_async.cli.batches import (
    AT_WORK,
    ENDED,
    folder,
    paths,
    read_batch,
    require_batch,
    require_existing,
)
from testvibe_async.cli.ending import resume_command
from testvibe_async.cli.output import warn
from testvibe_async.cli.words import NAME, clock_time, plural
from testvibe_async.journal import Journal, files_of, is_in_use

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from testvibe_async.cli.batches import Place

__all__ = [
    "KEPT",
    "NO_OPTIONS",
    "JournalOptions",
    "kept",
    "opened",
    "tell_of_cut_off",
]

KEPT = 50
"""How many journals are kept."""

KEPT_FOR = timedelta(days=30)
"""How long a journal is kept."""


@Parameter(name="*", group=Group("The journal", sort_key=0))
@frozen(kw_only=True)
class JournalOptions:
    """The options that say where the journal of a batch is kept."""

    journal: Path | None = None
    """Keep the journal of the batch in this file, for 'resume FILE' after a crash; else it is in
    your state folder, where the last 50 are kept for 30 days."""

    no_journal: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Keep none."""


NO_OPTIONS = JournalOptions()
"""The options where none was given."""


@asynccontextmanager
async def kept(
    options: JournalOptions,
    note: Callable[[str], object],
    *,
    typed: Mapping[str, Any],
    here: Place,
) -> AsyncGenerator[Journal | None]:
    """Open a journal for a new batch; None where there is to be none.

    A journal that was not asked for is no reason to fail: where it can't be written, a note says
    so. Where an earlier batch was cut off it says so too, whatever options there are.

    Args:
        options: What was asked for.
        note: Is told that none can be kept.
        typed: The options that the batch was called with, for `resume`.
        here: The service and the project in force.

    Raises:
        ConfigError: The file that was asked for can't be used.
    """
    if options.no_journal:
        yield None
        return
    await tell_of_cut_off(here)
    if options.journal is not None:
        path = options.journal
        async with Journal(path, options=typed) as journal:
            if journal.plan is not None:
                what, command = "a batch: go on with it by", resume_command(path)
                if journal.is_over:
                    what, command = "a batch that is over: see", f"{NAME} report {path}"
                raise ConfigError(f"{path} has {what} {command}, or name another file")
            yield journal
        return
    path = _new_path(AT_WORK)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_old()
        journal = await Journal(path, options=typed).__aenter__()
    except (ConfigError, OSError) as error:
        note(f"No journal is kept, so a crash would lose this batch: {error}")
        yield None
        return
    try:
        yield journal
    finally:
        await journal.aclose()
        _mark_ended(path)


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[Journal]:
    """Open a journal to go on with its batch, and mark it as at work meanwhile.

    Raises:
        ConfigError: It can't be used, or holds no batch.
    """
    at_work = _mark_at_work(path)
    try:
        journal = await Journal(at_work).__aenter__()
    except ConfigError:
        if at_work != path:
            _rename(at_work, path)
        raise
    try:
        require_batch(journal)
        yield journal
    finally:
        await journal.aclose()
        _mark_ended(at_work)


async def tell_of_cut_off(here: Place) -> None:
    """Say once of each batch whose command did not end in order that it was cut off."""
    for path in paths(AT_WORK):
        try:
            batch = await read_batch(path)
        except ConfigError as error:
            if not is_in_use(error):
                _rename(path, path.with_suffix(ENDED))
            continue
        _rename(path, path.with_suffix(ENDED))
        if not batch.is_over:
            over = sum(item.outcome is not None for item in batch.items)
            place = [] if here.has(batch) else ["--server", batch.server, "-p", batch.project]
            warn(
                f"A batch of {clock_time(batch.created_at)} was cut off, with {over} of "
                f"{plural(len(batch.items), 'operation')} over. Go on with it: "
                f"{resume_command(path, place)}"
            )


def _mark_at_work(path: Path) -> Path:
    require_existing(path)
    if path.parent != folder() or path.suffix != ENDED:
        return path
    return path.rename(path.with_suffix(AT_WORK))


def _mark_ended(path: Path) -> None:
    """Name a journal after the present time: what its command did is the last that was done."""
    if path.suffix == AT_WORK and path.parent == folder():
        _rename(path, _new_path(ENDED))


def _rename(path: Path, new: Path) -> None:
    with suppress(OSError):
        path.rename(new)


def _new_path(ending: str) -> Path:
    return folder() / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.{os.getpid()}{ending}"


def _remove_old() -> None:
    """Remove the journals that are too many or too old; none whose command is at work."""
    oldest = (datetime.now(UTC) - KEPT_FOR).timestamp()
    for number, path in enumerate(paths(ENDED)):
        with suppress(OSError):
            if number >= KEPT - 1 or path.stat().st_mtime < oldest:
                for each in files_of(path):
                    each.unlink(missing_ok=True)
