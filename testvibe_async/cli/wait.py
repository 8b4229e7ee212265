"""`testvibe-async wait`: operations that were dispatched before, by any client.

Decides which operations a word or a text names: refs, ids of runs, names of features, and the
batch that another command printed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from testvibe_async import BatchItem, ConfigError, Ref, RunRef, Verdict, VibeError, errors
from testvibe_async._core.wire import KINDS
from testvibe_async.batch import item_from_dict
from testvibe_async.cli.common import suggesting
from testvibe_async.cli.options import Files, Timeout
from testvibe_async.cli.text import STDIN, Item, read_text
from testvibe_async.cli.watch import watching
from testvibe_async.models import DEFAULT_CONFIG
from testvibe_async.runner.codes import ExitCode  # noqa: TC001 - cyclopts reads it
from testvibe_async.runner.limit import LIMITED, GenerationLimitError
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.words import NAME

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from testvibe_async import Operation, Transition
    from testvibe_async.cli.common import Connection
    from testvibe_async.cli.watch import Watch
    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot


async def wait(*operations: str, timeout: Timeout = None, files: Files = Files()) -> ExitCode:
    """Wait for runs and generations that were dispatched before, by any client.

    An operation is the id of a run, the name of a feature for what it has in flight, or a ref: what
    the other commands print of an operation with --json. Standard input has refs, one a line, or
    the batch that 'run --json' or 'generate --json' printed. A feature of a batch that was refused,
    or whose dispatch is unknown, is named, and counts for the exit code.

    For example:

        testvibe-async wait 214 215 --timeout 120 --report junit.xml
        testvibe-async wait Checkout
        testvibe-async wait < runs.json
        testvibe-async run Checkout --json | testvibe-async wait

    The exit codes are those of run --wait.

    Args:
        operations: Ids of runs, names of features, or refs as JSON; else those on standard input.
        timeout: Maximum time to wait.
        files: The files to write.
    """
    words = [each for each in operations if not each.startswith("{")]
    named = [read_ref(each) for each in operations if each.startswith("{")]
    others: list[Item] = []
    kind: KindName = "run"
    if not operations and not sys.stdin.isatty():
        named, others, kind = read_dispatches(read_text(Path(STDIN)))
    if not (words or named or others):
        raise ConfigError(
            "nothing to wait for: give run ids, features or refs, or the output of 'run --json' "
            f"on standard input; to continue the last batch: {NAME} resume"
        )

    async with watching(files=files, timeout=timeout) as watch:
        watch.know(spec=BatchSpec(kind=kind))
        async with watch.limit.waiting_for("what is in flight"):
            seen = await asyncio.gather(*(operations_of(watch.connection, word) for word in words))
        refs = {ref.key: ref for each in (named, *seen) for ref in each}
        # One of another server is refused before any is waited for.
        awaited = [watch.connection.client.attach(ref) for ref in refs.values()]
        await watch.collect(_Awaited(watch, awaited, others), "operation")
        code = await watch.conclude()
        if watch.batches is not None:
            for each in await watch.batches.record(watch.progress.items):
                watch.output.note(f"{each} has the results.")
        return code


class _Awaited:
    """Operations of earlier commands, and items that have none, as a `Source`."""

    def __init__(
        self, watch: Watch, operations: Sequence[Operation[Any]], others: Sequence[Item]
    ) -> None:
        self._watch, self._others = watch, others
        self._operations = {each.ref.key: each for each in operations}
        self._items = {each.ref.key: item_of(each) for each in operations}

    @property
    def items(self) -> Sequence[Item]:
        """The present items."""
        return [*self._items.values(), *self._others]

    def changes(self) -> AsyncIterator[tuple[Operation[Any], Transition[Any]]]:
        """Iterate over the transitions of the operations."""
        return self._watch.connection.client.changes([*self._operations.values()])

    def item_of(self, operation: Operation[Any], /) -> Item:
        """Return the item of an operation, as last observed."""
        return item_of(operation)

    async def __aiter__(self) -> AsyncGenerator[Item]:
        """Yield the items as they complete; at the time-out, those of all other operations.

        Raises:
            VibeError: The error concerns no single operation.
        """
        for item in self._others:
            yield item
        client, timeout = self._watch.connection.client, self._watch.limit.remaining
        finished = client.finished([*self._operations.values()], timeout=timeout)
        for _ in self._operations:
            error = None
            try:
                operation: Operation[Any] = await anext(finished)
            except VibeError as caught:
                if caught.ref is None:
                    raise
                operation, error = self._operations[caught.ref.key], caught
            item = self._watch.quarantine.mark(item_of(operation, error))
            self._items[operation.ref.key] = item
            yield item


def item_of(operation: Operation[Any], error: VibeError | None = None) -> Item:
    """Return the item of an operation, as last observed.

    Args:
        operation: The operation.
        error: The error with which the wait for it ended; None if it is over, or waited for.
    """
    ref, snapshot = operation.ref, operation.snapshot
    name = snapshot.feature_name if snapshot else None
    config: str | None = getattr(snapshot, "config", None)
    feature = snapshot.feature_id if snapshot else getattr(ref, "feature_id", None)
    return BatchItem(
        feature=ref.to_json(),
        name=name or (str(ref) if feature is None else f"feature {feature}"),
        config=None if config == DEFAULT_CONFIG else config,
        ref=ref,
        outcome=None if error else operation.outcome,
        error=error,
    )


async def operations_of(connection: Connection, word: str) -> list[Ref]:
    """Return the operations that a word names: a run by its id, or what a feature has in flight.

    Args:
        connection: Has the project in force.
        word: The id of a run, or a feature's name.

    Raises:
        ConfigError: Nothing of the feature is in flight.
    """
    project = connection.project
    at: dict[str, Any] = {"server": connection.client.server, "project": project.id}
    if word.isdecimal():
        return [RunRef(run_id=int(word), **at)]
    async with suggesting(connection, word):
        made = await project.get_generation_status(word)
    seen: list[Snapshot] = [made] if made.request_id and made.feature_id else []
    why = " (this service lists no runs: give the id of one)"
    with suppress(errors.NotFoundError):
        seen += await project.list_runs(feature=word)
        why = ""
    found = [KINDS[each.kind].ref_of(each, **at) for each in seen if not each.is_finished]
    if not found:
        raise ConfigError(f"nothing of {word!r} is in flight{why}")
    return found


def read_ref(text: str) -> Ref:
    """Return the ref that a text is, as `Ref.to_json` writes it.

    Raises:
        ConfigError: It is none.
    """
    try:
        return Ref.from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{error}; quote it for the shell with '…'") from error


def read_dispatches(text: str) -> tuple[list[Ref], list[Item], KindName]:
    """Return the refs in a text, the items of a batch that have none, and the kind of the batch.

    Raises:
        ConfigError: It has neither refs, one a line, nor the batch that `--json` prints.
    """
    refs: list[Ref] = []
    undispatched: list[Item] = []
    kind: KindName = "run"
    try:
        documents = _documents_in(text)
        if len(documents) == 1 and "items" in documents[0]:
            kind = KINDS[documents[0]["kind"]].name
            documents = documents[0]["items"]
        for each in documents:
            if each.get("testvibe") or each["ref"]:
                refs.append(Ref.from_dict(each.get("ref", each)))
            else:
                undispatched.append(_undispatched(kind, each))
    except (ConfigError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            "standard input has neither refs, one a line, nor a batch that 'run --json' printed"
        ) from error
    return refs, undispatched, kind


def _documents_in(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects in a text: one, or one a line."""
    with suppress(ValueError):
        return [json.loads(text)]
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _undispatched(kind: KindName, document: dict[str, Any]) -> Item:
    """Return the item without an operation that `--json` has printed."""
    known = {name: value for name, value in document.items() if value is not None}
    item = item_from_dict(kind, known)
    if known["verdict"] == LIMITED:
        return evolve(item, error=GenerationLimitError())
    return evolve(item, is_dropped=known["verdict"] == Verdict.UNKNOWN and item.error is None)
