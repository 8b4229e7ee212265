"""The options of all commands, and the client that they open.

A command takes `common: Common = Common()` as its last keyword and opens `connected(common)`. Which
settings are in force is decided in `testvibe_async._core.config`, not here.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

from attrs import field, frozen
from cyclopts import Group, Parameter

from testvibe_async import ConfigError
from testvibe_async._core.config import FoundSettings, find_settings
from testvibe_async.cli.output import Output
from testvibe_async.runner.ledgers import VARIABLE, default_ledger
from testvibe_async.runner.names import choose_project, is_project_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from testvibe_async import Client, Project


MORE_OPTIONS = "More options"
"""The title of the options that only `--help-all` shows, or its beginning."""

MORE = Parameter(group=Group(MORE_OPTIONS, sort_key=1))
"""Makes an option one of those."""

_USUAL = Parameter(group=Group("Options of every command", sort_key=8))

_MORE = Parameter(group=Group(f"{MORE_OPTIONS} of every command", sort_key=9))


@Parameter(parse=False)
@frozen(kw_only=True)
class Common:
    """The options that every command has. `app` reads them, wherever they stand."""

    server: Annotated[str | None, _USUAL] = None
    """The service's address; else TESTVIBE_SERVER, else what was stored."""

    project: Annotated[str | None, Parameter(name=("--project", "-p"), metavar="NAME"), _USUAL] = (
        None
    )
    """The project's id or name; else TESTVIBE_PROJECT, else what was stored."""

    ledger: Annotated[Path | None, Parameter(metavar="FILE"), _MORE] = None
    """The file that keeps the batches; else TESTVIBE_LEDGER, else one in your state folder."""

    allow_http: Annotated[bool, _MORE] = False
    """Send the key unencrypted to an http:// server other than this machine."""

    json: Annotated[bool, Parameter(name=("--json", "-j")), _USUAL] = False
    """JSON for programs; nothing else is on standard output. --json=lines prints a list as an
    object a line, and what waits prints one for each change as it comes."""

    json_lines: Annotated[bool, Parameter(show=False)] = False
    """The option `--json=lines`, as cyclopts receives it."""

    quiet: Annotated[bool, Parameter(name=("--quiet", "-q")), _MORE] = False
    """Print only results and errors."""

    no_color: Annotated[bool, _MORE] = False
    """Print no colours; the variable NO_COLOR does the same."""

    verbose: Annotated[int, Parameter(name=("--verbose", "-v"), count=True), _MORE] = 0
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
    def ledger_path(self) -> Path:
        """The file that keeps the batches.

        Raises:
            OSError: Its folder is missing, and can't be created.
        """
        return self.ledger or default_ledger()

    @property
    def is_ledger_chosen(self) -> bool:
        """True if a person chose the file that keeps the batches."""
        return bool(self.ledger or os.environ.get(VARIABLE))

    @property
    def output(self) -> Output:
        """The output that these options ask for."""
        return Output(
            json=self.json,
            lines=self.json_lines,
            quiet=self.quiet,
            color=False if self.no_color else None,
        )


@frozen(kw_only=True)
class Connection:
    """An open client, and the output of the command."""

    client: Client
    output: Output = field(repr=False)
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


def require_settings(common: Common) -> FoundSettings:
    """Return the settings in force, with a server and a key for it.

    Raises:
        ConfigError: One is missing or wrong.
    """
    found = find_settings(common.server, api_key=common.api_key, project=common.project)
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
    common: Common,
    *,
    max_outage: float | None = None,
    **options: Any,  # noqa: ANN401 - those of `Client`
) -> AsyncGenerator[Connection]:
    """Open a client by the common options and the settings, and close it at the end.

    Args:
        common: The options of the command.
        max_outage: As of `Client.list_projects`, if the project is given by its name.
        options: More arguments of `Client`, such as `hooks`.

    Raises:
        ConfigError: A setting is missing or wrong.
    """
    # Its import takes half of a command's start, and not all commands need it.
    from testvibe_async import Client  # noqa: PLC0415

    found = require_settings(common)
    client = Client(
        common.server,
        api_key=common.api_key,
        project=common.project,
        allow_http=common.allow_http,
        **options,
    )
    async with client:
        project = None if found.project is None else found.project.value
        name = None if project is None or is_project_id(project) else project
        if name is not None:
            project = await choose_project(client, name, max_outage=max_outage)
        yield Connection(client=client, output=common.output, project_id=project, project_name=name)
