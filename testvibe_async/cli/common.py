"""The options of all commands, the client that they open, and the batches that they read.

`app` reads the options wherever they stand, and sets `common`; a command that calls the service
opens `connected()`. Which settings are in force is decided in `testvibe_async._core.config`, and
which batch a word means in `testvibe_async.runner.history`.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from attrs import field, frozen
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from testvibe_async import ConfigError, errors
from testvibe_async._core.config import FoundSettings, find_settings
from testvibe_async.cli.render import Renderer, renderer_for
from testvibe_async.runner.names import (
    LEDGER_VARIABLE,
    choose_project,
    default_ledger,
    did_you_mean,
    is_project_id,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from testvibe_async import Client, Project
    from testvibe_async.runner.history import Batches, Place


OF_EVERY_COMMAND = "Options of every command"
"""The title of these options in the overall help."""


@Parameter(name="*", group=Group(OF_EVERY_COMMAND, sort_key=9))
@frozen(kw_only=True)
class Common:
    """The options that every command has."""

    server: str | None = None
    """The service's address; else TESTVIBE_SERVER, else what was stored."""

    project: Annotated[str | None, Parameter(name=("--project", "-p"), metavar="NAME")] = None
    """The project's id or name; else TESTVIBE_PROJECT, else what was stored."""

    ledger: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """The file that keeps the batches; else TESTVIBE_LEDGER, else one in your state folder."""

    allow_http: bool = False
    """Send the key unencrypted to an http:// server other than this machine."""

    json: Annotated[bool, Parameter(name=("--json", "-j"))] = False
    """JSON for programs; nothing else is on standard output. --json=lines prints a list as an
    object a line, and what waits prints one for each change as it comes."""

    json_lines: Annotated[bool, Parameter(show=False)] = False
    """The option `--json=lines`, as cyclopts receives it."""

    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"))] = False
    """Print only results and errors."""

    no_color: bool = False
    """Print no colours; the variable NO_COLOR does the same."""

    verbose: Annotated[int, Parameter(name=("--verbose", "-v"), count=True)] = 0
    """Log events to standard error; -vv logs more, and a traceback on failure."""

    api_key: Annotated[str | None, Parameter(parse=False)] = None
    """The key, if another command calls this one, with a service of its own; it can't be typed."""

    @property
    def place(self) -> list[str]:
        """The options given for the service, the project and the ledger, as words of a command."""
        ledger = self.ledger and str(self.ledger.absolute())
        options = {"--server": self.server, "--project": self.project, "--ledger": ledger}
        words = [word for option, value in options.items() if value for word in (option, value)]
        return [*words, "--allow-http"] if self.allow_http else words

    @property
    def client(self) -> dict[str, Any]:
        """The arguments of `Client` that these options give."""
        names = ("server", "api_key", "project", "allow_http")
        return {name: getattr(self, name) for name in names}

    @property
    def ledger_path(self) -> Path:
        """The file that keeps the batches.

        Raises:
            OSError: Its folder is missing, and can't be created.
        """
        return self.ledger or default_ledger()

    @property
    def is_ledger_chosen(self) -> bool:
        """True if a person chose the file that keeps the batches."""
        return bool(self.ledger or os.environ.get(LEDGER_VARIABLE))

    @cached_property
    def output(self) -> Renderer:
        """The output that these options ask for."""
        return renderer_for(
            json=self.json,
            lines=self.json_lines,
            quiet=self.quiet,
            color=False if self.no_color else None,
        )


common: ContextVar[Common] = ContextVar("common", default=Common())
"""The options with which the present command was called."""


@frozen(kw_only=True)
class Connection:
    """An open client, and the output of the command."""

    client: Client
    output: Renderer = field(repr=False)
    project_id: str | None = None
    """The project in force."""

    project_name: str | None = None
    """The name that was given for the project; None if an id was given."""

    @property
    def project(self) -> Project:
        """The project in force.

        Raises:
            ConfigError: There is none.
        """
        if self.project_id is None:
            raise ConfigError(
                "no project: pass --project, set TESTVIBE_PROJECT, "
                "or choose one with testvibe-async use"
            )
        return self.client.project(self.project_id)


def require_settings() -> FoundSettings:
    """Return the settings in force, with a server and a key for it.

    Raises:
        ConfigError: One is missing or wrong.
    """
    given = common.get()
    found = find_settings(given.server, api_key=given.api_key, project=given.project)
    if found.server is None:
        raise ConfigError(
            "no server: log in with testvibe-async login, pass --server, or set TESTVIBE_SERVER"
        )
    if found.api_key is None:
        raise ConfigError(
            f"no API key for {found.server.value}: log in with testvibe-async login, "
            "or set TESTVIBE_API_KEY"
        )
    return found


@asynccontextmanager
async def connected(
    *,
    max_outage: float | None = None,
    **options: Any,  # noqa: ANN401 - those of `Client`
) -> AsyncGenerator[Connection]:
    """Open a client by the common options and the settings, and close it at the end.

    Args:
        max_outage: As of `Client.list_projects`, if the project is given by its name.
        options: More arguments of `Client`, such as `hooks`.

    Raises:
        ConfigError: A setting is missing or wrong.
    """
    # Its import takes half of a command's start, and not all commands need it.
    from testvibe_async import Client  # noqa: PLC0415

    given, found = common.get(), require_settings()
    async with Client(**given.client, **options) as client:
        project = None if found.project is None else found.project.value
        name = None if project is None or is_project_id(project) else project
        if name is not None:
            project = await choose_project(client, name, max_outage=max_outage)
        yield Connection(client=client, output=given.output, project_id=project, project_name=name)


@asynccontextmanager
async def stored_batches() -> AsyncGenerator[tuple[Batches, Place]]:
    """Open the ledger file to read its batches; yield them, and the place that is in force.

    The service is asked only for a project's name that is new here.

    Raises:
        ConfigError: The file that was named is missing, or can't be read; a setting is wrong, or
            there is no such project.
        VibeError: The service can't be asked.
    """
    from testvibe_async import SqliteLedger  # noqa: PLC0415 - as above
    from testvibe_async.runner.history import Batches  # noqa: PLC0415

    given = common.get()
    path = given.ledger_path
    if given.ledger is not None and not path.exists():
        raise ConfigError(f"there is no ledger {path}")
    async with SqliteLedger(path) as ledger:
        batches = Batches(ledger)
        yield batches, await _place(given, batches)


async def _place(given: Common, batches: Batches) -> Place:
    from testvibe_async.runner.history import Place  # noqa: PLC0415 - as above

    found = find_settings(given.server, project=given.project)
    server = found.server.value if found.server else None
    project = found.project.value if found.project else None
    if project is None or is_project_id(project):
        return Place(server, project)
    name = project.casefold()
    for each in await batches.headings():
        names = {each.project.casefold(), (each.spec.project_name or "").casefold()}
        if server in {None, each.server} and name in names:
            return Place(server, each.project)
    if server is None:
        return Place(server, project)
    async with connected() as connection:
        return Place(server, connection.project_id)


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


RunId: TypeAlias = Annotated[int, Parameter(validator=Number(gt=0))]
"""The id of a run."""
