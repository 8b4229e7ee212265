"""Ledgers: what was dispatched, one row for each attempt.

A row is durable before the first byte of its request; the answer and the outcome complete it. With
a key of the caller's own, the same call returns the same operation, in any process and on any day.
This module decides what a row says; `_core/dispatch` decides what follows from it. A ledger holds
no API key, and decides neither a server nor a path.
"""

from __future__ import annotations

import json
import os
import time
import unicodedata
from abc import ABC, abstractmethod
from asyncio import gather, sleep
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from operator import methodcaller
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from attrs import define, evolve, field, fields

from testvibe_async._core.util import id_in
from testvibe_async._core.util.serialization import Serializable, wire_name
from testvibe_async._core.wire import KINDS, read
from testvibe_async.errors import ConfigError, KindName, VibeError, read_error
from testvibe_async.models import DEFAULT_CONFIG
from testvibe_async.refs import Ref, checked_traceparent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from testvibe_async.models import Snapshot

__all__ = ["Decision", "Ledger", "Row", "RowState", "ref_id"]

Decision: TypeAlias = 'Literal["resend", "drop"] | Ref'
"""The decision on a dispatch that is unknown: send it again, leave it, or take an operation."""

VERSION = 1
"""The version of a row's document."""


class RowState(StrEnum):
    """The state of one attempt to dispatch."""

    PLANNED = "planned"
    """The row describes a batch, and no attempt."""

    INTENDED = "intended"
    """The request may have been sent, and no answer was received."""

    LOST = "lost"
    """The same, and nobody waits for the answer any more."""

    ACCEPTED = "accepted"
    """The service accepted the request with an answer whose id can't be read: it started."""

    DISPATCHED = "dispatched"
    """The operation is known, and was not observed to finish."""

    FINISHED = "finished"
    """The outcome is known."""

    NOT_STARTED = "not started"
    """Nothing started: the request was not sent, was refused, or provably had no effect."""

    UNKNOWN = "unknown"
    """Unknown whether it started: `Ledger.decide` settles that."""

    DROPPED = "dropped"
    """Unknown whether it started, and a decision left it so."""


OPEN_STATES = frozenset({RowState.INTENDED, RowState.LOST, RowState.ACCEPTED, RowState.UNKNOWN})
"""The states of a row whose operation may still be found."""

_RANKS = {
    RowState.PLANNED: 0,
    RowState.INTENDED: 0,
    RowState.LOST: 0,
    RowState.UNKNOWN: 1,
    RowState.NOT_STARTED: 2,
    RowState.ACCEPTED: 3,  # It outweighs what a search took for a proof that nothing started.
    RowState.DROPPED: 4,
    RowState.DISPATCHED: 7,
    RowState.FINISHED: 8,
}
"""The rank of each state: the more is known, the higher."""

_ADOPTED_RANKS = _RANKS | {
    RowState.DISPATCHED: 5,
    RowState.UNKNOWN: 5,  # The adopted operation proved to be another's.
    RowState.NOT_STARTED: 6,
    RowState.DROPPED: 6,
}
"""The same for a row whose operation is or was adopted: an answer outweighs a search."""


def _rank(state: RowState, *, adopted: bool) -> int:
    return (_ADOPTED_RANKS if adopted else _RANKS)[state]


_PROCESS = token_hex(4)
_tokens = count()


@define(kw_only=True, eq=False)
class Row(Serializable):
    """One attempt to dispatch an operation, or the description of a batch."""

    server: str
    """The service's scheme and host, and its path prefix, if any."""

    project: str
    """The project's id."""

    key: str
    """The caller's name for the dispatch or the batch; a random one if none was given."""

    item: str = ""
    """The feature, configuration and repetition in a batch; empty for a single dispatch."""

    number: int = 1
    """The number of the attempt, from 1.

    The description of a batch has the identity of a single dispatch: a key is that of one of them.
    """

    kind: KindName
    """Which kind of operation is dispatched."""

    feature: int | str = ""
    """The feature as requested: its id or its name."""

    name: str | None = None
    """The feature's name, if it was known."""

    config: str | None = None
    """The requested run configuration; None for the default, or for a generation."""

    site_url: str | None = None
    """The requested site; None for the project's own."""

    state: RowState = RowState.INTENDED
    """The state of the attempt."""

    intended_at: datetime = field(factory=lambda: datetime.now(UTC))
    """The time when the row was made, by the local clock, in UTC."""

    token: str = field(factory=lambda: f"{os.getpid():x}-{_PROCESS}-{next(_tokens):x}")
    """A text that no other row has: of two rows of one identity, one was not stored."""

    boot: str | None = None
    """The id of the machine's boot; None if the machine has none. See `age_of`."""

    boot_seconds: float = 0.0
    """The seconds from the boot until the row was made."""

    expires_after: float = 0.0
    """Seconds after which the request can't start an operation any more."""

    before: int | str | None = None
    """The highest `runId` of the project, or the feature's latest `requestId`, before it."""

    before_at: datetime | None = None
    """The service's own time of the last change of that generation; None if it is not known."""

    is_before_known: bool = False
    """True if `before` was read just before the dispatch; None then stands for no operation."""

    adopted: bool = False
    """True if the operation was not named by the answer: it was found, or joined."""

    traceparent: str | None = None
    """The span of the dispatch, in W3C Trace Context format; None if none was recorded."""

    ref: Ref | None = None
    """The operation, if it is known."""

    outcome: Snapshot | None = None
    """The finished run or generation, if it was observed."""

    error: VibeError | None = None
    """The reason why there is no operation or no outcome, if one is known."""

    plan: dict[str, Any] | None = None
    """The description of a batch, if the row is one: plain JSON."""

    @property
    def identity(self) -> tuple[str, str, str, str, int]:
        """The fields that are unique in a ledger."""
        return self.server, self.project, self.key, self.item, self.number

    @property
    def is_plan(self) -> bool:
        """True if it describes a batch."""
        return self.state is RowState.PLANNED

    @property
    def is_open(self) -> bool:
        """True if its operation may still be found."""
        return self.state in OPEN_STATES

    @property
    def id(self) -> str:
        """The identity as one text, for a database."""
        return json.dumps(self.identity)

    @property
    def ref_id(self) -> str | None:
        """The identity of the operation as one text, for a database; None if it is not known."""
        return None if self.ref is None else ref_id(self.ref)

    @property
    def rank(self) -> int:
        """The rank of what is known of the attempt, for `replaces` and for a database."""
        return _rank(self.state, adopted=self.adopted)

    def note(
        self,
        state: RowState,
        *,
        ref: Ref | None = None,
        error: VibeError | None = None,
        adopted: bool = False,
    ) -> bool:
        """Note what became known of the attempt, unless more is known; return whether it is noted.

        Calls of one process may share the row, and learn different things of its attempt.
        """
        adopted = self.adopted if ref is None else adopted
        is_other = ref is not None and self.ref is not None and ref_id(ref) != self.ref_id
        if not (not adopted if is_other else _rank(state, adopted=adopted) >= self.rank):
            return False
        self.state, self.error, self.adopted = state, error, adopted
        if ref is not None:
            self.ref = ref
        if is_other:
            self.outcome = None
        return True

    def replaces(self, stored: Row) -> bool:
        """Return whether this row replaces the stored one of the same identity.

        Both must be of one insertion (`token`). If they have different operations, that of an
        answer replaces the other one, and an adopted operation replaces none. Otherwise the row
        must know as much as the stored one (`rank`): a late note undoes neither an outcome nor a
        decision.
        """
        if self.token != stored.token:
            return False
        if self.ref is not None and stored.ref is not None and self.ref_id != stored.ref_id:
            return not self.adopted
        return self.rank >= stored.rank

    def contradiction(self, answer: Any) -> str | None:  # noqa: ANN401 - an answer that names an operation
        """Return how an answer contradicts the request; None if it does not.

        A feature that is renamed while its operation runs does too: that is the safe side.
        """
        if (run_id := getattr(answer, "run_id", 1)) < 1:
            return f"it names run {run_id}, and ids begin with 1"
        number = id_in(str(self.feature))
        known = number if number is not None else getattr(self.ref, "feature_id", None)
        if None not in {known, answer.feature_id} and known != answer.feature_id:
            return f"it names feature {answer.feature_id}, and {known} was requested"
        named = getattr(answer, "feature_name", None) if number is None else None
        if named and folded(named) != folded(str(self.feature)):
            return f"it names feature {named!r}, and {self.feature!r} was requested"
        asked, named = self.config or DEFAULT_CONFIG, getattr(answer, "config", None)
        if named and folded(named) != folded(asked):
            return f"it names configuration {named!r}, and {asked!r} was requested"
        return None

    def to_json(self) -> str:
        """Return the row as one line of JSON, for `from_json`."""
        document: dict[str, object] = {"version": VERSION}
        for name, wire in _FIELDS.items():
            value: Any = getattr(self, name)
            if value is not None:
                convert = _WRITERS.get(name)
                document[wire] = value if convert is None else convert(value)
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a row that `to_json` wrote.

        Raises:
            ConfigError: The text is not a row, has another version, or is damaged.
        """
        try:
            document: dict[str, Any] = json.loads(text)
            version = document.pop("version")
            if version != VERSION:
                raise ConfigError(
                    f"this row of a ledger is of version {version!r}, and this release reads "
                    f"version {VERSION}: read it with the release that wrote it"
                )
            return cls(**_read(document))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"this row of a ledger is damaged: {error!r}") from error


_FIELDS = {each.name: wire_name(each.name) for each in fields(Row)}
"""The names in a document, by field."""

_WRITERS: Mapping[str, Callable[[Any], object]] = {
    **dict.fromkeys(("intended_at", "before_at"), datetime.isoformat),
    **dict.fromkeys(("ref", "outcome", "error"), methodcaller("to_dict")),
}
"""The conversion of each field that is not plain."""

_READERS: Mapping[str, Callable[[Any], object]] = {
    **dict.fromkeys(("intended_at", "before_at"), datetime.fromisoformat),
    "state": RowState,
    "traceparent": checked_traceparent,
    "ref": Ref.from_dict,
    "error": read_error,
}
"""The same for reading; an outcome has the class of its kind."""


def _read(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a row's document."""
    values: dict[str, Any] = {}
    for name, wire in _FIELDS.items():
        if wire in document:
            convert = _READERS.get(name)
            values[name] = document[wire] if convert is None else convert(document[wire])
    if (outcome := values.get("outcome")) is not None:
        values["outcome"] = read(json.dumps(outcome).encode(), KINDS[values["kind"]].snapshot)
    return values


class Ledger(ABC):
    """Keeps the rows of dispatches: `Client(ledger=...)`.

    The package has one in memory and one in a SQLite file. A service writes its own over its
    database: subclass this, and store `row.to_json()` under `row.id`. The four methods run in the
    event loop, concurrently for many dispatches. An error from `insert` stops the dispatch.
    """

    is_immediate: ClassVar[bool] = False
    """True if no method ever waits for anything."""

    @abstractmethod
    async def insert(self, row: Row) -> Row:
        """Store a row durably, unless one of its identity is there; return the stored one.

        Of several concurrent calls with one identity, in any processes, exactly one may store its
        row: that is the claim on the dispatch. A request is not sent if this takes over 5 s.
        """

    @abstractmethod
    async def note(self, row: Row) -> None:
        """Replace the stored row of the same identity and token, now that more is known.

        Does nothing if no such row is stored, or if the row does not replace it. ``Row.replaces``
        has the rule. With columns for `ref_id` and `rank`, it is in SQL
        ``CASE WHEN ref <> :ref THEN NOT :adopted ELSE rank <= :rank END``.
        """

    @abstractmethod
    async def rows(self, key: str) -> list[Row]:
        """Return the rows of a key, in the order of their numbers, of any server and project."""

    @abstractmethod
    async def related(self, server: str, project: str, refs: Collection[Ref]) -> list[Row]:
        """Return the rows of a project that are open, or own one of some operations."""

    async def decide(  # noqa: PLR0913 - each by name
        self,
        key: str,
        decision: Decision,
        *,
        feature: int | str | None = None,
        config: str | None = None,
        server: str | None = None,
        project: str | None = None,
    ) -> list[Row]:
        """Decide the fate of dispatches that are unknown.

        Args:
            key: The key of the dispatch, or of the batch.
            decision: `"resend"` to dispatch again with the next call of that key, `"drop"` to leave
                it unknown, or the ref of the operation, which the next call polls. `"resend"` takes
                up to a minute: until then, a lost request may still take effect. Check the service
                after that: what is sent again is not searched for.
            feature: The feature, as requested; None for all of the key that are unknown.
            config: Its configuration, if it is unknown with several; None for any.
            server: The service, if the key has rows of several.
            project: The id of the project, if the key has rows in several.

        Returns:
            The rows as they are stored now. An answer that came meanwhile outweighs the decision.

        Raises:
            ConfigError: The decision is none of these; nothing is unknown; the ref is for several
                dispatches, of another project or kind, or owned by another row; or the decision
                can't be stored. A ledger of your own raises its own error if it can't.
        """
        if not isinstance(decision, Ref) and decision not in {"resend", "drop"}:
            raise ConfigError(f"the decision must be 'resend', 'drop' or a ref, not {decision!r}")

        def is_meant(row: Row) -> bool:
            return _is_meant(row, feature=feature, config=config)

        found = await self._undecided(key, server, project, is_meant)
        if decision == "resend":
            may_start = [row for row in found if row.state is not RowState.ACCEPTED]
            await sleep(max((row.expires_after - age_of(row) for row in may_start), default=0.0))
            meant = {row.identity for row in found}
            found = await self._undecided(key, server, project, is_meant)
            found = [row for row in found if row.identity in meant]
        if not found:
            what = "nothing" if feature is None else f"nothing of feature {feature!r}"
            raise ConfigError(f"{what} is unknown under key {key!r}")
        if decision == "resend" and any(row.state is RowState.ACCEPTED for row in found):
            raise ConfigError(
                "the service accepted it, so it started: decide 'drop', or name its operation"
            )
        if isinstance(decision, Ref):
            await self._check_ref(decision, found)
        await gather(*(self.note(_decided(decision, row)) for row in found))
        identities = {row.identity for row in found}
        return [row for row in await self.rows(key) if row.identity in identities]

    async def _undecided(
        self,
        key: str,
        server: str | None,
        project: str | None,
        is_meant: Callable[[Row], bool],
    ) -> list[Row]:
        """Return the rows of a key, in one place, that a decision may settle."""
        rows = [
            row
            for row in await self.rows(key)
            if server in {None, row.server} and project in {None, row.project}
        ]
        for name in ("server", "project"):
            if len({getattr(row, name) for row in rows}) > 1:
                raise ConfigError(f"name the {name}: key {key!r} has rows of several")
        return [row for row in undecided(rows) if is_meant(row)]

    async def _check_ref(self, ref: Ref, found: Sequence[Row]) -> None:
        """Refuse a ref that can't be the operation of a dispatch."""
        if len(found) > 1:
            raise ConfigError(
                f"{ref} is of one dispatch, and {len(found)} are unknown: name the feature"
            )
        row = found[0]
        for name in ("kind", "server", "project"):
            if getattr(ref, name) != getattr(row, name):
                raise ConfigError(
                    f"name an operation of the same {name}: {ref} has {getattr(ref, name)}, and "
                    f"the dispatch {getattr(row, name)}"
                )
        if row.is_before_known and is_from_before(ref, row.before):
            raise ConfigError(f"name another operation: {ref} is from before the dispatch")
        for other in await self.related(row.server, row.project, [ref]):
            if other.ref == ref and other.identity != row.identity:
                raise ConfigError(f"name another operation: {ref} is that of {other.feature!r}")


def is_from_before(ref: Ref, before: int | str | None) -> bool:
    """Return whether an operation existed before a dispatch."""
    number = ref.key[-1]
    return (
        number <= before
        if isinstance(number, int) and isinstance(before, int)
        else number == before
    )


def undecided(rows: Iterable[Row]) -> list[Row]:
    """Return the last rows of each item that are unknown, and that a decision may settle."""
    last = {row.item: row for row in rows}
    return [row for row in last.values() if row.is_open and not is_awaited(row)]


def _is_meant(row: Row, *, feature: int | str | None, config: str | None) -> bool:
    names = {folded(str(each)) for each in (row.feature, row.name) if each is not None}
    is_feature = feature is None or folded(str(feature)) in names
    return is_feature and (config is None or folded_config(config) == folded_config(row.config))


def is_awaited(row: Row) -> bool:
    """Return whether the answer to an attempt may still come."""
    return row.state is RowState.INTENDED and age_of(row) < row.expires_after


def _decided(decision: Decision, row: Row) -> Row:
    """Return a row with a decision."""
    if isinstance(decision, Ref):
        return evolve(row, state=RowState.DISPATCHED, ref=decision, adopted=True, error=None)
    state = RowState.NOT_STARTED if decision == "resend" else RowState.DROPPED
    return evolve(row, state=state)


def ref_id(ref: Ref) -> str:
    """Return the identity of an operation within its project as one text."""
    return f"{ref.kind} {ref.key[-1]}"


def folded(text: str) -> str:
    """Return a text such that two spellings of one name are equal."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def folded_site(url: str) -> str:
    """Return the address of a site such that two spellings of it are equal."""
    return folded(url).rstrip("/")


def request_of(
    *, kind: str, feature: int | str, config: str | None, site_url: str | None
) -> tuple[object, ...]:
    """Return what is requested, such that two spellings of one request are equal."""
    site = None if site_url is None else folded_site(site_url)
    return kind, _folded_feature(feature), folded_config(config), site


def _folded_feature(feature: int | str) -> int | str:
    number = id_in(str(feature))
    return folded(str(feature)) if number is None else number


def folded_config(config: str | None) -> str:
    """Return a configuration such that two spellings of it are equal; None is the default."""
    return folded(config or DEFAULT_CONFIG)


def item_of(feature: int | str, config: str | None, repetition: int) -> str:
    """Return the text that identifies an item of a batch."""
    which = [_folded_feature(feature), folded_config(config), repetition]
    return json.dumps(which, ensure_ascii=False)


def _boot() -> str | None:
    """Return the id of the machine's boot; None where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


_BOOT = _boot() if hasattr(time, "CLOCK_BOOTTIME") else None


def machine_time() -> tuple[str | None, float]:
    """Return the machine's boot, and the seconds since then; None and 0 where that is unknown.

    This clock neither stops nor is set. The event loop's clock stops while the machine sleeps, and
    the wall clock may be set.
    """
    return (None, 0.0) if _BOOT is None else (_BOOT, time.clock_gettime(time.CLOCK_BOOTTIME))


FOREIGN_SECONDS = 86_400.0
"""Seconds by which the wall clocks of two machines, or of two boots, may differ."""


def age_of(row: Row) -> float:
    """Return the minimum age of a row in seconds.

    A row of another machine or boot is as old as the wall clocks say, less a day.
    """
    boot, now = machine_time()
    if boot is not None and row.boot == boot:
        return max(0.0, now - row.boot_seconds)
    seconds = (datetime.now(UTC) - row.intended_at).total_seconds()
    return max(0.0, seconds - FOREIGN_SECONDS)


def seconds_between(earlier: Row, later: Row) -> float | None:
    """Return the minimum of seconds between two rows; None if no clock shows their order."""
    if earlier.boot is not None and earlier.boot == later.boot:
        return later.boot_seconds - earlier.boot_seconds
    seconds = (later.intended_at - earlier.intended_at).total_seconds() - FOREIGN_SECONDS
    return seconds if seconds > 0 else None


def describe(
    *,
    kind: str,
    feature: int | str | None = None,
    config: str | None = None,
    site_url: str | None = None,
) -> str:
    """Return a request in words, for an error that compares two of them."""
    parts = [f"a {kind}"]
    if feature is not None:
        parts.append(f"of feature {feature!r}")
    if config is not None:
        parts.append(f"with configuration {config!r}")
    if site_url is not None:
        parts.append(f"on {site_url}")
    return " ".join(parts)
