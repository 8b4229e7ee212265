"""Resolution of the names of projects, configurations and the ledger's file.

The command line, the pytest plugin and the MCP server read names from people and models. Only the
projects that a name needs are requested from the service.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from testvibe_async._core.util import escape
from testvibe_async.errors import ConfigError, EndpointNotFoundError, ForbiddenError
from testvibe_async.models import DEFAULT_CONFIG, Config, Listing, ProjectInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from testvibe_async.client import Client


GUID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)
"""The form of a project's id."""

MAX_NAMES = 3
"""Maximum number of suggested names that contain the given word."""

SHOWN_NAMES = 5
"""Maximum number of names shown if none is similar."""

LEDGER_VARIABLE = "TESTVIBE_LEDGER"
"""The environment variable that names the file of the ledger."""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return a question with similar names; without one, the first names, or nothing."""
    names = [name for name in names if name]
    if question := similar_names(word, names):
        return question
    distinct = [repr(escape(name)) for name in {name.casefold(): name for name in names}.values()]
    verb = "is only" if len(distinct) == 1 else "are"
    return f"there {verb} {some_of(distinct, SHOWN_NAMES)}" if distinct else ""


def some_of(names: Sequence[str], most: int) -> str:
    """Return the first names, and the number of the others."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def similar_names(word: str, names: Iterable[str]) -> str:
    """Return a question with the names that have a word in them, or with the most similar one.

    Names that begin with it come first, then those with a word that begins with it.
    """
    # A name that is the word itself has digits alone, and was read as an id.
    by_word = {name.casefold(): name for name in names if name and name != word}
    word = word.casefold()
    similar = [name for name in by_word if word and word in name]
    similar.sort(key=lambda name: (not name.startswith(word), f" {word}" not in name))
    similar = similar[:MAX_NAMES] or get_close_matches(word, by_word, n=1)
    quoted = " or ".join(repr(escape(by_word[name])) for name in similar)
    return f"did you mean {quoted}?" if similar else ""


def is_project_id(text: str) -> bool:
    """Return whether a text looks like the id of a project, and not like its name."""
    return GUID.fullmatch(text) is not None


async def choose_project(client: Client, wanted: str, *, max_outage: float | None = None) -> str:
    """Return the id of the project that a text names; the text itself if it is one, or unlisted.

    Args:
        client: Lists the projects.
        wanted: An id or a name.
        max_outage: As of `Client.list_projects`.

    Raises:
        ConfigError: There is none of that name, or there are several.
    """
    if is_project_id(wanted):
        return wanted
    try:
        projects = await client.list_projects(max_outage=max_outage)
    except (EndpointNotFoundError, ForbiddenError):  # There is no list, or none for this key.
        return wanted
    return chosen_project(wanted, projects).id


def chosen_project(wanted: str, projects: Sequence[ProjectInfo]) -> ProjectInfo:
    """Return the project of an id or a name; an id takes precedence.

    Raises:
        ConfigError: There is none, or there are several.
    """
    word = wanted.casefold()
    found = [each for each in projects if each.id.casefold() == word] or [
        each for each in projects if (each.name or "").casefold() == word
    ]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{each.name} ({each.id})" for each in found)
        raise ConfigError(f"{len(found)} projects are called {wanted!r}, choose by id: {listed}")
    suggestion = did_you_mean(wanted, [each.name or each.id for each in projects])
    raise ConfigError(f"there is no project {wanted!r}: {suggestion or 'your key may see none'}")


def chosen_configs(wanted: Iterable[str], listing: Listing[Config]) -> list[str]:
    """Return configurations as the service spells them, each once.

    Raises:
        ConfigError: There is none of that name.
    """
    names = [each.name for each in listing if each.name]
    spelled = {name.casefold(): name for name in [DEFAULT_CONFIG, *names]}
    chosen: dict[str, None] = {}
    for config in wanted:
        known = spelled.get(config.casefold())
        if known is None and listing.is_complete and names:
            raise ConfigError(
                f"there is no configuration {config!r}: {did_you_mean(config, names)}"
            )
        chosen[known or config] = None
    return list(chosen)


def default_ledger() -> Path:
    """Return the path of the ledger file: `TESTVIBE_LEDGER`, or the one in the state folder.

    The folder is created if it is missing.

    Raises:
        OSError: It can't be created.
    """
    if named := os.environ.get(LEDGER_VARIABLE, "").strip():
        return Path(named)
    import platformdirs  # noqa: PLC0415 - the library alone does not have it

    folder = platformdirs.user_state_path("testvibe-async")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "ledger.sqlite"
