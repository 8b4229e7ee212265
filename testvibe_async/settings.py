"""Where the service is and who we are: arguments first, then the environment.

Decides what is valid before anything is sent, and names the fault. It does no I/O but to read
`os.environ`.
"""

from __future__ import annotations

import os
import re
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import field, frozen

from testvibe_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Settings",
    "is_loopback",
    "load_settings",
    "require_count",
    "require_rate",
    "require_seconds",
]


@frozen(kw_only=True)
class Settings:
    """What a client needs to know, checked."""

    server: str
    """Scheme and host, with a port where it is not the scheme's own; no slash at the end."""

    api_key: str = field(repr=False)
    project: str | None
    """The id of the project to use where none is named."""


def load_settings(
    server: str | None = None,
    *,
    api_key: str | None = None,
    project: str | None = None,
    allow_http: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Gather the settings from arguments, else from the environment.

    Args:
        server: Scheme and host; else `TESTVIBE_SERVER`.
        api_key: The key; else `TESTVIBE_API_KEY`.
        project: A project's id; else `TESTVIBE_PROJECT`, else none.
        allow_http: Whether the key may travel unencrypted to other hosts than this one.
        environment: The variables.

    Raises:
        ConfigError: One is missing, or not of the form that it must have.
    """
    server = server or environment.get("TESTVIBE_SERVER")
    api_key = api_key or environment.get("TESTVIBE_API_KEY")
    if not server:
        message = "no server: pass Client('https://…') or set TESTVIBE_SERVER"
        raise ConfigError(message)
    if not api_key:
        message = "no API key: pass Client(api_key='tvb_…') or set TESTVIBE_API_KEY"
        raise ConfigError(message)
    if not re.fullmatch(r"tvb_[0-9A-Za-z]{43}", api_key):
        message = (
            "the API key does not have the form of one: tvb_ and 43 letters or digits "
            f"(this one has {len(api_key)} characters in place of 47)"
        )
        raise ConfigError(message)
    return Settings(
        server=_server(server, allow_http=allow_http),
        api_key=api_key,
        project=project or environment.get("TESTVIBE_PROJECT") or None,
    )


def _server(text: str, *, allow_http: bool) -> str:
    """Return scheme and host, normalised."""
    example = "the server must be a scheme and a host alone, such as https://testvibe.example"
    try:
        parts = urlsplit(re.sub(r"\s", " ", text.strip()))
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        message = f"{example}; this one is no URL: {error}"
        raise ConfigError(message) from error
    if parts.scheme not in {"http", "https"} or not host:
        message = f"{example}; this one lacks one of the two"
        raise ConfigError(message)
    if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", host) and not _is_ipv6(host):
        message = f"{example}; {host!r} is no host"
        raise ConfigError(message)
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        message = f"{example}; this one, at {host}, holds more"
        raise ConfigError(message)
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        message = (
            f"http:// would send the API key to {host} in the clear: "
            "use https://, or pass allow_http=True"
        )
        raise ConfigError(message)
    name = f"[{host}]" if ":" in host else host
    is_usual = port in {None, {"http": 80, "https": 443}[parts.scheme]}
    return f"{parts.scheme}://{name}" + ("" if is_usual else f":{port}")


def _is_ipv6(host: str) -> bool:
    return ":" in host and _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def require_seconds(name: str, value: float) -> float:
    """Return a duration, if it is one: a finite number of seconds above 0.

    Raises:
        ConfigError: It is none.
    """
    return _above_zero(name, value, "a number of seconds")


def require_rate(name: str, value: float) -> float:
    """Return a rate, if it is one: a finite number of requests a second above 0.

    Raises:
        ConfigError: It is none.
    """
    return _above_zero(name, value, "a number of requests a second")


def _above_zero(name: str, value: float, what: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= sys.float_info.max:
        message = f"{name} must be {what} above 0, not {value!r}"
        raise ConfigError(message)
    return float(value)


def require_count(name: str, value: int) -> int:
    """Return a number of things, if it is one: whole, and 1 or more.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        message = f"{name} must be a whole number from 1, not {value!r}"
        raise ConfigError(message)
    return value
