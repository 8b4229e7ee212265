"""Resolution of names that people give: features, configurations, operations; and refs as text.

Decides what to suggest for an unknown name, and asks the service for a list only if a name needs
it. Without such a list, names are used as they were typed.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, assert_never

from testvibe_async import BatchItem, ConfigError, Ref, RunRef, errors
from testvibe_async._batch import EntryState, read_entry
from testvibe_async._wire import KINDS
from testvibe_async.cli import completion
from testvibe_async.cli.words import NAME, Item
from testvibe_async.runner.generation_limit import LIMITED, GenerationLimitError
from testvibe_async.runner.kinds import POLICIES
from testvibe_async.runner.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence

    from testvibe_async.cli.common import Connection
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
            completion.keep(features=names)
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
    why = " (this service lists no runs: give the id of one)"
    for kind in sorted(POLICIES):
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


def read_dispatches(
    typed: Iterable[str], files: Mapping[str, str] | None = None
) -> tuple[list[Ref], list[Item]]:
    """Return the refs in texts, each once, and the items of batches that have none.

    An item of a batch, as `--json` prints it, is read as a whole: it stands for its own operation,
    and not for others that its error names.

    Args:
        typed: JSON of any form, which contains refs as `Ref.to_json` writes them.
        files: More of that, by the name of the file that it is from.

    Raises:
        ConfigError: There is neither, or a text is no JSON.
    """
    texts = [*((None, text) for text in typed), *(files or {}).items()]
    refs: dict[tuple[object, ...], Ref] = {}
    undispatched: list[Item] = []
    for file, text in texts:
        for members in _dispatches_in(text, file):
            if "testvibe" in members:
                ref = Ref.from_dict(members)
                refs[ref.key] = ref
            else:
                undispatched.append(_undispatched(members, file))
    if not refs and not undispatched:
        problem = f"{', '.join(files)} has no refs: give" if files else "which operations? Give"
        raise ConfigError(
            f"{problem} run ids, features or refs, or --file FILE with the output of "
            f"'run --json'; to continue the last batch: {NAME} resume"
        )
    return list(refs.values()), undispatched


def _dispatches_in(text: str, file: str | None) -> Iterator[dict[str, Any]]:
    """Yield the refs in a text of JSON values, however deep they are, and the items without one."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ConfigError(_no_json(text[:40], file)) from error
        text, left = text[end:].lstrip(), [value]
        while left:
            match each := left.pop():
                case {"testvibe": "intent"}:  # It may have started nothing.
                    pass
                case {"feature": int() | str(), "verdict": str(), "ref": {}}:
                    left.append(each["ref"])
                case {"testvibe": _} | {"feature": int() | str(), "verdict": str()}:
                    yield each
                case {**members}:
                    left += reversed(members.values())
                case [*members]:
                    left += reversed(members)
                case _:
                    pass


def _undispatched(document: dict[str, Any], file: str | None) -> Item:
    """Return the item without an operation in flight that `--json` has printed.

    Raises:
        ConfigError: It is damaged.
    """
    stored = {"state": EntryState.REFUSED, "feature": document["feature"]}
    if document.get("error") is not None:
        stored["error"] = document["error"]
    try:
        error = read_entry(0, stored, kind="run").error
    except (ConfigError, ValueError, KeyError, TypeError, AttributeError) as damage:
        where = "this" if file is None else file
        raise ConfigError(f"{where} has a damaged item of a batch, without a ref") from damage
    return BatchItem(
        feature=document["feature"],
        name=document.get("name"),
        config=document.get("config"),
        repetition=document.get("repetition", 1),
        error=GenerationLimitError() if document["verdict"] == LIMITED else error,
        is_dropped=document["verdict"] == "dropped",
    )


def _no_json(text: str, file: str | None) -> str:
    if file is None:
        return f"{text!r} is no ref: it is not JSON; quote it for the shell with '…'"
    return f"{file} is not JSON from {text!r} on: give what 'run --json' printed"
