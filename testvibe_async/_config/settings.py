"""Where the service is and who we are: from arguments, environment, repository and user.

Decides which of them is in force and what is valid, before anything is sent, and names the fault.
It does no I/O but to read `os.environ` and, where arguments and environment leave something open,
the files of `files`.

A key is sent only to a server that its owner has named: by an argument, by the environment, or in
the user's own file. A repository may name a server too, but a server that only the repository names
is refused, because anyone can write a repository. For the same reason a repository may give other
routes only to what reads: a route of its own to what changes something might change anything.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from testvibe_async._config.files import (
    RepositoryFile,
    UserFile,
    read_repository_file,
    read_user_file,
)
from testvibe_async._config.validate import (
    masked,
    require_api_key,
    require_encrypted,
    server_name,
)
from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testvibe_async._wire import Endpoint

__all__ = ["FoundSettings", "Setting", "Settings", "find_settings", "load_settings"]

ARGUMENT = "argument"
"""The source of what was passed."""


@frozen(kw_only=True)
class Settings:
    """What a client needs to know, checked."""

    server: str
    """Scheme and host, with a port where it is not the scheme's own, and with the path that the
    service is below, if there is one; no slash at the end."""

    api_key: str = field(repr=False)
    key_source: str = field(default=ARGUMENT, eq=False)
    """Where the key came from: see `Setting.source`."""

    project: str | None
    """The id of the project to use where none is named."""

    endpoints: Mapping[str, Endpoint[Any]] = field(factory=dict[str, "Endpoint[Any]"])
    """The operations that have another route at this service, by name."""


@frozen
class Setting:
    """One setting that is in force."""

    value: str = field(repr=False)
    """The setting itself; in no repr, for it may be a key."""

    source: str
    """Where it came from: `argument`, the name of a variable, or the path of a file."""

    @property
    def prefix(self) -> str:
        """What an error about it begins with."""
        return "" if self.source == ARGUMENT else f"{self.source}: "


@frozen(kw_only=True)
class FoundSettings:
    """The settings that are in force, each with its source; None where there is none."""

    server: Setting | None
    api_key: Setting | None
    project: Setting | None
    endpoints: Mapping[str, Setting]
    """The route of each operation that has another one."""


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
        server: Scheme and host; else `TESTVIBE_SERVER`, else what the files name.
        api_key: The key; else `TESTVIBE_API_KEY`, else the one that the user stored for the server.
        project: A project's id; else `TESTVIBE_PROJECT`, else the repository's, else none.
        endpoints: The routes of operations; None for those of the files, the repository's first.
        allow_http: Whether the key may travel unencrypted to other hosts than this one.
        environment: The variables.

    Raises:
        ConfigError: One is missing, or not of the form that it must have.
    """
    found = find_settings(
        server, api_key=api_key, project=project, endpoints=endpoints, environment=environment
    )
    if found.server is None:
        raise ConfigError(
            "no server: set TESTVIBE_SERVER, log in with testvibe-async login, or give it in code"
        )
    if found.api_key is None:
        raise ConfigError(
            f"no API key for {found.server.value}: set TESTVIBE_API_KEY, log in with "
            "testvibe-async login, or give it in code"
        )
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
    """Find which settings are in force and where each comes from, complete or not.

    Args:
        server: See `load_settings`, as for the others.
        api_key: It is not checked here.
        project: Nor is this.
        endpoints: See `load_settings`.
        environment: The variables.

    Raises:
        ConfigError: The server or a route has not the form of one; a file can't be read, or holds
            what it must not; the key's file can be read by others; only the repository names the
            server, or another route of what changes something.
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
    """Return what an argument or a variable says, stripped; one that is empty says nothing."""
    if argument is not None and not isinstance(argument, str):
        # Not shown: it may be a key.
        raise ConfigError(f"{name} must be a text, not of the type {type(argument).__name__}")
    if argument and (value := argument.strip()):
        return Setting(value, ARGUMENT)
    # The secrets of a CI system often end with a line break.
    return Setting(value, variable) if (value := environment.get(variable, "").strip()) else None


def _endpoint(name: str, route: Setting) -> Endpoint[Any]:
    """Return an operation with another route.

    Raises:
        ConfigError: It can have no other, or not this one.
    """
    # Most settings have no routes, and the commands that show them start quickly without.
    from testvibe_async._wire import endpoint_overrides  # noqa: PLC0415

    try:
        return endpoint_overrides({name: route.value})[name]
    except ConfigError as error:
        fault = masked(str(error))
    # Out here it is not chained to the error that holds all of the route.
    raise ConfigError(f"{route.prefix}{fault}")


class _Files:
    """What the files say, each read when it is first asked for."""

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
        """Return the repository's project, unless it is one of another server."""
        project = _from(self._repository, self._repository.project)
        return project if project is not None and self._is_of_repository(server) else None

    def endpoints(self, server: Setting | None) -> dict[str, Setting]:
        """Return the routes of the repository, unless they are another server's, and the user's."""
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
        """Say whether a server is the one that the repository names, if it names one."""
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
