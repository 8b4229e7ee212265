"""The settings of a client: from arguments, environment, repository file and user file.

Decides which value takes effect and whether it is valid, before anything is sent, and names the
fault. The only I/O is reading `os.environ` and, if arguments and environment leave a setting open,
the files of `files`.

A key is sent only to a server that its owner has named: by an argument, by the environment, or in
the user's own file. A repository may name a server too. But a server that only the repository names
is refused, because anyone can write a repository. For the same reason, a repository may override
only the routes of reads: an overridden route of a change might change anything.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from testvibe_async._core.config.files import (
    RepositoryFile,
    UserFile,
    read_repository_file,
    read_user_file,
)
from testvibe_async._core.config.validate import (
    masked,
    require_api_key,
    require_encrypted,
    require_text,
    server_name,
)
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async._core.wire import Endpoint

ARGUMENT = "argument"
"""The source of a value that was passed."""

_HOW_TO_SET = "set {}, log in with testvibe-async login, or give it in code"


@frozen(kw_only=True)
class Settings:
    """The checked settings of a client."""

    server: str
    """Scheme and host, with any path prefix of the service, and without a slash at the end.

    A port is included unless it is the scheme's own.
    """

    api_key: str = field(repr=False)
    key_source: str = field(default=ARGUMENT, eq=False)
    """The source of the key; see `Setting.source`."""

    project: str | None
    """The id of the project to use if none is named."""

    endpoints: Mapping[str, Endpoint[Any]] = field(factory=dict[str, "Endpoint[Any]"])
    """The operations that have another route at this service, by name."""


@frozen
class Setting:
    """One setting that is in effect."""

    value: str = field(repr=False)
    """The setting itself; in no repr, for it may be a key."""

    source: str
    """The source: `argument`, the name of a variable, or the path of a file."""

    @property
    def prefix(self) -> str:
        """The beginning of an error about the setting."""
        return "" if self.source == ARGUMENT else f"{self.source}: "


@frozen(kw_only=True)
class FoundSettings:
    """The settings that are in effect, each with its source; None for a missing one."""

    server: Setting | None
    api_key: Setting | None
    project: Setting | None
    endpoints: Mapping[str, Setting]
    """The route of each operation with an overridden route."""


def load_settings(  # noqa: PLR0913 - each by name
    server: str | None = None,
    *,
    api_key: str | None = None,
    project: str | None = None,
    endpoints: Mapping[str, str] | None = None,
    allow_http: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Gather the settings that a client needs.

    Args:
        server: Scheme and host. Default: `TESTVIBE_SERVER`, then the server that the files name.
        api_key: The key. Default: `TESTVIBE_API_KEY`, then the key that the user stored for the
            server.
        project: A project's id. Default: `TESTVIBE_PROJECT`, then the repository's, then none.
        endpoints: The routes of operations; None for the routes in the files, of which the
            repository's take precedence.
        allow_http: True to allow sending the key unencrypted to other hosts than this machine.
        environment: The environment variables.

    Raises:
        ConfigError: A setting is missing, or does not have the required form.
    """
    found = find_settings(
        server, api_key=api_key, project=project, endpoints=endpoints, environment=environment
    )
    if found.server is None:
        raise ConfigError("no server", advice=_HOW_TO_SET.format("TESTVIBE_SERVER"))
    if found.api_key is None:
        what = f"no API key for {found.server.value}"
        raise ConfigError(what, advice=_HOW_TO_SET.format("TESTVIBE_API_KEY"))
    api_key = require_api_key(found.api_key.value, found.api_key.prefix)
    require_encrypted(found.server.value, allow_http=allow_http)
    return Settings(
        server=found.server.value,
        api_key=api_key,
        key_source=found.api_key.source,
        project=found.project.value if found.project else None,
        endpoints={name: _endpoint(name, route) for name, route in found.endpoints.items()},
    )


def find_settings(
    server: str | None = None,
    *,
    api_key: str | None = None,
    project: str | None = None,
    endpoints: Mapping[str, str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> FoundSettings:
    """Find the settings that are in effect and their sources, complete or not.

    Args:
        server: See `load_settings`, also for the other arguments.
        api_key: It is not checked here.
        project: It is not checked here.
        endpoints: See `load_settings`.
        environment: The environment variables.

    Raises:
        ConfigError: The server or a route does not have the required form; a file can't be read, or
            has forbidden content; the key's file can be read by other users; or only the repository
            names the server, or another route of a change.
    """
    files = _Files()
    place = (
        _given("server", server, "TESTVIBE_SERVER", environment)
        or files.repository_server
        or files.user_server
    )
    if place is not None:
        place = Setting(server_name(place.value, place.prefix), place.source)
    key = _given("api_key", api_key, "TESTVIBE_API_KEY", environment)
    if key is None and place is not None:
        key = files.api_key(place.value)
    routes = (
        files.endpoints(place)
        if endpoints is None
        else {name: Setting(route, ARGUMENT) for name, route in endpoints.items()}
    )
    for name, route in routes.items():
        _endpoint(name, route)
    return FoundSettings(
        server=place,
        api_key=key,
        project=_given("project", project, "TESTVIBE_PROJECT", environment) or files.project(place),
        endpoints=routes,
    )


def _given(
    name: str, argument: str | None, variable: str, environment: Mapping[str, str]
) -> Setting | None:
    """Return the value of an argument or a variable, stripped; an empty variable does not count.

    Raises:
        ConfigError: The argument is blank. Otherwise a variable that a caller forgot to fill would
            select the environment's server, key or project.
    """
    if argument is not None:
        return Setting(require_text(name, argument).strip(), ARGUMENT)
    # The secrets of a CI system often end with a line break.
    return Setting(value, variable) if (value := environment.get(variable, "").strip()) else None


def _endpoint(name: str, route: Setting) -> Endpoint[Any]:
    """Return an operation with another route.

    Raises:
        ConfigError: The operation can't have another route, or not this one.
    """
    # Most settings have no routes; without this import, the commands that show settings start
    # quickly.
    from testvibe_async._core.wire import endpoint_overrides  # noqa: PLC0415

    try:
        return endpoint_overrides({name: route.value})[name]
    except ConfigError as error:
        fault = masked(str(error))
    # Out here, the error is not chained to the one that contains the whole route.
    raise ConfigError(f"{route.prefix}{fault}")


class _Files:
    """The contents of the files, each read at its first use."""

    @cached_property
    def _repository(self) -> RepositoryFile:
        return read_repository_file() or RepositoryFile(path=Path())

    @cached_property
    def _user(self) -> UserFile:
        return read_user_file() or UserFile(path=Path())

    @property
    def repository_server(self) -> Setting | None:
        """The server that the repository names, if the user knows it too."""
        if (server := self._own_server) not in {None, *self._known_servers}:
            raise ConfigError(
                f"{self._repository.path}: you have not named the server {server} yourself, and a "
                "repository can't decide where an API key is sent: if it is right, log in to it "
                "with testvibe-async login, or set TESTVIBE_SERVER"
            )
        return _from(self._repository, self._repository.server)

    @property
    def user_server(self) -> Setting | None:
        """The server that the user logged in to last."""
        return _from(self._user, self._user.server)

    def api_key(self, server: str) -> Setting | None:
        """Return the key that the user stored for one server."""
        key = self._api_keys.get(server)
        if key is not None and not self._user.is_private:
            raise ConfigError(
                f"{self._user.path} can be read by others, so the API key in it is not used: "
                "make it private with chmod 600, and revoke the key if others use this machine"
            )
        return _from(self._user, key)

    def project(self, server: Setting | None) -> Setting | None:
        """Return the repository's project, unless it belongs to another server."""
        project = _from(self._repository, self._repository.project)
        return project if project is not None and self._is_of_repository(server) else None

    def endpoints(self, server: Setting | None) -> dict[str, Setting]:
        """Return the user's routes and the repository's, unless those belong to another server."""
        routes = _all_from(self._user, self._user.endpoints)
        if self._is_of_repository(server):
            for name, route in _all_from(self._repository, self._repository.endpoints).items():
                is_read = _endpoint(name, route).method == "GET"
                if not is_read and (name not in routes or routes[name].value != route.value):
                    raise ConfigError(
                        f"{route.prefix}endpoints: {name!r} changes something at the service, and "
                        "a repository can't decide what your API key changes: if the route is "
                        "right, give it in your own file too, or in code"
                    )
                routes[name] = route
        return routes

    def _is_of_repository(self, server: Setting | None) -> bool:
        """Return whether the repository names this server, or none."""
        return server is None or self._own_server in {None, server.value}

    @property
    def _own_server(self) -> str | None:
        """The name of the repository's server."""
        name = self._repository.server
        return None if name is None else server_name(name, f"{self._repository.path}: ")

    @property
    def _known_servers(self) -> set[str]:
        default, prefix = self._user.server, f"{self._user.path}: "
        return {*self._api_keys, *([] if default is None else [server_name(default, prefix)])}

    @cached_property
    def _api_keys(self) -> dict[str, str]:
        prefix = f"{self._user.path}: "
        return {server_name(name, prefix): key for name, key in self._user.api_keys.items()}


def _from(file: RepositoryFile | UserFile, value: str | None) -> Setting | None:
    return None if value is None else Setting(value, str(file.path))


def _all_from(file: RepositoryFile | UserFile, values: Mapping[str, str]) -> dict[str, Setting]:
    return {name: Setting(value, str(file.path)) for name, value in values.items()}
