"""The interface of a batch's store, and the source of its entries.

Decides which features a resumed batch has: first the planned ones, then the features that its
source has beyond them. It never decides what a state means: `entry` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from testvibe_async._batch.entry import Entry
from testvibe_async.errors import ConfigError
from testvibe_async.models import DEFAULT_CONFIG

if TYPE_CHECKING:
    from testvibe_async._batch.plan import Plan
    from testvibe_async._dispatch import JobSource
    from testvibe_async.errors import KindName, VibeError
    from testvibe_async.intents import Intent
    from testvibe_async.refs import Ref


class Store(Protocol):
    """Saves the entries of one batch."""

    def begin(self, plan: Plan) -> Plan:
        """Begin the batch of a plan, or resume one; return the stored plan.

        Raises:
            ConfigError: The store is not open, was used, or holds another plan.
        """
        ...

    @property
    def entries(self) -> list[Entry[Any]]:
        """The entries planned so far; a new entry is appended, and then saved."""
        ...

    @property
    def is_complete(self) -> bool:
        """True if all features of the batch are planned."""
        ...

    def save(self, entry: Entry[Any]) -> None:
        """Save an entry's present state with the next commit."""

    def complete(self) -> None:
        """Save with the next commit that all features are planned."""

    async def save_intent(self, entry: Entry[Any]) -> None:
        """Save an entry that is about to be sent, and return once it is durable.

        If it raises, the dispatch is not sent.
        """


class EntryRecorder:
    """Saves the intents of one entry. The entry's dispatch itself reports the operations."""

    def __init__(self, entry: Entry[Any], store: Store) -> None:
        self._entry = entry
        self._store = store

    async def intended(self, intent: Intent) -> None:
        """Save an intent, and return once it is durable."""
        self._entry.intend(intent)
        await self._store.save_intent(self._entry)

    async def dispatched(self, intent: Intent, ref: Ref) -> None:
        """Do nothing: the operation was saved already, and is durable with the next commit.

        Waiting for that commit would gain nothing: after a crash before it, the intent is
        reconciled.
        """

    async def not_dispatched(self, intent: Intent, error: VibeError) -> None:  # noqa: ARG002
        """Save that nothing started."""
        self._entry.withdraw()
        self._store.save(self._entry)


class EntrySource:
    """The entries of a batch, in order."""

    def __init__(self, source: JobSource, store: Store | None, *, kind: KindName) -> None:
        """Create it; reads nothing yet.

        Args:
            source: The features that the caller requested.
            store: Holds the entries planned before; None for no store.
            kind: The kind of operation that the batch dispatches.
        """
        self.entries: list[Entry[Any]] = []
        """The entries read so far."""
        self.is_over: bool = False
        """True once no more entries are to come."""
        self._source = source
        self._store = store
        self._kind: KindName = kind
        self._planned = [] if store is None else [*store.entries]
        # A complete plan needs no list of the project's features.
        self._is_whole = store is not None and store.is_complete
        self.is_lazy: bool = source.is_lazy and not self._is_whole
        """True if features are read only as slots become free."""
        if self._is_whole and not source.is_named:
            self._check_same_jobs()

    def _check_same_jobs(self) -> None:
        """Refuse configurations and a repetition that differ from those of the plan.

        Raises:
            ConfigError: They differ. The plan's own are used if the caller names none.
        """
        jobs, repeat = [entry.job for entry in self._planned], self._source.repeat
        configs = {config or DEFAULT_CONFIG for config in self._source.configs or ()}
        planned = {job.config or DEFAULT_CONFIG for job in jobs}
        is_other = any(self._source.configs or ()) and configs != planned
        if is_other or repeat not in {1, max((job.repetition for job in jobs), default=1)}:
            raise ConfigError(
                "resume the batch without config= and repeat=, or take another file: the batch in "
                "it has others"
            )

    async def read(self) -> Entry[Any] | None:
        """Return the next entry; None after the last.

        Raises:
            ConfigError: The source has other features than the plan.
        """
        entry = await self._next()
        if entry is None:
            self.is_over = True
        else:
            entry.resume()
            self.entries.append(entry)
        return entry

    async def _next(self) -> Entry[Any] | None:
        if self._is_whole and not self._source.is_named:
            index = len(self.entries)
            return self._planned[index] if index < len(self._planned) else None
        job = await self._source.read()
        index = len(self.entries)  # Other tasks may have read meanwhile.
        planned = self._planned[index] if index < len(self._planned) else None
        if planned is not None and (
            job is None or (job.feature, job.config) != (planned.job.feature, planned.job.config)
        ):
            raise _other_features("has other features, or these in another order")
        if planned is None and job is not None and self._is_whole:
            raise _other_features("has fewer features")
        if job is None:
            if self._store is not None and not self._is_whole:
                self._store.complete()
            return None
        if planned is not None:
            return planned
        entry: Entry[Any] = Entry(index=index, job=job, kind=self._kind)
        if self._store is not None:
            self._store.entries.append(entry)
            self._store.save(entry)
        return entry


def _other_features(what: str) -> ConfigError:
    return ConfigError(
        f"resume the batch without naming features, or take another file: the batch in it {what}"
    )
