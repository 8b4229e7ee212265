"""What a person meant by a name: of a feature, a configuration, or an operation.

It decides what to suggest where there is no such thing, and asks the service for a list only where
a name needs it. A service without that list is no obstacle: names then stay as they were typed.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from testvibe_async import (
    ConfigError,
    GenerationRef,
    NotFoundError,
    ResponseError,
    RunRef,
    TransportError,
)
from testvibe_async._names import did_you_mean
from testvibe_async._util import escape
from testvibe_async.cli import cache

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from testvibe_async import Project, Ref
    from testvibe_async.cli.jobs import Item

__all__ = [
    "operations_of",
    "suggesting",
    "suggestions",
]


class HasProject(Protocol):
    """A connection with a project in force."""

    @property
    def project(self) -> Project:
        """The project."""
        ...


SHOWN_NAMES = 5
"""For how many unknown names there is a suggestion."""


@asynccontextmanager
async def suggesting(connection: HasProject, feature: str) -> AsyncGenerator[None]:
    """Add to a refusal for an unknown feature what its name may have meant."""
    try:
        yield
    except NotFoundError as error:
        if suggestion := did_you_mean(feature, await _names_of(connection.project)):
            error.add_note(suggestion)
        raise


async def suggestions(project: Project, items: Iterable[Item]) -> list[str]:
    """Return what the names may have meant that the service does not know, each once."""
    unknown = dict.fromkeys(
        str(item.feature)
        for item in items
        if isinstance(item.error, NotFoundError) and item.latest_ref is None
    )
    names = await _names_of(project) if unknown else []
    asked = [(name, did_you_mean(name, names)) for name in list(unknown)[:SHOWN_NAMES]]
    return [f"{escape(name)}: {question}" for name, question in asked if question]


async def _names_of(project: Project) -> list[str]:
    """Return the names of a project's features; none where they can't be listed."""
    try:
        listed = await project.list_features()
    except (ResponseError, TransportError):
        return []
    names = [each.name for each in listed]
    cache.keep(project.id, features=names)
    return names


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
