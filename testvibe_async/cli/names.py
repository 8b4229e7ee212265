"""Resolution of names that people give: features, operations, and refs as text.

Decides what to suggest for an unknown name, and asks the service for a list only if a name needs
it. Without such a list, names are used as they were typed.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from attrs import evolve
from cyclopts import Parameter
from cyclopts.validators import Number

from testvibe_async import ConfigError, Ref, RunRef, Verdict, errors
from testvibe_async._core.wire import KINDS
from testvibe_async.batch import item_from_dict
from testvibe_async.runner.limit import LIMITED, GenerationLimitError
from testvibe_async.runner.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from testvibe_async.cli.common import Connection
    from testvibe_async.cli.text import Item
    from testvibe_async.errors import KindName
    from testvibe_async.models import Snapshot


@asynccontextmanager
async def suggesting(connection: Connection, feature: str | None) -> AsyncGenerator[None]:
    """Add to a refusal for an unknown feature, if one is named, what its name may have meant."""
    try:
        yield
    except errors.NotFoundError as error:
        if feature is None or isinstance(error, errors.EndpointNotFoundError):
            raise
        with suppress(errors.ResponseError, errors.TransportError):
            names = [each.name for each in await connection.project.list_features()]
            if suggestion := did_you_mean(feature, names):
                error.add_note(suggestion)
        raise


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
            kind = "generation" if documents[0].get("kind") == "generation" else "run"
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


RunId: TypeAlias = Annotated[int, Parameter(validator=Number(gt=0))]
"""The id of a run."""
