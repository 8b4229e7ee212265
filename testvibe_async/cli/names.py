"""Resolution of names that people give: features, operations, and refs as text.

Decides what to suggest for an unknown name, and asks the service for a list only if a name needs
it. Without such a list, names are used as they were typed.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, assert_never, cast

from cyclopts import Parameter
from cyclopts.validators import Number

from testvibe_async import BatchItem, ConfigError, Ref, RunRef, Verdict, errors
from testvibe_async._core.wire import KINDS
from testvibe_async.runner.limit import LIMITED, GenerationLimitError
from testvibe_async.runner.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

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
    found: list[Ref] = []
    kinds: tuple[KindName, ...] = ("generation", "run")
    why = " (this service lists no runs: give the id of one)"
    for kind in kinds:
        seen: Sequence[Snapshot] = ()
        match kind:
            case "generation":
                async with suggesting(connection, word):
                    made = await project.get_generation_status(word)
                seen = [made] if made.request_id and made.feature_id else []
            case "run":
                with suppress(errors.NotFoundError):
                    seen, why = await project.list_runs(feature=word), ""
            case _:
                assert_never(kind)
        found += [KINDS[kind].ref_of(each, **at) for each in seen if not each.is_finished]
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
    try:
        kind, documents = _documents_in(text)
        for each in documents:
            if each.get("testvibe") is not None or each["ref"] is not None:
                refs.append(Ref.from_dict(each.get("ref", each)))
            else:
                undispatched.append(_undispatched(each))
    except (ConfigError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            "standard input has neither refs, one a line, nor a batch that 'run --json' printed"
        ) from error
    return refs, undispatched, kind


def _documents_in(text: str) -> tuple[KindName, Iterable[dict[str, Any]]]:
    """Return the refs or the items in a text, and the kind of the batch that has them.

    Raises:
        ValueError: It is no JSON.
    """
    with suppress(ValueError):  # More than one line of JSON.
        document = json.loads(text)
        if "items" in document:
            kind: KindName = "generation" if document.get("kind") == "generation" else "run"
            return kind, cast("list[dict[str, Any]]", document["items"])
    return "run", [json.loads(line) for line in text.splitlines() if line.strip()]


def _undispatched(document: dict[str, Any]) -> Item:
    """Return the item without an operation that `--json` has printed."""
    error = None if document["error"] is None else errors.read_error(document["error"])
    return BatchItem(
        feature=document["feature"],
        name=document.get("name"),
        config=document.get("config"),
        repetition=document.get("repetition", 1),
        error=GenerationLimitError() if document["verdict"] == LIMITED else error,
        is_dropped=document["verdict"] == Verdict.UNKNOWN and error is None,
    )


RunId: TypeAlias = Annotated[int, Parameter(validator=Number(gt=0))]
"""The id of a run."""
