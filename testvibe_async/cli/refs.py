"""Refs as text: those that a command reads, and the command that waits for operations later.

It decides the form of both: a few refs stand in the command itself, many in a file beside it.
`read_refs` reads all that `wait_command` writes.
"""

from __future__ import annotations

import json
import os
import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import platformdirs

from testvibe_async import ConfigError, Ref
from testvibe_async.cli.words import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from testvibe_async import DispatchUnknownError
    from testvibe_async.cli.common import Common

__all__ = ["check_command", "read_refs", "wait_command"]

KEPT_FOR = timedelta(days=30)
"""How long a file with refs is kept."""

REFS_IN_A_COMMAND = 3
"""How many refs are typed rather than read from a file."""


def wait_command(refs: Sequence[Ref], common: Common) -> str:
    """Return the command that waits for operations, to be pasted into a shell.

    Many refs are written to a file, so that the command stays short. Where that can't be written
    they stand in the command.

    Args:
        refs: The operations, at least one.
        common: The options that the present command was called with.
    """
    texts = [ref.to_json() for ref in refs]
    path = _write_file(texts) if len(refs) > REFS_IN_A_COMMAND else None
    words = texts if path is None else ["--file", str(path)]
    options = ["--server", common.server] if common.server else []
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


def _write_file(texts: Sequence[str]) -> Path | None:
    """Write refs to a file of this user's, and return its path; None where that can't be done.

    Files older than `KEPT_FOR` are removed: their operations are long over.
    """
    at = datetime.now(UTC)
    folder = platformdirs.user_state_path(NAME) / "in-flight"
    path = folder / f"{at:%Y%m%dT%H%M%S}-{os.getpid()}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.jsonl"):
            if old.stat().st_mtime < (at - KEPT_FOR).timestamp():
                old.unlink()
        path.write_text("\n".join([*texts, ""]), encoding="utf-8")
    except OSError:
        return None
    return path


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
