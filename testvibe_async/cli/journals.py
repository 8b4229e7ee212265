"""The journals of the command line: one for each batch, in the user's state folder.

It decides where they are, how many are kept, and which one a command means. A journal whose command
is at work has another ending than one whose command ended in order, so that the next command can
tell that a batch was cut off. What a journal holds is decided in `testvibe_async.journal`.
"""

from __future__ import annotations

import os
import shlex
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import platformdirs
from attrs import evolve, frozen
from cyclopts import Group, Parameter

from testvibe_async import ConfigError, Journal, Verdict
from testvibe_async.cli.output import warn
from testvibe_async.cli.words import NAME, clock_time, plural

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence

    from testvibe_async.cli.jobs import Item

__all__ = [
    "KEPT",
    "NO_OPTIONS",
    "Batch",
    "JournalOptions",
    "kept",
    "last_batches",
    "last_command",
    "new_command",
    "opened",
    "read_batch",
    "resume_command",
    "tell_of_cut_off",
    "to_run_again",
    "unfinished_path",
]

KEPT = 50
"""How many journals are kept."""

KEPT_FOR = timedelta(days=30)
"""How long a journal is kept."""

AT_WORK, ENDED = ".running", ".journal"
"""The endings of a journal in the state folder: of a command at work, and of one that ended."""


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


@frozen(kw_only=True)
class Batch:
    """What a journal says of one batch, without asking the service."""

    path: Path
    kind: str
    """`run` or `generation`."""

    server: str
    project: str
    site_url: str | None
    created_at: datetime
    items: Sequence[Item]
    is_over: bool
    """Whether nothing is left to dispatch, to wait for or to reconcile."""


def folder() -> Path:
    """Return where the journals are."""
    return platformdirs.user_state_path(NAME) / "batches"


@asynccontextmanager
async def kept(
    options: JournalOptions,
    note: Callable[[str], object],
    *,
    typed: Mapping[str, Any],
    command: str,
    number: int = 1,
) -> AsyncGenerator[Journal | None]:
    """Open a journal for a new batch; None where there is to be none.

    A journal that was not asked for is no reason to fail: where it can't be written, a note says
    so. Where an earlier batch was cut off it says so too, whatever options there are.

    Args:
        options: What was asked for.
        note: Is told that none can be kept.
        typed: The options that the batch was called with, for `resume`.
        command: What tells this command from all others, see `new_command`.
        number: The number of the batch, where the command has several.

    Raises:
        ConfigError: The file that was asked for can't be used.
    """
    if options.no_journal:
        yield None
        return
    await tell_of_cut_off()
    if options.journal is not None:
        path = options.journal
        if number > 1:
            path = path.with_stem(f"{path.stem}-{number}")
        async with Journal(path, options=typed) as journal:
            if journal.plan is not None:
                raise ConfigError(
                    f"{path} has a batch: go on with it by {resume_command(path)}, "
                    "or name another file"
                )
            yield journal
        return
    path = folder() / f"{command}-{number}{AT_WORK}"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_old(path.parent)
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
    path = _mark_at_work(path)
    try:
        async with Journal(path) as journal:
            if journal.plan is None:
                raise ConfigError(
                    f"the journal {path} holds no batch: it ended before it began one"
                )
            yield journal
    finally:
        _mark_ended(path)


async def read_batch(path: Path) -> Batch:
    """Read a journal, and leave it as it is.

    Raises:
        ConfigError: It is none, holds no batch, or is in use.
    """
    _require_existing(path)
    async with Journal(path) as journal:
        if journal.plan is None or journal.created_at is None:
            raise ConfigError(f"the journal {path} holds no batch")
        # What was not dispatched is not going to be, as far as a reader is concerned.
        items = [evolve(item, is_waiting=False) for item in journal.items]
        return Batch(
            path=path,
            kind=journal.plan.kind,
            server=journal.plan.server,
            project=journal.plan.project,
            site_url=journal.plan.site_url,
            created_at=journal.created_at,
            items=items,
            is_over=journal.is_over,
        )


async def last_batches(number: int, *, kind: str | None = None) -> list[Batch]:
    """Return the last batches whose journals can be read, the newest first.

    Args:
        number: How many at most.
        kind: Only those of runs, or of generations.
    """
    found: list[Batch] = []
    for path in _paths():
        if len(found) == number:
            break
        with suppress(ConfigError):
            batch = await read_batch(path)
            if kind in {None, batch.kind}:
                found.append(batch)
    return found


async def last_command() -> list[Batch]:
    """Return the batches of the last command that ran features; it may have had several."""
    batches = await last_batches(KEPT, kind="run")
    return [each for each in batches if _command(each.path) == _command(batches[0].path)][::-1]


def new_command() -> str:
    """Return the beginning of the names of a command's journals: the time, and the process."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.{os.getpid()}"


def _command(path: Path) -> str:
    return path.stem.rpartition("-")[0]


async def unfinished_path() -> Path:
    """Return the newest journal whose batch is not over.

    Raises:
        ConfigError: There is none.
    """
    for path in _paths():
        with suppress(ConfigError):
            if not (await read_batch(path)).is_over:
                return path
    raise ConfigError("nothing to resume: each batch of the last 30 days is over")


def to_run_again(batch: Batch) -> list[Item]:
    """Return the items of a batch that failed, or could not be started."""
    return [
        item
        for item in batch.items
        if item.verdict is Verdict.FAILED or (item.verdict is Verdict.ERROR and item.ref is None)
    ]


def resume_command(path: Path) -> str:
    """Return the command that goes on with a batch."""
    return f"{NAME} resume" if path.parent == folder() else shlex.join([NAME, "resume", str(path)])


async def tell_of_cut_off() -> None:
    """Say once of each batch whose command did not end in order that it was cut off."""
    for path in _paths(AT_WORK):
        try:
            batch = await read_batch(path)
        except ConfigError as error:
            if "in use" not in str(error):
                _mark_ended(path)
            continue
        _mark_ended(path)
        if not batch.is_over:
            over = sum(item.outcome is not None for item in batch.items)
            warn(
                f"A batch of {clock_time(batch.created_at)} was cut off, with {over} of "
                f"{plural(len(batch.items), 'operation')} over. Go on with it: {NAME} resume"
            )


def _paths(*endings: str) -> list[Path]:
    """Return the journals of the state folder, the newest first."""
    chosen = endings or (AT_WORK, ENDED)
    found = [path for ending in chosen for path in _glob(f"*{ending}")]
    return sorted(found, key=lambda path: path.stem, reverse=True)


def _glob(pattern: str) -> Iterable[Path]:
    try:
        return list(folder().glob(pattern))
    except OSError:
        return []


def _require_existing(path: Path) -> None:
    """Refuse a journal that is not there: opening it would make one.

    Raises:
        ConfigError: It is not there.
    """
    if not path.exists():
        raise ConfigError(f"there is no journal {path}")


def _mark_at_work(path: Path) -> Path:
    _require_existing(path)
    if path.parent != folder() or path.suffix != ENDED:
        return path
    return path.rename(path.with_suffix(AT_WORK))


def _mark_ended(path: Path) -> None:
    if path.suffix == AT_WORK and path.parent == folder():
        with suppress(OSError):
            path.rename(path.with_suffix(ENDED))


def _remove_old(place: Path) -> None:
    """Remove the journals that are too many or too old; none whose command is at work."""
    oldest = (datetime.now(UTC) - KEPT_FOR).timestamp()
    for number, path in enumerate(_paths(ENDED)):
        with suppress(OSError):
            if number >= KEPT - 1 or path.stat().st_mtime < oldest:
                for each in _files_of(place, path):
                    each.unlink(missing_ok=True)


def _files_of(place: Path, path: Path) -> Iterator[Path]:
    """Yield the files of a journal: SQLite may have left two beside it."""
    yield path
    for more in ("-wal", "-shm"):
        yield place / f"{path.name}{more}"
