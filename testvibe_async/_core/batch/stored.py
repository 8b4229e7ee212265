"""A batch as a ledger file has it, without a request to the service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from testvibe_async._core.batch.entry import Entry, is_refusal
from testvibe_async._core.batch.jobs import Job
from testvibe_async._core.wire import KINDS, read
from testvibe_async.errors import ConfigError, read_error
from testvibe_async.ledger import Row, RowState, item_of
from testvibe_async.outcomes import BatchItem
from testvibe_async.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from testvibe_async._core.ledger import SqliteLedger
    from testvibe_async.errors import KindName


@frozen(kw_only=True)
class StoredBatch:
    """A batch of a ledger file: what was requested, and what is known of each feature."""

    number: int
    """Its number in the file."""

    key: str
    """Its key: that of the call, or a random one."""

    kind: KindName
    """Which kind of operation its items are."""

    server: str
    """The service's scheme and host, and its path prefix, if any."""

    project: str
    """The project's id."""

    site_url: str | None
    """The site of all its operations; None for the project's own."""

    attempts: int
    """Maximum number of runs of a feature in total."""

    on_conflict: str
    """The reaction to a feature whose state does not allow the dispatch."""

    options: Mapping[str, Any]
    """The options of its first call."""

    started_at: datetime
    """The time of its first call, by the local clock, in UTC."""

    is_running: bool
    """True if a process runs it now; see `SqliteLedger.living`."""

    is_over: bool
    """True if nothing is left to read, to dispatch, to wait for or to find out."""

    items: Sequence[BatchItem[Any]]
    """The known state of each feature, in the requested order."""

    @classmethod
    async def read(
        cls,
        ledger: SqliteLedger,
        name: int | str,
        *,
        server: str | None = None,
        project: str | None = None,
    ) -> Self:
        """Read one batch of a ledger file.

        Args:
            ledger: The file.
            name: The batch's number, or its key.
            server: The service that a key is of; None for any.
            project: The id of the project that a key is of; None for any.

        Raises:
            ConfigError: The file has no such batch, has several of the key, or can't be read.
        """
        number, plan = await _find(ledger, name, server, project)
        place = plan.server, plan.project
        rows = [row for row in await ledger.rows(plan.key) if (row.server, row.project) == place]
        return cls._of(number, plan, rows, is_running=ledger.is_living(number))

    @classmethod
    async def all(
        cls, ledger: SqliteLedger, *, with_items: bool = True, limit: int = -1
    ) -> list[Self]:
        """Read the batches of a ledger file, the latest first.

        Args:
            ledger: The file.
            with_items: False for no items, which is quicker; `is_over` then says nothing.
            limit: Maximum number of batches; -1 for no limit.

        Raises:
            ConfigError: The file can't be read.
        """
        return [
            cls._of(number, plan, rows, is_running=ledger.is_living(number))
            for number, plan, rows in await ledger.batches(with_rows=with_items, limit=limit)
        ]

    @classmethod
    def _of(cls, number: int, plan: Row, rows: Sequence[Row], *, is_running: bool) -> Self:
        described: dict[str, Any] = plan.plan or {}
        entries = _entries(described["jobs"], rows) if rows else []
        return cls(
            number=number,
            key=plan.key,
            kind=plan.kind,
            server=plan.server,
            project=plan.project,
            site_url=plan.site_url,
            attempts=described["attempts"],
            on_conflict=described["onConflict"],
            options=described["options"],
            started_at=plan.intended_at,
            is_running=is_running,
            is_over=bool(rows) and all(_is_over(entry, described["attempts"]) for entry in entries),
            items=[_item_of(entry, is_running=is_running) for entry in entries],
        )


def item_from_dict(kind: KindName, document: Mapping[str, Any]) -> BatchItem[Any]:
    """Return the item of a batch that `BatchItem.to_dict` described, without its quarantine."""

    def outcome(each: object) -> Any:  # noqa: ANN401 - of the kind
        return read(json.dumps(each).encode(), KINDS[kind].snapshot)

    runs = [outcome(each) for each in document.get("runs", [])]
    return BatchItem(
        feature=document["feature"],
        name=document.get("name"),
        config=document.get("config"),
        repetition=document.get("repetition", 1),
        ref=Ref.from_dict(document["ref"]) if "ref" in document else None,
        outcome=outcome(document["outcome"]) if "outcome" in document else None,
        error=read_error(document["error"]) if "error" in document else None,
        earlier=tuple(runs[:-1] if "outcome" in document else runs),
    )


def items_of_rows(rows: Sequence[Row]) -> list[BatchItem[Any]]:
    """Return the items of a running batch, by all its rows; the first one describes it."""
    described: dict[str, Any] = rows[0].plan or {}
    entries = _entries(described["jobs"], rows)
    return [
        entry.end(entry.stored_error)
        if entry.has_ended(described["attempts"]) or getattr(entry.row, "error", None)
        else entry.current()
        for entry in entries
    ]


async def _find(
    ledger: SqliteLedger, name: int | str, server: str | None, project: str | None
) -> tuple[int, Row]:
    found = [
        (number, plan)
        for number, plan, _ in await ledger.batches(name, with_rows=False)
        if (isinstance(name, int) or server in {None, plan.server})
        and (isinstance(name, int) or project in {None, plan.project})
    ]
    if len(found) > 1:
        numbers = " and ".join(str(number) for number, _ in found)
        raise ConfigError(f"batches {numbers} have the key {name!r}: name one by its number")
    if not found:
        raise ConfigError(f"the ledger {ledger.path} has no batch {name!r}")
    return found[0]


def _entries(jobs: Sequence[Sequence[Any]], rows: Sequence[Row]) -> list[Entry[Any]]:
    """Return the entries of a batch."""
    by_item: dict[str, list[Row]] = {}
    for row in rows:
        if not row.is_plan:
            by_item.setdefault(row.item, []).append(row)
    found = [Job(*job) for job in jobs]
    items = [item_of(job.feature, job.config, job.repetition) for job in found]
    return [
        Entry(index=index, job=job, item=item, rows=by_item.get(item, []))
        for index, (job, item) in enumerate(zip(found, items, strict=True))
    ]


def _is_over(entry: Entry[Any], attempts: int) -> bool:
    is_refused = entry.row is not None and is_refusal(entry.row.error)
    return entry.has_ended(attempts) or (entry.state is RowState.NOT_STARTED and is_refused)


def _item_of(entry: Entry[Any], *, is_running: bool) -> BatchItem[Any]:
    """Return the item of an entry; in a running batch, one without an answer waits."""
    is_open = entry.row is None or entry.state in {RowState.INTENDED, RowState.LOST}
    is_under_way = is_running and is_open
    return entry.current() if is_under_way else entry.end(entry.stored_error)
