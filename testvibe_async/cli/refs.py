"""Refs as text: those that a command reads, and the command that waits for operations later.

It decides the form of both. `read_refs` reads all that other commands print with `--json`.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, cast

from testvibe_async import ConfigError, Ref, RunRef
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from testvibe_async import DispatchUnknownError
    from testvibe_async.cli.common import Common

__all__ = ["check_command", "read_refs", "wait_command"]


def wait_command(refs: Sequence[Ref], common: Common) -> str:
    """Return the command that waits for operations, to be pasted into a shell.

    Runs of one project are named by their ids, all else by their refs. It is whole: it needs
    nothing of the folder and the variables that it is typed in, except the key.

    Args:
        refs: The operations, at least one.
        common: The options that the present command was called with.
    """
    places = {(ref.server, ref.project) for ref in refs}
    runs = [ref for ref in refs if isinstance(ref, RunRef)]
    if len(runs) == len(refs) and len(places) == 1:
        words = [*(str(run.run_id) for run in runs), "--project", refs[0].project]
    else:
        words = [ref.to_json() for ref in refs]
    options = ["--server", refs[0].server]
    if common.allow_http:
        options.append("--allow-http")
    return shlex.join([NAME, "wait", *words, *options])


def check_command(error: DispatchUnknownError, place: Sequence[str]) -> str:
    """Return the command that shows whether a dispatch took effect, to be pasted into a shell.

    Args:
        error: What the dispatch raised.
        place: The options that name the service and the project.
    """
    feature = str(error.feature)
    is_generation = error.url.endswith("/generate")
    words = ["generation", "status", feature] if is_generation else ["runs", "list"]
    options = [] if is_generation else ["--feature", feature]
    return shlex.join([NAME, *words, *options, *place])


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
            "with what 'run --json' printed"
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
