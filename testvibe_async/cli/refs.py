"""Refs as text, as other commands print them with `--json`, within any JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from testvibe_async import ConfigError, Ref
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["read_refs"]


def read_refs(typed: Iterable[str], files: Mapping[str, str] | None = None) -> list[Ref]:
    """Return the refs in texts, each once.

    Args:
        typed: JSON of any form, which contains refs as `Ref.to_json` writes them.
        files: More of that, by the name of the file that it is from.

    Raises:
        ConfigError: There is none, or a text is no JSON.
    """
    texts = [*((None, text) for text in typed), *(files or {}).items()]
    refs = {ref.key: ref for file, text in texts for ref in _refs_in(text, file)}
    if not refs:
        raise ConfigError(
            "which operations? Give ids of runs, names of features, refs as JSON, or --file FILE "
            f"with what 'run --json' printed; {NAME} resume goes on with the last batch"
        )
    return list(refs.values())


def _refs_in(text: str, file: str | None) -> Iterator[Ref]:
    """Yield the refs of a text of JSON values, one after the other, however deep they are."""
    decoder = json.JSONDecoder()
    text = text.strip()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(_no_json(text[:40], file)) from error
        yield from _refs_of(value)
        text = text[end:].lstrip()


def _no_json(text: str, file: str | None) -> str:
    if file is None:
        return f"{text!r} is no ref: it is not JSON; quote it for the shell with '…'"
    return f"{file} is not JSON from {text!r} on: give what 'run --json' printed"


def _refs_of(value: object) -> Iterator[Ref]:
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        if "testvibe" in members:
            yield Ref.from_json(json.dumps(members))
            return
        value = list(members.values())
    if isinstance(value, list):
        for member in cast("list[object]", value):
            yield from _refs_of(member)
