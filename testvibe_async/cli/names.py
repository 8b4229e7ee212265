"""What a person meant by a name: of a feature, a configuration, a project, or an operation.

It decides what to suggest where there is no such thing, and asks the service for a list only where
a name needs it. A service without that list is no obstacle: names then stay as they were typed.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Protocol

from testvibe_async import (
    ConfigError,
    GenerationRef,
    NotFoundError,
    ResponseError,
    RunRef,
    TransportError,
)
from testvibe_async._util import escape
from testvibe_async.cli import cache
from testvibe_async.models import DEFAULT_CONFIG

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from testvibe_async import Client, Project, ProjectInfo, Ref
    from testvibe_async.cli.jobs import Item

__all__ = [
    "check_configs",
    "choose_project",
    "did_you_mean",
    "is_project_id",
    "operations_of",
    "suggesting",
    "suggestions",
]

_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


class HasProject(Protocol):
    """A connection with a project in force."""

    @property
    def project(self) -> Project:
        """The project."""
        ...


SHOWN_NAMES = 5
"""How many names are given where none is similar."""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return a question with the most similar name, else the first names; empty without any."""
    by_word = {name.casefold(): name for name in names if name}
    similar = get_close_matches(word.casefold(), by_word, n=1)
    if similar:
        return f"did you mean {escape(by_word[similar[0]])!r}?"
    some = [escape(name) for name in by_word.values()][:SHOWN_NAMES]
    more = f" and {len(by_word) - len(some)} more" if len(by_word) > len(some) else ""
    return f"there are {', '.join(some)}{more}" if some else ""


@asynccontextmanager
async def suggesting(connection: HasProject, feature: str) -> AsyncGenerator[None]:
    """Add to a refusal for an unknown feature what its name may have meant."""
    try:
        yield
    except NotFoundError as error:
        if suggestion := await _suggestion(connection.project, feature):
            error.add_note(suggestion)
        raise


async def suggestions(project: Project, items: Iterable[Item]) -> list[str]:
    """Return what the names may have meant that the service does not know, each once."""
    unknown = [
        str(item.feature)
        for item in items
        if isinstance(item.error, NotFoundError) and item.ref is None
    ]
    found = [await _suggestion(project, name) for name in dict.fromkeys(unknown[:SHOWN_NAMES])]
    return [f"{escape(name)}: {each}" for name, each in zip(unknown, found, strict=False) if each]


async def _suggestion(project: Project, feature: str) -> str:
    try:
        listed = await project.list_features()
    except (ResponseError, TransportError):
        return ""
    names = [each.name for each in listed]
    cache.keep(project.id, features=names)
    return did_you_mean(feature, names)


async def check_configs(project: Project, configs: Sequence[str]) -> None:
    """Refuse configurations that the service does not list, where it lists them.

    Raises:
        ConfigError: There is no such configuration.
    """
    try:
        listing = await project.list_configs()
    except (ResponseError, TransportError):
        return
    names = [each.name for each in listing if each.name]
    cache.keep(project.id, configs=names)
    known = {name.casefold() for name in [*names, DEFAULT_CONFIG]}
    for config in configs:
        if config.casefold() not in known and listing.is_complete and names:
            raise ConfigError(
                f"there is no configuration {config!r}: {did_you_mean(config, names)}"
            )


def is_project_id(text: str) -> bool:
    """Return whether a text looks like the id of a project, and not like its name."""
    return _ID.fullmatch(text) is not None


async def choose_project(client: Client, wanted: str) -> str:
    """Return the id of the project that a text names; the text itself without a list.

    Raises:
        ConfigError: There is none of that name, or there are several.
    """
    try:
        projects = await client.list_projects()
    except ResponseError:
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


async def operations_of(connection: HasProject, word: str, *, server: str) -> list[Ref]:
    """Return the operations that a word names: a run by its id, or what a feature has in flight.

    Args:
        connection: Has the project in force.
        word: The id of a run, or a feature's name.
        server: The service.

    Raises:
        ConfigError: Nothing of the feature is in flight.
    """
    project = connection.project
    if word.isdecimal():
        return [RunRef(server=server, project=project.id, run_id=int(word))]
    found: list[Ref] = []
    async with suggesting(connection, word):
        generation = await project.get_generation_status(word)
    if generation.request_id and generation.feature_id and not generation.is_finished:
        found.append(
            GenerationRef(
                server=server,
                project=project.id,
                request_id=generation.request_id,
                feature_id=generation.feature_id,
            )
        )
    try:
        runs = await project.list_runs(feature=word)
    except ResponseError:
        runs = None
    found += [
        RunRef(server=server, project=project.id, run_id=run.run_id, feature_id=run.feature_id)
        for run in runs or ()
        if not run.is_finished
    ]
    if not found:
        why = "" if runs is not None else " (this service lists no runs: give the id of one)"
        raise ConfigError(f"nothing of {word!r} is in flight{why}")
    return found
